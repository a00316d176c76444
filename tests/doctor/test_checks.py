"""What the doctor finds, what it would mend it with, and that looking changes nothing."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from importlib import metadata

import numpy as np
import optuna
import pytest
from instant import InstantPool, new_study, run

from hpo.cli.main import main
from hpo.data import cache
from hpo.data.arrays import Split, make_data_set
from hpo.doctor import checks, machine
from hpo.errors import StudyLockedError
from hpo.store import sqlite
from hpo.store.database import locate
from hpo.store.reading import record
from hpo.system.files import sealed
from hpo.system.locks import Lock


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def finished(tmp_path):
    """A study of four trials, with the best one's checkpoint."""
    study = new_study(tmp_path / "hpo.db")
    run(study, 4)
    return study


def found(study, check):
    return [f for f in checks.examine(study.location, study.name) if f.check == check]


def bad(study):
    return [f for f in checks.examine(study.location, study.name) if f.state != "ok"]


def test_a_sound_study_has_nothing_to_mend(finished):
    assert bad(finished) == []
    found = {f.check for f in checks.examine(finished.location, "first")}
    assert found == {"versions", "device", "disk", "file system", "database", "running trials", "space", "checkpoints"}


def test_decoded_images_that_nobody_has_used_for_long_are_removed_by_a_repair(finished, tmp_path):
    pixels, labels = np.zeros((4, 8, 8, 1), np.uint8), np.arange(4)
    data = make_data_set("made", tuple("abcd"), Split(pixels, labels), Split(pixels, labels), "nowhere")
    old, used = (cache.entry(tmp_path / "cache", name, "key") for name in ("old", "used"))
    for path in (old, used):
        cache.store(path, data)
        os.utime(path / cache.ABOUT, (time.time() - 2 * cache.UNUSED,) * 2)
    assert cache.open_entry(used)  # which notes that
    (finding,) = found(finished, "cache")
    assert finding.state == "note"
    assert "decoded images of 1 data set that was not used for 90 days" in finding.found
    finding.repair()
    assert not old.exists()
    assert cache.open_entry(used)
    assert found(finished, "cache") == []


def test_looking_changes_no_byte(finished):
    def digest():
        return hashlib.sha256(finished.location.path.read_bytes()).hexdigest()

    before = digest()
    checks.examine(finished.location)
    assert digest() == before


def test_trials_that_nobody_runs_go_on_with_resume(finished):
    finished.ask()
    (finding,) = found(finished, "running trials")
    assert finding.state == "note"
    assert "trial 4 is RUNNING" in finding.found
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
    finding, _ = found(finished, "checkpoints")
    assert "no trial needs 1 folder of checkpoints any more" in finding.found
    assert "1 MiB" in finding.found
    assert main(["doctor", "first", "--repair", "--storage", str(finished.location)]) == 0
    assert not stray.exists()
    assert "Backup of the database" in capsys.readouterr().err
    assert len(list(finished.location.path.parent.glob("*.bak"))) == 1
    assert bad(finished) == []


def test_answers_of_no_trial_are_removed_by_repair_and_those_of_trials_stay(finished):
    folder = finished.folder / "correct"
    kept = {path.name for path in folder.iterdir()}
    assert len(kept) == 4
    (folder / "00099.bits").write_bytes(b"x")
    finding, _ = found(finished, "checkpoints")
    assert finding.found == "study first: 1 file does not belong to a scored trial (correct/)."
    assert main(["doctor", "first", "--repair", "--storage", str(finished.location)]) == 0
    assert {path.name for path in folder.iterdir()} == kept
    assert bad(finished) == []


def test_a_folder_of_a_trial_that_began_after_the_look_is_not_removed(finished):
    stray = finished.folder / "trial-00004"
    stray.mkdir()
    (finding,) = (f for f in found(finished, "checkpoints") if f.repair)
    assert finished.ask().number == 4
    finding.repair()
    assert stray.exists()


def test_nothing_is_repaired_while_the_study_is_run(finished):
    (finished.folder / "trial-00099").mkdir()
    (before,) = (f for f in found(finished, "checkpoints") if f.state == "note")
    lock = Lock(finished.folder / "lock", holder="process 1 on here")
    assert lock.acquire()
    (finding,) = (f for f in found(finished, "checkpoints") if f.state == "note")
    assert finding.repair is None
    with pytest.raises(StudyLockedError, match="process 1 on here"):
        before.repair()
    lock.release()
    assert (finished.folder / "trial-00099").exists()


def in_training(study, *contents):
    """A trial that is RUNNING after as many epochs, with these checkpoints."""
    trial = study.ask()
    folder = study.folder / f"trial-{trial.number:05d}"
    folder.mkdir(exist_ok=True)
    for epoch, content in enumerate(contents, 1):
        study.report(trial, epoch, 0.5)
        (folder / f"epoch-{epoch:04d}.ckpt").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("newest", "why"),
    [
        (sealed(b"weights")[:-3], "is incomplete or damaged"),
        (b"", "it is empty"),
        (b"PNG and so on", "is not a checkpoint of hpo"),
        (sealed(b"weights").replace(b" 1 ", b" 0 "), "is a checkpoint of another version"),
    ],
    ids=["torn", "empty", "foreign", "older"],
)
def test_a_damaged_checkpoint_of_a_trial_in_training_is_named_and_removed_by_repair(finished, newest, why):
    folder = in_training(finished, sealed(b"weights"), newest)
    (finding,) = (f for f in found(finished, "checkpoints") if f.state == "note")
    assert f"{folder / 'epoch-0002.ckpt'} {why}" in finding.found or why in finding.found
    assert "Trial 4 will continue from the epoch before." in finding.found
    assert main(["doctor", "first", "--repair", "--storage", str(finished.location)]) == 0
    assert [path.name for path in folder.iterdir()] == ["epoch-0001.ckpt"]
    assert [f.state for f in found(finished, "checkpoints")] == ["ok"]


def test_a_trial_without_a_sound_checkpoint_begins_anew(finished):
    in_training(finished, b"noise")
    (finding,) = (f for f in found(finished, "checkpoints") if f.state == "note")
    assert "Trial 4 will start again." in finding.found
    shutil.rmtree(finished.folder / "trial-00004")
    (finding,) = (f for f in found(finished, "checkpoints") if f.state == "note")
    assert "trial 4 is RUNNING without a checkpoint, and will start again" in finding.found


def test_one_changed_bit_of_the_best_trials_weights_is_found_without_torch(finished):
    path = finished.folder / f"trial-{finished.best.number:05d}" / "epoch"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (finding,) = found(finished, "checkpoints")
    assert finding.state == "bad"
    assert "is incomplete or damaged" in finding.found
    assert main(["doctor", "--storage", str(finished.location)]) == 4


def test_files_that_killed_writers_left_are_removed_by_repair_and_those_of_living_ones_are_not(finished):
    with subprocess.Popen(["true"]) as gone:
        pass
    left = finished.folder / f".epoch-0001.ckpt.{gone.pid}-0123abcd.tmp"
    used = finished.folder / f".epoch-0001.ckpt.{os.getpid()}-0123abcd.tmp"
    for path in (left, used):
        path.write_bytes(b"x" * 2**20)
    (finding,) = found(finished, "half-written files")
    assert "1 file was left half-written" in finding.found
    assert main(["doctor", "--repair", "--storage", str(finished.location)]) == 0
    assert [left.exists(), used.exists()] == [False, True]


def test_a_missing_package_is_one_finding(monkeypatch):
    def version(package):
        if package == "torchvision":
            raise metadata.PackageNotFoundError
        return "2.14.1"

    monkeypatch.setattr(metadata, "version", version)
    bad, good = machine.versions()
    assert (bad.state, bad.mend) == ("bad", "pip install torchvision")
    assert good.state == "ok"


def test_versions_of_torch_and_torchvision_that_do_not_belong_together_are_told(monkeypatch):
    monkeypatch.setattr(metadata, "version", {"torch": "2.14.1+cpu", "torchvision": "0.21.0", "optuna": "5.0.0"}.get)
    (finding,) = machine.versions()
    assert finding.state == "bad"
    assert finding.mend == "pip install 'torchvision==0.29.*'"


def test_the_best_trials_lost_weights_are_bad_and_say_how_to_get_them_again(finished):
    shutil.rmtree(finished.folder / f"trial-{finished.best.number:05d}")
    (finding,) = found(finished, "checkpoints")
    assert finding.state == "bad"
    assert finding.mend == "hpo reproduce first"


def test_trials_of_another_space_are_named(finished):
    with closing(sqlite3.connect(finished.location.path)) as connection, connection:
        text = json.dumps({"name": "FloatDistribution", "attributes": {"step": None, "low": 0.001, "high": 9.0, "log": True}})
        connection.execute("UPDATE trial_params SET distribution_json = ? WHERE param_name = 'lr' AND trial_id = 2", [text])
    (finding,) = found(finished, "space")
    assert finding.state == "bad"
    assert "trial 1 is from another search space" in finding.found


def test_what_another_program_has_begun_is_ended_by_the_repair_and_never_counted(finished):
    theirs = record.load("first", finished.location).study
    theirs.ask()
    params = {"params": {"foo": 1.0}, "distributions": {"foo": optuna.distributions.FloatDistribution(0, 2)}}
    theirs.add_trial(optuna.trial.create_trial(value=99.0, **params))
    begun, added = found(finished, "space")
    assert "trial 4 was started by another program" in begun.found
    assert "hpo doctor first --repair" in begun.mend
    assert "trial 5 is another program's" in added.found
    assert "no trial was left unfinished" in found(finished, "running trials")[0].found
    begun.repair()
    study = record.load("first", finished.location)
    assert (study.counts["foreign"], study.n_finished) == (2, 4)
    assert study.trials[4].state == optuna.trial.TrialState.FAIL
    assert study.row(study.trials[4])["reason"] == "started by another program, ended by hpo doctor --repair"
    assert (study.row(study.trials[5])["accuracy"], study.row(study.trials[5])["reason"]) == (None, "complete by another program")
    assert study.best.value <= 1
    assert [finding.state for finding in found(finished, "space")] == ["note"]


def test_trials_from_the_future_tell_of_a_wrong_clock(finished):
    with closing(sqlite3.connect(finished.location.path)) as connection, connection:
        connection.execute("UPDATE trials SET datetime_start = '2999-01-01 00:00:00.000000' WHERE number = 2")
    (finding,) = found(finished, "clock")
    assert "trial 2 began in the future" in finding.found


def test_a_damaged_database_is_found_and_left_as_it_is(finished):
    path = finished.location.path
    content = bytearray(path.read_bytes())
    content[2 * 4096 : 40 * 4096] = b"\xa5" * len(content[2 * 4096 : 40 * 4096])
    path.write_bytes(content)
    findings = [f for f in checks.examine(locate(str(path))) if f.check == "database"]
    assert [f.state for f in findings] == ["bad"]
    assert path.read_bytes() == content


def test_a_missing_study_and_a_missing_database_are_said(finished, tmp_path):
    assert [f.check for f in checks.examine(finished.location, "other") if f.state == "bad"] == ["study"]
    assert any("there is no database" in f.found for f in checks.examine(locate(str(tmp_path / "no.db"))))


def test_json_has_every_finding_and_the_exit_code_tells_bad_ones(finished, capsys):
    storage = ["--storage", str(finished.location)]
    assert main(["doctor", "--json", *storage]) == 0
    assert {f["state"] for f in json.loads(capsys.readouterr().out)} == {"ok"}
    assert main(["doctor", "other", *storage]) == 4


def test_three_hundred_trials_are_examined_within_two_seconds(tmp_path):
    study = new_study(tmp_path / "hpo.db", sampler="random", pruner="none", epochs=1)
    run(study, 300, InstantPool(epochs=1, checkpoints=False))
    began = time.process_time()
    checks.examine(study.location)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_backup_is_a_new_file_that_those_may_read_who_may_read_the_database(finished, mode):
    finished.location.path.chmod(mode)
    copies = {checks.backup(finished.location) for _ in range(2)}
    assert len(copies) == 2
    assert {copy.stat().st_mode & 0o777 for copy in copies} == {mode}
    assert {sqlite.problems(copy, quick=False) == [] for copy in copies} == {True}


def test_half_written_files_outside_of_the_studies_folders_are_named_and_left(finished, monkeypatch):
    home = finished.location.path.parent
    monkeypatch.chdir(home)
    with subprocess.Popen(["true"]) as gone:
        pass
    for folder in (".", "hpo", "hpo/artifacts", "reports"):
        (home / folder).mkdir(exist_ok=True)
        (home / folder / f".x y.{gone.pid}-0123abcd.tmp").touch()
    (home / f".hpo.db.{os.getpid()}-0123abcd.tmp").touch()
    (finding,) = found(finished, "half-written files")
    assert "4 files were left half-written" in finding.found
    assert finding.mend.startswith("rm -- ")
    assert finding.mend.count(f"/.x y.{gone.pid}-0123abcd.tmp'") == 4
    assert main(["doctor", "--repair", "--storage", str(finished.location)]) == 0
    assert len(list(home.rglob(".*.tmp"))) == 5
