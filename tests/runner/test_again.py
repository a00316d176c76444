"""A trial that is trained again comes out as it was, or what differs is said."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sqlite3
import time

import numpy as np
import pytest
from running import Hpo

import hpo
from hpo.cli.main import main
from hpo.errors import NoResultError, UsageError
from hpo.folders import trial_folder
from hpo.messages import Epoch
from hpo.report.reproduction import compared, differences
from hpo.scoring import correct
from hpo.store.reading.results import seed
from hpo.store.schema import State

SETTINGS = hpo.Settings(dataset="digits", epochs=4, limit_train=150, limit_test=100, pruner="none")
OPTIONS = hpo.RunOptions(trials=2, workers=1, device="cpu")
MINE = """
import hpo
space = hpo.space(lr=hpo.log(1e-4, 1.0, default=0.1))
objective = hpo.minimize("loss")

def train(config, data, resume):
    import random
    for epoch in range(config.epochs):
        yield hpo.Epoch(config.lr + random.random())
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory, cache):
    """A study of two trials of small networks, for all tests that change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("again")
        patch.setenv("HPO_CACHE_DIR", str(cache))
        patch.chdir(folder)
        (folder / "short.toml").write_text(
            'lr = { type = "float", low = 0.01, high = 0.5, default = 0.1 }\ndepth = 1\nfilters = 4\nstem = "none"\n'
        )
        yield hpo.run(
            "first", settings=SETTINGS, space="short.toml", options=OPTIONS, storage=str(folder / "studies" / "hpo.db")
        ).record


@pytest.fixture
def copy(study, tmp_path, monkeypatch, cache):
    """A copy of that study, to be changed."""
    monkeypatch.setenv("HPO_CACHE_DIR", str(cache))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(study.location.path.parent, "studies")
    return hpo.load("first")


def loaded():
    return hpo.load("first")


def files(record):
    return {
        str(path.relative_to(record.folder)): path.read_bytes()
        for path in record.folder.rglob("*")
        if path.name != "lock" and path.is_file()
    }


def note(record, key, value):
    """Change an attribute of the study in its database."""
    with contextlib.closing(sqlite3.connect(record.location.path)) as database, database:
        database.execute("UPDATE study_user_attributes SET value_json = ? WHERE key = ?", (json.dumps(value), key))


def test_a_trial_stores_its_own_seed_and_one_that_does_not_was_trained_with_the_derived_one(study):
    for trial in study.trials:
        assert trial.user_attrs["seed"] == seed(study, trial)
        older = dataclasses.replace(trial, user_attrs={})
        assert seed(study, older) == trial.user_attrs["seed"]
    assert seed(study, study.trials[0]) != seed(study, study.trials[1])


def test_every_trial_comes_out_identical_and_the_study_stays_as_it_was(copy):
    """But for the network of a trial that was not among the best: who asks for it again has it."""
    other = next(trial.number for trial in copy.trials if trial.number != copy.best.number)
    before = files(copy)
    database = copy.location.path.read_bytes()
    for number in (None, other):
        assert files(copy) == before
        found = hpo.reproduce("first", number)
        assert (found.verdict, found.exit_code, list(found.differs)) == ("identical", 0, [])
        assert [row.epoch for row in found.rows] == [1, 2, 3, 4]
        assert all(row.identical and row.before == row.again for row in found.rows)
        assert found.why.startswith("4 of 4 epochs are equal to the last bit, and the same answers on 100 images")
    gained = {f"trial-{other:05d}/{name}" for name in ("network.safetensors", "scores.npz", "layers.json")}
    assert files(copy).keys() == before.keys() | gained
    assert copy.location.path.read_bytes() == database


def test_a_network_that_is_gone_is_there_again(copy, capfd):
    home = trial_folder(copy.folder, copy.best.number)
    before = (home / "network.safetensors").read_bytes()
    shutil.rmtree(home)
    assert main(["predict", "first", "x.png"]) == 3
    assert f"Train it again: hpo reproduce first {copy.best.number}" in capfd.readouterr().err
    assert main(["reproduce", "first", "-q"]) == 0
    printed = capfd.readouterr()
    assert "identical; 4 of 4 epochs" in printed.out
    assert printed.err == ""
    assert {path.name for path in home.iterdir()} == {"network.safetensors", "scores.npz", "layers.json"}
    n = int.from_bytes(before[:8], "little")
    assert (home / "network.safetensors").read_bytes().endswith(before[8 + n :])


@pytest.mark.slow
def test_another_torch_is_named_and_what_came_out_is_judged_on_its_own(copy, capfd):
    environment = dict(copy.attributes["environment"])
    note(copy, "environment", environment | {"torch": "1.13.1", "threads": environment["threads"]})
    assert main(["reproduce", "first", "--format", "json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["verdict"] == "identical"
    assert told["differs"] == [{"what": "torch", "before": "1.13.1", "now": environment["torch"]}]
    assert main(["reproduce", "first"]) == 0
    assert f"  torch: 1.13.1 when the study was made, now {environment['torch']}" in capfd.readouterr().out


def test_other_images_are_different_without_training(copy, capfd):
    note(copy, "environment", copy.attributes["environment"] | {"data_digest": "0" * 64})
    assert main(["reproduce", "first"]) == 5
    printed = capfd.readouterr()
    assert "different; other images" in printed.out
    assert "data digest: 000000000000… when the study was made, now " in printed.out
    assert not list(copy.folder.glob("reproduced/trial-*"))


def test_a_network_that_came_out_otherwise_is_kept_beside_the_trials(copy, capfd):
    """The trial's seed is another one in the database than it was."""
    with contextlib.closing(sqlite3.connect(copy.location.path)) as database, database:
        database.execute("UPDATE trial_user_attributes SET value_json = '5' WHERE key = 'seed'")
    before = files(copy)
    code = main(["reproduce", "first", str(copy.best.number), "--format", "json"])
    told = json.loads(capfd.readouterr().out)
    assert code == (5 if told["verdict"] == "different" else 0)
    assert told["verdict"] in ("same", "different")
    assert "other from the first epoch on" in told["why"]
    network = copy.folder / "reproduced" / f"trial-{copy.best.number:05d}.safetensors"
    assert told["network"] == str(network.absolute())
    assert hpo.Network.open(network).description.seed == 5
    assert files(copy).keys() == before.keys() | {f"reproduced/{network.name}"}


def made_again(study, scores):
    """Compare the first trial with made-up epochs."""
    return lambda folder: compared(
        study,
        study.trials[0],
        [Epoch(i + 1, score, 1.0, metrics={"train_loss": 1.0, "score_loss": 1.0}) for i, score in enumerate(scores)],
        folder,
        (),
    )


def test_noise_is_that_of_the_scored_images(study, tmp_path):
    trial, n = study.trials[0], 100
    then = correct.read(study.folder / "correct" / "00000.bits", n, trial.value)
    scores = [trial.intermediate_values[epoch] for epoch in (1, 2, 3)]
    for flipped, verdict in ((3, "same"), (min(40, int((~then).sum())), "different")):
        now = then.copy()
        now[np.flatnonzero(~then)[:flipped]] = True
        correct.write(tmp_path / correct.FILE, now)
        found = made_again(study, [*scores, float(now.mean())])(tmp_path)
        assert found.verdict == verdict, found.why
        assert f"of 100 scored images 0 were right only then and {flipped} only now" in found.why
        assert found.exit_code == (0 if verdict == "same" else 5)


def test_without_the_answers_shares_are_held_against_their_interval(study, tmp_path):
    value = study.trials[0].value
    scores = [study.trials[0].intermediate_values[epoch] for epoch in (1, 2, 3)]
    near = made_again(study, [*scores, value + 0.01])(tmp_path)
    assert (near.verdict, "as if they were two samples" in near.why) == ("same", True)
    far = made_again(study, [*scores, value + 0.5 if value < 0.5 else value - 0.5])(tmp_path)
    assert far.verdict == "different"
    fewer = made_again(study, scores)(tmp_path)
    assert (fewer.verdict, fewer.why.partition(";")[0]) == ("different", "3 epochs, not 4")


def test_what_only_one_side_says_of_its_environment_is_no_difference(study):
    before = {"torch": "2.14.1", "threads": 1, "old": 1}
    assert differences(study, study.objective, before, {"torch": "2.14.1", "threads": 2, "new": 1}) == [("threads", "1", "2")]


@pytest.mark.parametrize("number", [-1, 2])
@pytest.mark.usefixtures("copy")
def test_a_trial_that_is_not_there_is_refused(number):
    with pytest.raises(UsageError, match=f"has no trial {number}; it has 2"):
        hpo.reproduce("first", number)


def test_a_trial_without_a_result_is_refused(copy):
    with contextlib.closing(sqlite3.connect(copy.location.path)) as database, database:
        database.execute("UPDATE trials SET state = 'FAIL' WHERE number = 1")
    with pytest.raises(UsageError, match="trial 1 of study 'first' is fail: there is no result to compare with"):
        hpo.reproduce("first", 1)
    with contextlib.closing(sqlite3.connect(copy.location.path)) as database, database:
        database.execute("UPDATE trials SET state = 'FAIL'")
    with pytest.raises(NoResultError, match="no complete trial yet"):
        hpo.reproduce("first")
    assert main(["reproduce", "first"]) == 5


def test_a_pruned_trial_is_trained_as_far_as_it_was(copy):
    with contextlib.closing(sqlite3.connect(copy.location.path)) as database, database:
        database.execute("UPDATE trials SET state = 'PRUNED' WHERE number = 1")
        database.execute("DELETE FROM trial_intermediate_values WHERE step > 2 AND trial_id = 2")
    record = loaded()
    assert (record.trials[1].state, record.trials[1].last_step) == (State.PRUNED, 2)
    found = hpo.reproduce("first", 1)
    assert [row.identical for row in found.rows] == [True, True]
    assert found.verdict == "identical", found.why
    assert found.network is None


def test_own_code_is_reproduced_by_its_scores_and_a_program_has_to_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    hpo.run(train="mine.py:train", settings=hpo.Settings(epochs=3), options=OPTIONS)
    found = hpo.reproduce("mine")
    assert (found.verdict, found.why) == ("identical", "3 of 3 epochs are equal to the last bit")
    with pytest.raises(UsageError, match="of which hpo knows the scores and no network"):
        hpo.load("mine").network()
    (tmp_path / "mine.py").write_text(MINE.replace("config.lr + ", "2 * config.lr + "))
    found = hpo.reproduce("mine")
    assert (found.verdict, found.exit_code) == ("different", 5)
    assert "how much of that is chance, nobody knows" in found.why
    assert [what for what, _, _ in found.differs] == ["code"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_during_a_reproduction_is_continued_and_a_worker_that_dies_is_replaced(study, tmp_path, cache):
    program = Hpo(tmp_path, cache)
    shutil.copytree(study.location.path.parent, tmp_path / "studies")
    work = tmp_path / "studies/hpo/first/reproduced"
    for point in ("epoch.saved:2", "result.layers:1"):
        first = program.start("reproduce", "first", "0", HPO_FAILPOINT=f"{point}:kill", HPO_FAILPOINT_ONCE=str(tmp_path))
        assert first.ended(300) == 0
        assert "identical; 4 of 4" in first.out
        assert "which continues from its last epoch" in first.err
        for path in tmp_path.glob(point.partition(":")[0] + "*"):
            path.unlink()
    killed = program.start("reproduce", "first", "0", HPO_FAILPOINT="verdict.sent:3:kill")
    assert killed.ended(300) == -9
    assert list(work.glob("trial-00000/epoch-*"))
    assert not list(work.glob("*.safetensors"))
    time.sleep(1)
    again = program.start("reproduce", "first", "0")
    assert again.ended(300) == 0
    assert "identical; 4 of 4 epochs" in again.out
    assert [path.name for path in work.iterdir()] == ["lock"]
    program.close()
