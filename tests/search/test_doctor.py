"""What the doctor finds, what it would mend it with, and that looking changes nothing."""

import hashlib
import json
import shutil
import sqlite3
import time
from contextlib import closing

import pytest
from instant import InstantPool, new_study, run

from hpo.cli import main
from hpo.files import Lock
from hpo.search import doctor
from hpo.search.storage import locate


@pytest.fixture
def finished(tmp_path):
    """A study of four trials, with the best one's checkpoint."""
    study = new_study(tmp_path / "hpo.db")
    run(study, 4)
    return study


def found(study, check):
    return [f for f in doctor.examine(study.location, study.name) if f.check == check]


def bad(study):
    return [f for f in doctor.examine(study.location, study.name) if f.state != "ok"]


def test_a_sound_study_has_nothing_to_mend(finished):
    assert bad(finished) == []
    checks = {f.check for f in doctor.examine(finished.location, "first")}
    assert checks == {"versions", "device", "disk", "file system", "database", "running trials", "space", "checkpoints"}


def test_looking_changes_no_byte(finished):
    def digest():
        return hashlib.sha256(finished.location.path.read_bytes()).hexdigest()

    before = digest()
    doctor.examine(finished.location)
    assert digest() == before


def test_trials_that_nobody_runs_go_on_with_resume(finished):
    finished.ask()
    (finding,) = found(finished, "running trials")
    assert finding.state == "note"
    assert "trials 4 are RUNNING" in finding.found
    assert "hpo resume first" in finding.mend


def test_trials_of_a_living_run_are_no_finding_and_its_holder_is_named(finished):
    finished.ask()
    lock = Lock(finished.folder / "lock", holder="process 1 on here")
    assert lock.acquire()
    (finding,) = found(finished, "running trials")
    assert finding.state == "ok"
    assert "process 1 on here" in finding.found
    lock.release()


def test_folders_that_no_trial_needs_are_removed_by_repair_after_a_backup(finished, capsys):
    stray = finished.folder / "trial-00099"
    stray.mkdir()
    (stray / "epoch-0001.ckpt").write_bytes(b"x" * 2**20)
    (finding,) = found(finished, "checkpoints")
    assert "1 folders" in finding.found
    assert "1 MiB" in finding.found
    assert main(["doctor", "first", "--repair", "--storage", str(finished.location)]) == 0
    assert not stray.exists()
    assert "database as it was" in capsys.readouterr().err
    assert len(list(finished.location.path.parent.glob("*.bak"))) == 1
    assert bad(finished) == []


def test_the_best_trials_lost_weights_are_bad_and_say_how_to_get_them_again(finished):
    shutil.rmtree(finished.folder / f"trial-{finished.best.number:05d}")
    (finding,) = found(finished, "checkpoints")
    assert finding.state == "bad"
    assert "hpo show first" in finding.mend


def test_trials_of_another_space_are_named(finished):
    with closing(sqlite3.connect(finished.location.path)) as connection, connection:
        text = json.dumps({"name": "FloatDistribution", "attributes": {"step": None, "low": 0.001, "high": 9.0, "log": True}})
        connection.execute("UPDATE trial_params SET distribution_json = ? WHERE param_name = 'lr' AND trial_id = 2", [text])
    (finding,) = found(finished, "space")
    assert finding.state == "bad"
    assert "trials 1 were drawn from another space" in finding.found


def test_trials_from_the_future_tell_of_a_wrong_clock(finished):
    with closing(sqlite3.connect(finished.location.path)) as connection, connection:
        connection.execute("UPDATE trials SET datetime_start = '2999-01-01 00:00:00.000000' WHERE number = 2")
    (finding,) = found(finished, "clock")
    assert "trials 2 began in the future" in finding.found


def test_a_damaged_database_is_found_and_left_as_it_is(finished):
    path = finished.location.path
    content = bytearray(path.read_bytes())
    content[2 * 4096 : 40 * 4096] = b"\xa5" * len(content[2 * 4096 : 40 * 4096])
    path.write_bytes(content)
    findings = [f for f in doctor.examine(locate(str(path))) if f.check == "database"]
    assert [f.state for f in findings] == ["bad"]
    assert path.read_bytes() == content


def test_a_missing_study_and_a_missing_database_are_said(finished, tmp_path):
    assert [f.check for f in doctor.examine(finished.location, "other") if f.state == "bad"] == ["study"]
    assert any("there is no database" in f.found for f in doctor.examine(locate(str(tmp_path / "no.db"))))


def test_json_has_every_finding_and_the_exit_code_tells_bad_ones(finished, capsys):
    storage = ["--storage", str(finished.location)]
    assert main(["doctor", "--json", *storage]) == 0
    assert {f["state"] for f in json.loads(capsys.readouterr().out)} == {"ok"}
    assert main(["doctor", "other", *storage]) == 4


def test_three_hundred_trials_are_examined_within_two_seconds(tmp_path):
    study = new_study(tmp_path / "hpo.db", sampler="random", pruner="none", epochs=1)
    run(study, 300, InstantPool(epochs=1, checkpoints=False))
    began = time.process_time()
    doctor.examine(study.location)
    assert time.process_time() - began < 2
