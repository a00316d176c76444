"""A trial of another program is told from hpo's own by what every hpo has stored."""

from __future__ import annotations

import optuna
import pytest
from instant import ALONE, new_study, reopen, run
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from hpo.store.own import is_ours
from hpo.store.reading import record
from hpo.store.schema import distributions

VARIED = distributions(ALONE)
POINT = ALONE.default


def test_every_trial_of_a_run_is_hpos(tmp_path):
    """Complete, pruned, waiting at a rung, begun and left, and failed."""
    study = new_study(tmp_path / "hpo.db", space=ALONE)
    run(study, 9)
    again = reopen(study)
    again.fail(again.ask())
    again.leave(again.ask())
    again.ask()
    found = record.load("first", study.location)
    assert {trial.state.name for trial in found.trials} == {"COMPLETE", "PRUNED", "FAIL", "RUNNING"}
    assert found.own == found.trials


STRANGERS = {
    "asked for": create_trial(state=TrialState.RUNNING),
    "of other parameters": create_trial(params={"foo": 1.0}, distributions={"foo": FloatDistribution(0, 2)}, value=99.0),
    "of some of the parameters": create_trial(state=TrialState.RUNNING, params={"lr": 0.1}, distributions={"lr": VARIED["lr"]}),
    "of another range": create_trial(
        state=TrialState.RUNNING, params=POINT, distributions=VARIED | {"dropout": FloatDistribution(0, 1)}
    ),
    "of the space, with a value that no epoch had": create_trial(params=POINT, distributions=VARIED, value=0.99),
    "of the space, with another value than its last epoch": create_trial(
        params=POINT, distributions=VARIED, value=0.99, intermediate_values={1: 0.99, 2: 0.5}
    ),
    "enqueued, and not begun": create_trial(state=TrialState.WAITING),
}


@pytest.mark.parametrize("trial", STRANGERS.values(), ids=STRANGERS)
def test_a_trial_of_another_program_is_not_hpos(trial):
    assert not is_ours(trial, VARIED)


def test_in_a_study_that_hpo_did_not_make_all_trials_count(tmp_path):
    made = new_study(tmp_path / "hpo.db")
    theirs = optuna.create_study(storage=made.database.storage, study_name="theirs")
    theirs.add_trial(STRANGERS["of other parameters"])
    found = record.load("theirs", made.location)
    assert found.own == found.trials
