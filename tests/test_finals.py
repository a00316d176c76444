"""hpo finalists: trained again, killed, continued, and said in a table and sentences."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from watchers import Interrupted, Told

import hpo
from hpo.cli.main import main
from hpo.errors import NoResultError, StudyLockedError, UsageError
from hpo.proof import finalists as proof
from hpo.store.reading import reader
from hpo.store.repetitions import Entry, Repetitions
from hpo.system.locks import Lock

SETTINGS = hpo.Settings(epochs=3)
OPTIONS = hpo.RunOptions(trials=12, workers=1, device="cpu")

NOISY = """
import random

import hpo

space = hpo.space(lr=hpo.log(1e-4, 1.0, default=0.01), norm=hpo.choice("batch", "group", default="batch"))
objective = hpo.minimize("loss")


def train(config, data, resume):
    for epoch in range(resume["epoch"] if resume else 0, config.epochs):
        noise = random.Random(f"{config.seed} {epoch} {config.lr}").gauss(0, 0.02)
        yield hpo.Epoch(1 + abs(config.lr - 0.3) + noise, state={"epoch": epoch + 1})
"""


@pytest.fixture
def hill(tmp_path, monkeypatch):
    """A study of twelve trials of the objective in toy.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(toy.__file__).parent))
    return hpo.run("hill", settings=SETTINGS, objective=toy.OBJECTIVE, options=OPTIONS).record


@pytest.fixture
def noisy(tmp_path, monkeypatch):
    """A study of own training code, where less is better."""
    monkeypatch.chdir(tmp_path)
    Path("noisy.py").write_text(NOISY)
    return hpo.run("noisy", settings=SETTINGS, train="noisy.py:train", options=OPTIONS).record


def test_the_best_and_the_default_are_trained_again_with_the_same_seeds(noisy, capsys):
    found = hpo.finalists("noisy", top=2, seeds=3, ablation=True, options=OPTIONS)
    assert [one.entry.role for one in found.finalists] == ["default", "finalist", "finalist"]
    assert all(len(one.scores) == 3 and one.scores.keys() == found.finalists[0].scores.keys() for one in found.finalists)
    assert found.missing == 0
    assert found.winner is min(found.finalists, key=lambda one: one.mean.mean)
    assert found.is_told
    assert found.winner.gain.high < 0  # less is better
    assert found.chosen.entry.trial == noisy.best.number
    assert found.chosen.optimism.n == 3
    for study in ("noisy", "noisy.finalists"):
        note = "".join(str(part) for key, part in reader.published(hpo.load(study)).items() if "note_str" in key)
        assert "has the best mean of 3 trainings" in note
    assert {one.entry.without for one in found.ablations} <= {"lr", "norm"}
    again = hpo.load("noisy.finalists")
    assert len(again.trials) >= 9
    assert main(["finalists", "noisy", "--top", "2", "--seeds", "3", "--no-report"]) == 0  # nothing is left to train
    told = capsys.readouterr()
    assert len(hpo.load("noisy.finalists").trials) == len(again.trials)
    assert "over the default point" in " ".join(told.out.split())
    assert main(["show", "noisy"]) == 0
    assert "finalists (noisy.finalists):" in capsys.readouterr().out
    assert main(["list", "--format", "json"]) == 0
    rows = {row["study"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["noisy"]["finalists"].startswith("trial ")
    assert rows["noisy.finalists"]["best"] is None
    assert main(["show", "noisy.finalists"]) == 0
    assert "best:" not in capsys.readouterr().out
    page = hpo.write_report(hpo.load("noisy")).read_text()
    assert "finding-finalists" in page
    assert "Finalists, trained again" in page
    own = hpo.write_report(hpo.load("noisy.finalists")).read_text()
    assert "finding-finalists" in own
    assert "finding-winner" not in own
    assert main(["finalists", "noisy", "--top", "2", "--seeds", "3", "--no-report", "--format", "csv", "-q"]) == 0
    table = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert [row["role"] for row in table][:3] == ["default", "finalist", "finalist"]
    assert float(table[1]["gain_low"]) < float(table[1]["gain"]) < float(table[1]["gain_high"])


@pytest.mark.usefixtures("hill")
def test_interrupted_it_continues_and_more_seeds_add_to_what_is_there():
    with pytest.raises(KeyboardInterrupt):
        hpo.finalists("hill", top=2, seeds=2, objective=toy.OBJECTIVE, options=OPTIONS, watcher=Interrupted(4))
    partly = proof.about(hpo.load("hill"))
    assert partly.missing > 0
    assert partly.winner is None
    done = hpo.finalists("hill", top=2, seeds=2, objective=toy.OBJECTIVE, options=OPTIONS)
    assert done.missing == 0
    more = hpo.finalists("hill", top=2, seeds=3, objective=toy.OBJECTIVE, options=OPTIONS)
    assert [len(one.scores) for one in more.finalists] == [3] * 3
    assert more.seeds[:2] == done.seeds
    trials = hpo.load("hill.finalists").trials
    pairs = [(tuple(trial.params.items()), trial.user_attrs["seed"]) for trial in trials]
    assert len({*pairs}) == len(pairs) == 9


def test_what_it_cannot_do_is_said(hill, capsys):
    with pytest.raises(UsageError, match="two trainings at least"):
        hpo.finalists("hill", seeds=1)
    with pytest.raises(UsageError, match="one finalist at least"):
        hpo.finalists("hill", top=0)
    with pytest.raises(UsageError, match="there is no study 'valley'"):
        hpo.finalists("valley")
    lock = Lock(hill.folder / "lock")
    assert lock.acquire()
    with pytest.raises(StudyLockedError, match="is being run"):
        hpo.finalists("hill", objective=toy.OBJECTIVE)
    lock.release()
    hpo.run("new", settings=SETTINGS, objective=toy.OBJECTIVE, options=hpo.RunOptions(trials=1, workers=1, device="cpu"))
    with pytest.raises(NoResultError, match="nothing to compare"):
        hpo.finalists("new", objective=toy.OBJECTIVE)
    assert main(["finalists", "hill", "--seeds", "1"]) == 2
    assert "the interval of a mean needs two trainings at least" in capsys.readouterr().err


@pytest.mark.usefixtures("hill")
def test_more_finalists_than_trials_that_differ_are_those_that_there_are_and_other_epochs_are_refused():
    watcher = Told()
    found = hpo.finalists("hill", top=40, seeds=2, objective=toy.OBJECTIVE, options=OPTIONS, watcher=watcher)
    n = len(found.finalists) - 1
    assert 2 < n < 12
    assert [text for text in watcher.warnings if "fewer than 40 complete trials that differ" in text and f": {n}." in text]
    with pytest.raises(UsageError, match=r"was trained with --epochs 3, and you asked for 2\. Leave --epochs out to continue"):
        hpo.finalists("hill", epochs=2, objective=toy.OBJECTIVE, options=OPTIONS)


def test_the_test_set_is_read_once_and_a_second_reading_says_that_it_is_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(toy.__file__).parent))
    settings, told = hpo.Settings(epochs=3, score="validation"), Told()
    scored = replace(toy.OBJECTIVE, settings=("score",))

    def conducted(trials, top):
        hpo.run("hill", settings=settings, objective=scored, options=OPTIONS.model_copy(update={"trials": trials}))
        return hpo.finalists("hill", top=top, seeds=2, objective=scored, options=OPTIONS, watcher=told)

    first = conducted(4, 1)
    assert (first.reading.study, first.reading.number) == ("hill.test", 1)
    assert hpo.load("hill.test").settings.score == "test"
    assert conducted(4, 1).reading == first.reading
    assert [trial.number for trial in hpo.load("hill.test").trials] == [0]
    second = conducted(20, 3)
    assert second.winner.entry.point != first.winner.entry.point
    assert second.reading.number == 2
    assert [text for text in told.warnings if "this is reading 2, and says less than the first" in text]
    assert main(["show", "hill.finalists"]) == 0
    assert "This is reading 2 of it: a choice made" in " ".join(capsys.readouterr().out.split())


def made(scores, failed=(), costs=None):
    """A result of these scores by point, the default point's first."""
    plan = Repetitions(
        study="made",
        entries=tuple(Entry(role="finalist" if i else "default", point={"x": i}, trial=i) for i in range(len(scores))),
        seeds=tuple(range(len(scores[0]))),
    )
    every = [
        proof.Finalist(entry, dict(enumerate(own)), int(i in failed), {"macs": costs[i]} if costs else {})
        for i, (entry, own) in enumerate(zip(plan.entries, scores, strict=True))
    ]
    gains = [proof._with_gain(one, one, every[0], len(every) - 1) for one in every[1:]]
    return proof.Finalists("made", "made.finalists", toy.OBJECTIVE.score, 3, plan.seeds, (every[0], *gains))


def test_the_winner_has_the_best_mean_and_the_simplest_is_within_one_standard_error_of_it():
    found = made([(1.0, 1.1, 1.0), (2.0, 2.2, 2.1), (2.1, 2.0, 2.1)], costs=[1, 9, 5])
    assert found.winner is found.finalists[1]
    assert found.simplest is found.finalists[2]
    assert found.is_told


def test_none_can_be_told_from_the_default_where_seeds_explain_the_gain():
    from hpo.proof.sentences import verdict

    found = made([(1.0, 2.0, 3.0), (2.5, 1.5, 2.6), (1.0, 3.0, 2.1)])
    assert not found.is_told
    assert verdict(found).startswith("None of the 2 finalists can be told from the default point.")


def test_a_finalist_that_does_not_always_train_is_never_named():
    found = made([(1.0, 1.1, 1.0), (9.0, 9.1, 9.2), (2.1, 2.0, 2.1)], failed={1})
    assert found.winner is found.finalists[2]
    assert found.finalists[1].gain is None


@pytest.mark.slow
def test_killed_it_goes_on_and_nothing_is_trained_twice(tmp_path, cache):
    from running import DIGITS, Hpo

    program = Hpo(tmp_path, cache)
    try:
        assert program("run", "first", "--trials", 4, "--epochs", 2, "--space", "short.toml", *DIGITS).ended() == 0
        words = ("finalists", "first", "--top", 2, "--seeds", 2, "--no-report", "-j", 1)
        for point in ("trial.recorded", "trial.described", "trial.tidied"):
            assert program.start(*words, HPO_FAILPOINT=f"{point}:2:kill").ended() == -9, point
        worker = program.start(*words, HPO_FAILPOINT="epoch.saved:2:kill", HPO_FAILPOINT_ONCE=str(tmp_path))
        assert worker.ended() == 0, worker.err
        assert (tmp_path / "epoch.saved").exists()
        done = program(*words)
        assert done.ended() == 0, done.err
        trials = program.study("first.finalists").trials
        assert {trial.state.name for trial in trials} == {"COMPLETE"}
        pairs = [(tuple(trial.params.items()), trial.user_attrs["seed"]) for trial in trials]
        assert len({*pairs}) == len(pairs)
    finally:
        program.close()


def test_a_study_of_finalists_that_cannot_be_read_does_not_hide_the_others(hill, capsys):
    import sqlite3

    hpo.finalists("hill", top=1, seeds=2, objective=toy.OBJECTIVE, options=OPTIONS)
    with sqlite3.connect(hill.location.path) as connection:
        of = "study_id = (SELECT study_id FROM studies WHERE study_name = 'hill.finalists')"
        connection.execute(f"UPDATE trials SET number = 'x' WHERE {of} AND number = 1")
    assert main(["list"]) == 4
    assert "hill " in capsys.readouterr().out
    assert main(["show", "hill"]) == 0
