import json
import subprocess
import sys
import time

import made
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from hpo.store.database import locate
from hpo.store.reading import record
from hpo.store.reading.trials import as_columns


def columns(study):
    return as_columns(made.record(study).trials)


def stored(tmp_path, trials, name="made"):
    """Store a study and read it from its database."""
    made.study(trials, name, storage=f"sqlite:///{tmp_path}/made.db")
    return record.load(name, locate(f"{tmp_path}/made.db"))


def test_a_database_is_read_as_optuna_reads_it(tmp_path):
    trials = made.searched(40).get_trials()
    trials.append(made.trial(40, value=float("inf")))
    trials.append(made.trial(41, "WAITING"))
    trials.append(made.trial(42, accuracies=[0.5, float("-inf"), 0.6]))
    space = {"a": CategoricalDistribution([None, 1, "1", True]), "b": IntDistribution(1, 2**40, log=True)}
    trials.append(made.trial(43, accuracies=[0.5], params={"b": 2**39, "a": "1"}, space=space))
    found = stored(tmp_path, trials)
    expected = made.record(found.study)
    assert found.trials == expected.trials
    assert (found.name, found.study_id, found.maximize) == (expected.name, expected.study_id, True)
    assert found.attributes == expected.attributes
    assert [*found.trials[43].params] == ["b", "a"]


def test_only_the_study_asked_for_is_read(tmp_path):
    stored(tmp_path, [made.trial(accuracies=[0.1])], "other")
    assert [trial.value for trial in stored(tmp_path, [made.trial(accuracies=[0.9])]).trials] == [0.9]


def test_a_study_without_trials_has_empty_tables(tmp_path):
    trials = as_columns(stored(tmp_path, []).trials)
    assert len(trials.table) == len(trials.params) == len(trials.curves) == 0
    assert {"state", "value", "epochs", "seconds", "reason"} <= set(trials.table)


@pytest.mark.parametrize("value", ["text", None, True, [1], {"a": 1}, float("nan"), float("inf"), 10**400])
def test_an_attribute_that_is_no_number_is_missing(value):
    study = made.study([made.trial(accuracies=[0.5])])
    study.add_trial(made.trial(accuracies=[0.5], seconds=value, n_parameters=value))
    assert columns(study).table[["seconds", "n_parameters"]].loc[1].isna().all()


def test_a_million_steps_do_not_become_a_million_columns():
    steps = {step * 1000: step / 1000 for step in range(1000)}
    study = made.study([optuna.trial.create_trial(value=0.5, intermediate_values=steps)])
    trials = columns(study)
    assert trials.curves.shape == (1, 200)
    assert trials.curves.columns[[0, -1]].tolist() == [0, 999_000]
    assert trials.table["epochs"][0] == 1000


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_times_are_utc_wherever_the_reader_sits(tmp_path, zone):
    stored(tmp_path, [made.trial(accuracies=[0.5])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        found = record.load("made", locate(f"{tmp_path}/made.db"))
    time.tzset()
    assert found.trials[0].datetime_start == made.BEGIN
    assert str(as_columns(found.trials).table["start"][0]) == "2026-01-02 03:04:05"


def test_reading_loads_neither_torch_nor_optuna_nor_scikit_learn(tmp_path):
    made.searched(30, storage=f"sqlite:///{tmp_path}/made.db")
    script = (
        "import json, sys; from pathlib import Path; "
        "from hpo.report import write_report, Comparison; from hpo.dashboard.note import note_of; "
        "from hpo.report.summary import summarize; from hpo.store.reading import record; from hpo.store.database import locate; "
        f"found = record.load('cifar10', locate('{tmp_path}/made.db')); "
        f"write_report(found, Path('{tmp_path}/x.html')); note_of(summarize(found)); Comparison([found]).table(); "
        "print(json.dumps([m for m in ('torch', 'optuna', 'sklearn', 'scipy', 'matplotlib') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
