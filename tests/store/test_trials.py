import json
import subprocess
import sys
import time

import made
import numpy as np
import optuna
import pandas as pd
import pytest

from hpo.store.trials import read_trials


def stored(tmp_path, trials, **more):
    return made.study(trials, storage=f"sqlite:///{tmp_path}/made.db", **more)


def test_a_database_is_read_as_optuna_reads_it(tmp_path):
    trials = made.searched(40).get_trials()
    trials.append(made.trial(40, value=float("inf")))
    trials.append(made.trial(41, "WAITING"))
    trials.append(made.trial(42, accuracies=[0.5, float("nan"), 0.6]))
    in_memory, in_file = read_trials(made.study(trials)), read_trials(stored(tmp_path, trials))
    pd.testing.assert_frame_equal(in_memory.table, in_file.table)
    pd.testing.assert_frame_equal(in_memory.params, in_file.params)
    pd.testing.assert_frame_equal(in_memory.curves, in_file.curves)
    assert in_memory.distributions == in_file.distributions


def test_only_the_study_asked_for_is_read(tmp_path):
    stored(tmp_path, [made.trial(accuracies=[0.1])], name="other")
    assert read_trials(stored(tmp_path, [made.trial(accuracies=[0.9])])).table["value"].tolist() == [0.9]


def test_a_study_without_trials_has_empty_tables(tmp_path):
    for study in (stored(tmp_path, []), made.study([])):
        trials = read_trials(study)
        assert len(trials.table) == len(trials.params) == len(trials.curves) == 0
        assert {"state", "value", "epochs", "seconds", "reason"} <= set(trials.table)


@pytest.mark.parametrize("value", ["text", None, True, [1], {"a": 1}, float("nan"), float("inf"), 10**400])
def test_an_attribute_that_is_no_number_is_missing(value):
    study = made.study([made.trial(accuracies=[0.5])])
    study.add_trial(made.trial(accuracies=[0.5], seconds=value, n_parameters=value))
    assert read_trials(study).table[["seconds", "n_parameters"]].loc[1].isna().all()


def test_a_million_steps_do_not_become_a_million_columns():
    steps = {step * 1000: step / 1000 for step in range(1000)}
    study = made.study([optuna.trial.create_trial(value=0.5, intermediate_values=steps)])
    trials = read_trials(study)
    assert trials.curves.shape == (1, 200)
    assert trials.curves.columns[[0, -1]].tolist() == [0, 999_000]
    assert trials.table["epochs"][0] == 1000


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_times_are_utc_wherever_the_reader_sits(tmp_path, zone):
    study = stored(tmp_path, [made.trial(accuracies=[0.5])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        start = read_trials(study).table["start"][0]
    time.tzset()
    assert str(start) == "2026-01-02 03:04:05"


def test_reading_loads_neither_torch_nor_scikit_learn(tmp_path):
    made.searched(30, storage=f"sqlite:///{tmp_path}/made.db")
    script = (
        "import json, optuna, sys; from pathlib import Path; "
        "from hpo.report import write_report, Comparison; from hpo.dashboard.note import note_of; "
        "from hpo.report.summary import summarize; "
        f"study = optuna.load_study(study_name='cifar10', storage='sqlite:///{tmp_path}/made.db'); "
        f"write_report(study, Path('{tmp_path}/x.html')); note_of(summarize(study)); Comparison([study]).table(); "
        "print(json.dumps([m for m in ('torch', 'sklearn', 'scipy', 'matplotlib') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_distributions_are_those_of_the_latest_trial():
    wider = {**made.SPACE, "dropout": optuna.distributions.FloatDistribution(0, 0.9)}
    study = made.study(
        [made.trial(value=0.5, params={"dropout": 0.1}), made.trial(value=0.5, params={"dropout": 0.8}, space=wider)]
    )
    trials = read_trials(study)
    assert trials.distributions["dropout"].high == 0.9
    assert np.allclose(trials.params["dropout"].astype(float), [0.1, 0.8])
