"""An Optuna objective runs as it is: the same suggestions, the same pruning, an ordinary study, and it survives kills."""

from __future__ import annotations

import html
import json
import math
import subprocess
import sys

import optuna
import pytest
from hostile import in_process
from watchers import Interrupted, Told

import hpo
from hpo.dashboard.note import note_of
from hpo.errors import UsageError
from hpo.own import optuna_file
from hpo.report.findings import find
from hpo.report.summary import summarize
from hpo.store.reading.record import load_all
from hpo.store.schema import NOTED

MINE = """
import optuna

def objective(trial):
    x = trial.suggest_float("x", -10, 10)
    kind = trial.suggest_categorical("kind", ["a", "b", None])
    y = trial.suggest_float("y", 0, 1, step=0.25)
    if kind == "a":
        n = trial.suggest_int("n", 1, 64, log=True)
        y += trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    else:
        n = trial.suggest_int("m", 0, 100, step=10)
    for step in range(10):
        value = (x - 2) ** 2 + n / 10 + y + 10 / (step + 1)
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    trial.set_user_attr("double", 2 * n)
    print("told", trial.params)
    return value
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mine(here):
    """Write `mine.py` and run it."""

    def run(text=MINE, study=None, *, settings=None, score=None, watcher=None, **options):
        (here / "mine.py").write_text(text)
        given = hpo.RunOptions(**{"trials": 8, "workers": 1, "device": "cpu"} | options)
        settings = settings or hpo.Settings(pruner="none")
        return hpo.run(study, optuna="mine.py", settings=settings, options=given, score=score, watcher=watcher)

    return run


def plain(text, n, sampler, pruner=None, direction="minimize"):
    """Return the trials of Optuna's own loop over an objective."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {}
    exec(compile(text, "mine.py", "exec"), space)
    study = optuna.create_study(sampler=sampler, pruner=pruner or optuna.pruners.NopPruner(), direction=direction)
    study.optimize(space["objective"], n_trials=n)
    return study.trials


def facts(trial):
    noted = {key: value for key, value in trial.user_attrs.items() if key not in NOTED}
    values = {step: None if math.isnan(value) else value for step, value in trial.intermediate_values.items()}
    return trial.state.name, trial.params, trial.distributions, trial.value, values, noted


SAMPLERS = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_its_suggestions_are_those_of_optunas_own_loop(mine, sampler):
    found = mine(settings=hpo.Settings(pruner="none", sampler=sampler, seed=3), trials=25).record.study.trials
    assert list(map(facts, found)) == list(map(facts, plain(MINE, 25, SAMPLERS[sampler](seed=3))))
    assert {trial.params["kind"] for trial in found} == {"a", "b", None}


@pytest.mark.parametrize(
    ("name", "pruner"),
    [
        ("median", optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)),
        ("hyperband", optuna.pruners.HyperbandPruner(min_resource=1, max_resource=10, reduction_factor=3)),
    ],
)
def test_it_is_stopped_where_optunas_pruner_of_that_name_stops_it(mine, name, pruner):
    found = mine(study="same", settings=hpo.Settings(pruner=name, sampler="random"), trials=20).record.study.trials
    if name == "hyperband":  # which puts a trial into a bracket by the study's name
        study = optuna.create_study(study_name="same", sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
        space = {}
        exec(MINE, space)
        study.optimize(space["objective"], n_trials=20)
        there = study.trials
    else:
        there = plain(MINE, 20, optuna.samplers.RandomSampler(seed=0), pruner)
    assert list(map(facts, found)) == list(map(facts, there))
    assert sum(trial.state.name == "PRUNED" for trial in found) > 3


def test_halving_stops_it_after_its_reports_and_nothing_waits(mine):
    record = mine(settings=hpo.Settings(), trials=12).record
    assert record.counts["pruned"] > 3
    assert record.counts["complete"] + record.counts["pruned"] == 12
    assert {len(trial.intermediate_values) for trial in record.trials if trial.state.name == "PRUNED"} <= {1, 2, 4}
    assert record.rows(states=["pruned"])[0]["reason"].startswith("stopped by the halving pruner after step")


@pytest.mark.slow
def test_more_reports_than_epochs_are_said_once_because_halving_comes_early(mine):
    told = Told()
    mine(settings=hpo.Settings(epochs=5), trials=12, watcher=told)
    often = [text for text in told.warnings if "reports more often than --epochs = 5" in text]
    assert len(often) == 1
    assert "after report 1, 2 already. Say in a new study how often a trial reports: --epochs N" in often[0]
    told = Told()
    mine(study="exact", settings=hpo.Settings(epochs=10), trials=12, watcher=told)
    assert told.warnings == []


@pytest.mark.parametrize("at", [5, 23, 44])
def test_an_interrupted_study_ends_as_an_undisturbed_one(mine, at):
    settings = hpo.Settings(pruner="none", seed=1)
    with pytest.raises(KeyboardInterrupt):
        mine(settings=settings, trials=13, watcher=Interrupted(at))
    found = hpo.resume("mine", options=hpo.RunOptions(trials=13, workers=1, device="cpu")).record.study.trials
    assert list(map(facts, found)) == list(map(facts, plain(MINE, 13, optuna.samplers.TPESampler(seed=1))))


@pytest.mark.slow
def test_what_was_asked_before_a_death_is_answered_as_before_and_what_was_drawn_with_it_too(mine, here):
    (here / "once").mkdir()
    dies = MINE.replace(
        "    if kind ==",
        """    import os, pathlib
    for name in ("here", "there"):
        mark = pathlib.Path("once", f"{trial.number}-{name}")
        if trial.number in (3, 14) and not mark.exists():
            mark.write_text(repr(trial.params))
            os.kill(os.getpid(), 9)
    if kind ==""",
    )
    told = Told()
    found = mine(dies, trials=18, watcher=told).record.study.trials
    assert list(map(facts, found)) == list(map(facts, plain(MINE, 18, optuna.samplers.TPESampler(seed=0))))
    assert len(told.warnings) == 4
    assert (here / "once" / "14-here").read_text() == (here / "once" / "14-there").read_text()


def test_a_failure_is_optunas_too_and_is_explained(mine):
    text = """
def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    if x < 0.5:
        raise ValueError("too small")
    if x > 0.9:
        return None
    return float("nan") if x > 0.8 else x
"""
    record = mine(text, settings=hpo.Settings(sampler="random", pruner="none"), trials=6).record
    there = plain(text.replace('raise ValueError("too small")', "return None"), len(record.trials), SAMPLERS["random"](seed=0))
    assert [trial.state.name for trial in record.trials] == [trial.state.name for trial in there]
    reasons = {row["reason"] for row in record.rows(states=["fail"])}
    assert 'ValueError: too small (mine.py, line 5: raise ValueError("too small"))' in reasons
    assert reasons & {"objective returned nan.", "objective returned None: it should return a number."}


@pytest.mark.slow
def test_a_score_that_is_not_a_number_is_reported_as_such_and_stops_a_trial_under_the_median_pruner(mine):
    text = """
import optuna
def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    for step in range(4):
        trial.report(float("nan") if x > 0.7 and step else x, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return x
"""
    settings = hpo.Settings(sampler="random", pruner="median")
    found = mine(text, settings=settings, trials=14).record
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    there = plain(text, 14, SAMPLERS["random"](seed=0), pruner)
    assert list(map(facts, found.study.trials)) == list(map(facts, there))
    again = hpo.resume("mine", options=hpo.RunOptions(trials=15, workers=1, device="cpu")).record
    assert again.n_finished == 15


@pytest.mark.parametrize(
    ("text", "maximize"),
    [
        ("def objective(trial): return 1.0", False),
        (
            "def objective(t): return 1\nif __name__ == '__main__':\n    create_study(direction='maximize')",
            True,
        ),
        ("import optuna\ndef objective(trial): return 1.0\ndef main(): optuna.create_study()", False),
        (
            "from optuna.study import *\ndef objective(t): return 1.0\nif False: create_study(direction=StudyDirection.MAXIMIZE)",
            True,
        ),
        ("def objective(t): return 1.0\ndef main(create_study): create_study(directions=['maximize'])", True),
    ],
)
def test_its_direction_is_that_of_its_files_study_and_else_optunas(here, text, maximize):
    (here / "mine.py").write_text(text)
    found = optuna_file.of_optuna("mine.py")
    assert (found.score.maximize, found.score.name, found.study) == (maximize, "value", "mine")
    assert optuna_file.of_optuna("mine.py:objective", hpo.maximize("accuracy")).score == hpo.maximize("accuracy")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def other(trial): return 1", "it has no function 'objective'"),
        ("def objektive(trial): return 1", "Did you mean 'objektive'?"),
        ("def objective(): return 1", "objective() does not take a trial alone"),
        ("def objective(trial, data): return 1", "objective(trial, data) does not take a trial alone"),
        ("def objective(trial):\n    yield 1", "that is for --train"),
        ("class objective:\n    def __init__(self, trial): pass", "is a class"),
        ("import nothing_like_that", "ModuleNotFoundError"),
        ("def objective(trial) return 1", "SyntaxError"),
        ("def objective(t): return 1\ndef f(create_study): create_study(directions=['minimize', 'maximize'])", "of 2 directions"),
        (
            "def objective(t): return 1\ndef f(create_study): create_study(); create_study(direction='maximize')",
            "both directions",
        ),
        (
            "import optuna\ndef objective(t): return 1\nstudy = optuna.create_study()\nstudy.optimize(objective, n_trials=9)",
            "line 4, study.optimize(…), would search as soon as the file is imported",
        ),
    ],
)
def test_a_file_that_cannot_be_searched_is_refused_before_anything_is_made(here, text, said):
    (here / "mine.py").write_text(text)
    code, _, err = in_process("run", "--optuna", "mine.py", "--trials", "2")
    assert code == 2
    assert said in err
    assert not (here / "studies").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--space", "basic"), "says itself what it varies"),
        (("--dataset", "digits"), "brings its own data"),
        (("--train", "mine.py"), "name one"),
        (("--warm-start", "other"), "says itself what it varies"),
    ],
)
def test_an_option_that_says_nothing_to_an_objective_is_refused(here, more, said):
    (here / "mine.py").write_text(MINE)
    code, _, err = in_process("run", "--optuna", "mine.py", "--trials", "2", *more)
    assert code == 2
    assert said in err


def test_several_values_end_the_run_with_a_sentence(mine):
    text = "def objective(trial):\n    return trial.suggest_float('x', 0, 1), 2.0"
    with pytest.raises(UsageError, match=r"--optuna mine.py: objective returned 2 values, and hpo optimizes one"):
        mine(text)


def test_another_distribution_of_a_name_fails_the_trial_with_the_line(mine):
    text = """
def objective(trial):
    if trial.number == 1:
        return trial.suggest_int("x", 0, 3)
    if trial.number == 2:
        return trial.suggest_float("x", 3, 1)
    return trial.suggest_float("x", 0, 1)
"""
    record = mine(text, trials=3).record
    reasons = [row["reason"] for row in record.rows(states=["fail"])]
    assert len(reasons) == 2
    assert reasons[0].startswith("ValueError: x: Cannot set different distribution kind to the same parameter name")
    assert "line 4" in reasons[0]
    assert "`low <= high`" in reasons[1] or "low" in reasons[1]
    assert record.n_finished == 3


def test_its_trial_is_an_optuna_trial_with_all_that_objectives_use(mine):
    text = """
import datetime, json, optuna, pathlib, numpy as np
def objective(trial):
    assert isinstance(trial, optuna.Trial) and isinstance(trial, optuna.trial.BaseTrial)
    assert trial.study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert trial.study.study_name == "mine"
    assert isinstance(trial.datetime_start, datetime.datetime)
    u = trial.suggest_uniform("u", 0, 1)
    l = trial.suggest_loguniform("l", 1e-3, 1)
    d = trial.suggest_discrete_uniform("d", 0, 1, 0.5)
    assert d in (0, 0.5, 1)
    n = trial.suggest_int("n", 1, np.int64(9), step=2)
    assert type(n) is int and n % 2
    assert n == trial.suggest_int("n", 1, 9, step=2)
    c = trial.suggest_categorical("c", [(1, 2), (3,)])
    assert c in [(1, 2), (3,)]
    k = trial.suggest_categorical("k", np.array([1, 2]))
    assert trial.params == {"u": u, "l": l, "d": d, "n": n, "c": c, "k": k}, trial.params
    assert trial.distributions["u"] == optuna.distributions.FloatDistribution(0, 1)
    trial.set_user_attr("seconds", 7)
    trial.set_user_attr("list", [1, 2])
    assert trial.user_attrs == {"seconds": 7, "list": [1, 2]}
    trial.report(np.float32(0.5), 0)
    trial.report(0.7, 0)
    try:
        trial.study.best_value
    except AttributeError as error:
        trial.set_user_attr("said", str(error))
    return np.float64(u)
"""
    outcome = mine(text, score=hpo.maximize("reward"), trials=4)
    assert outcome.reason == "total", [row["reason"] for row in outcome.record.rows()]
    best = outcome.record.best
    assert best.value == max(trial.value for trial in outcome.record.trials)
    assert best.user_attrs["seconds (own)"] == 7
    assert 0 < best.user_attrs["seconds"] < 60
    assert best.user_attrs["list"] == [1, 2]
    assert "an objective knows of its study its direction and its name alone" in best.user_attrs["said"]
    assert best.intermediate_values == {0: 0.5}
    row = outcome.record.rows(top=1)[0]
    assert row["reward"] == best.value
    assert hpo.write_report(outcome.record).exists()


def test_a_worker_loads_no_optuna_for_a_file_that_does_not(mine):
    text = "import sys\ndef objective(trial):\n    assert 'optuna' not in sys.modules\n    return trial.suggest_float('x', 0, 1)"
    record = mine(text, trials=2).record
    assert record.n_finished == 2
    assert "optuna" not in record.attributes["environment"] or record.attributes["environment"]["optuna"]


@pytest.mark.slow
def test_a_study_of_one_is_asked_for_by_its_name_alone_and_keeps_its_direction(mine, here):
    mine(score=hpo.maximize("reward"), trials=2)
    again = mine(trials=3)
    assert again.record.score == hpo.maximize("reward")
    with pytest.raises(UsageError, match="study 'mine' maximizes reward, and you asked to minimize loss"):
        mine(score=hpo.minimize("loss"), trials=4)
    (here / "mine.py").write_text(MINE + "\n")
    told = Told()
    assert hpo.resume("mine", options=hpo.RunOptions(trials=4, workers=1, device="cpu"), watcher=told).record.n_finished == 4
    assert "mine.py:objective has changed since the study was made" in told.warnings[0]


def test_trials_of_other_programs_are_not_its_own_and_enqueued_points_are_tried(mine):
    record = mine(trials=2).record
    record.study.tell(record.study.ask(), -100.0)
    record.study.enqueue_trial({"x": 2.0, "kind": "a", "n": 1, "nothing": 5})
    record.study.enqueue_trial({"x": 1.5})
    found = mine(trials=6).record
    states = [found.state(trial) for trial in found.trials]
    assert states.count("foreign") == 1
    assert found.n_finished == 6
    assert {"x": 2.0, "kind": "a", "n": 1}.items() <= next(t for t in found.trials if t.params.get("x") == 2.0).params.items()
    assert any(trial.params.get("x") == 1.5 for trial in found.own)
    assert found.best.value > -100


@pytest.mark.slow
def test_what_is_shown_of_it_knows_that_parameters_are_missing_in_some_trials(mine):
    record = mine(trials=40).record
    summary = summarize(record)
    assert summary.default_value is None
    assert summary.params["kind"].notna().all()
    assert "None" in set(summary.params["kind"])
    assert {one.name for one in summary.importance} == {"x", "kind", "y", "n", "m", "lr"} - (
        {"lr", "n"} if (summary.params["kind"] == "a").sum() < 12 else set()
    ) - ({"m"} if (summary.params["kind"] != "a").sum() < 12 else set())
    assert summary.deciding[0] == "x"
    page = hpo.write_report(record).read_text()
    assert "default" not in page[page.index("<body") : page.index("<script")]
    assert "optuna.trial.FixedTrial(" in page
    assert "nan" not in note_of(summary)
    shown = in_process("show", "mine")[1]
    assert "default" not in shown
    assert "defined by run: x, kind, y" in shown
    rows = json.loads(in_process("trials", "mine", "--format", "json")[1])
    assert {row["epochs"] for row in rows} == {10}
    assert [row["double"] for row in rows] == [2 * (row["n"] if row["kind"] == "a" else row["m"]) for row in rows]
    assert "told" in in_process("show", "mine", "--trial", "1", "--log")[1]


def test_a_page_counts_the_reports_that_trials_make_whatever_the_epochs_are(mine):
    record = mine(settings=hpo.Settings(epochs=3, pruner="median", sampler="random"), trials=16).record
    summary = summarize(record)
    assert summary.epochs == 10
    saved = sum(10 - len(trial.intermediate_values) for trial in record.trials if trial.state.name == "PRUNED")
    assert saved > 0
    assert f"saved {saved} of 160 epochs" in " ".join(one.text for one in find(summary))


def test_the_page_tells_how_to_call_it_with_the_winners_parameters(mine):
    record = mine(trials=12).record
    page = hpo.write_report(record).read_text()
    start = page.index("import optuna\nfrom mine import")
    code = html.unescape(page[start : page.index("END", start)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert float(done.stdout.splitlines()[-1]) == record.best.value, done.stderr


ALIKE = """
def objective(trial):
    return trial.suggest_float("x", 0, 1) * 0 + 1
"""


def test_trial_0_is_no_default_point_and_there_are_no_finalists(mine):
    record = mine(ALIKE, trials=3).record
    assert record.best.number == 0
    assert "default" not in " ".join(finding.text for finding in find(summarize(record)))
    with pytest.raises(UsageError, match="there is no point to train again"):
        hpo.finalists(record.name)
    assert [one.name for one in load_all(record.location)] == [record.name]
