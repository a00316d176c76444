"""A sampler that is shown part of a history takes the same trials for good as one that is shown all of it."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.samplers._tpe import sampler as tpe
from optuna.trial import TrialState, create_trial

from hpo.search.memory import FOR_PRUNERS, FOR_SAMPLERS, Memory, Part

X = optuna.distributions.FloatDistribution(0, 1)
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def a_trial(luck: random.Random, *, complete: float, running: float):
    """A trial in some state; accuracies are rounded, so that some are equal, and a few are not numbers."""
    value = round(luck.random(), 2)
    curve = {
        epoch: luck.choice((value, float("nan"))) if luck.random() < 0.1 else value for epoch in range(1, luck.randint(1, 9))
    }
    given = {"params": {"x": luck.random()}, "distributions": {"x": X}, "intermediate_values": curve}
    kind = luck.random()
    if kind < running:
        return create_trial(state=TrialState.RUNNING, **given)
    if kind < running + complete:
        return create_trial(value=value, **given)
    return create_trial(state=luck.choice((TrialState.PRUNED, TrialState.PRUNED, TrialState.FAIL)), **given)


def a_study(n: int, seed: int, **shares: float) -> tuple[optuna.Study, Memory]:
    memory = Memory(waiting=set())
    study = optuna.create_study(storage=memory, direction="maximize")
    luck = random.Random(seed)
    study.add_trials([a_trial(luck, **shares) for _ in range(n)])
    return study, memory


def good_ones(study) -> list[int]:
    """Numbers of the trials that TPE would model as good."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    below, _ = tpe._split_trials(study, trials, tpe.default_gamma(len(trials)))
    return [trial.number for trial in below]


@pytest.mark.parametrize("complete", [0.0, 0.02, 0.5], ids=["none complete", "few complete", "half complete"])
@pytest.mark.parametrize("n", [20, 300, 1500])
def test_what_tpe_takes_for_good_is_the_same(n, complete):
    study, memory = a_study(n, seed=n, complete=complete, running=0.02)
    waiting = memory._waiting
    waiting |= {trial.number for trial in study.get_trials(states=(TrialState.RUNNING,)) if trial.number % 2}
    with memory.showing(Part(latest=n, best=0)):
        of_all = good_ones(study)
    with memory.showing(FOR_SAMPLERS):
        assert good_ones(study) == of_all
        seen = study.get_trials(deepcopy=False, states=FINISHED)
        assert len(seen) <= FOR_SAMPLERS.latest + FOR_SAMPLERS.best + len(waiting)


@pytest.mark.parametrize("part", [FOR_SAMPLERS, FOR_PRUNERS])
def test_a_short_history_is_shown_whole_and_a_long_one_with_all_that_run(part):
    study, memory = a_study(3 * part.latest, seed=0, complete=0.3, running=0.1)
    everything = study.get_trials(deepcopy=False)
    scored = [trial.number for trial in everything if trial.state in FINISHED]
    with memory.showing(part):
        shown = [trial.number for trial in study.get_trials(deepcopy=False)]
    assert study.get_trials(deepcopy=False) == everything
    assert shown == sorted(shown)
    assert len(shown) < len(everything) - part.latest
    assert set(scored[-part.latest :]) <= set(shown)
    assert {trial.number for trial in everything if trial.state == TrialState.RUNNING} <= set(shown)
    study, memory = a_study(part.latest, seed=1, complete=0.3, running=0.1)
    with memory.showing(part):
        assert study.get_trials(deepcopy=False) == study.get_trials()


def test_a_trial_that_ends_while_the_study_goes_on_is_ranked():
    study, memory = a_study(400, seed=2, complete=0.3, running=0.0)
    best = study.ask({"x": X})
    study.tell(best, 2.0)
    for _ in range(FOR_SAMPLERS.latest):
        study.tell(study.ask({"x": X}), 0.5)
    with memory.showing(FOR_SAMPLERS):
        assert study.get_trials()[0].number < best.number
        assert best.number in [trial.number for trial in study.get_trials()]
