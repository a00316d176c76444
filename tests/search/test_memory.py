"""A sampler that is shown part of a history takes the same trials for good as one that is shown all of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import optuna
import pytest
from optuna.samplers._tpe import sampler as tpe
from optuna.trial import TrialState, create_trial

from hpo.search.memory import FOR_GP, FOR_PRUNERS, FOR_TPE, Memory, Part

if TYPE_CHECKING:
    from collections.abc import Container

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


def a_study(n: int, seed: int, waiting: Container[int] = (), **shares: float) -> tuple[optuna.Study, Memory]:
    memory = Memory(stopped=lambda number: memory.get_trial(number).last_step if number in waiting else None)
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
    waiting: set[int] = set()
    study, memory = a_study(n, seed=n, waiting=waiting, complete=complete, running=0.02)
    waiting |= {trial.number for trial in study.get_trials(states=(TrialState.RUNNING,)) if trial.number % 2}
    with memory.showing(Part(latest=n, best=0)):
        of_all = good_ones(study)
    with memory.showing(FOR_TPE):
        assert good_ones(study) == of_all
        seen = study.get_trials(deepcopy=False, states=FINISHED)
        assert len(seen) <= FOR_TPE.latest + FOR_TPE.best + len(waiting)


@pytest.mark.parametrize("part", [FOR_TPE, FOR_PRUNERS])
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
    for _ in range(FOR_TPE.latest):
        study.tell(study.ask({"x": X}), 0.5)
    with memory.showing(FOR_TPE):
        assert study.get_trials()[0].number < best.number
        assert best.number in [trial.number for trial in study.get_trials()]


def test_who_is_trained_on_whatever_it_scores_counts_as_stopped_where_it_would_have_been():
    memory = Memory(spared={0}, stopped={0: 2}.get)
    study = optuna.create_study(storage=memory, direction="maximize")
    given = {"params": {"x": 0.5}, "distributions": {"x": X}}
    study.add_trial(create_trial(value=0.4, intermediate_values={1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}, **given))
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.3, 2: 0.25}, **given))
    with memory.showing(FOR_TPE):
        first, _ = study.get_trials()
        assert good_ones(study) == [1]
    assert (first.state, first.intermediate_values, first.value) == (TrialState.PRUNED, {1: 0.1, 2: 0.2}, 0.2)
    assert study.trials[0].state == TrialState.COMPLETE


def test_a_gaussian_process_sees_whatever_has_a_score_as_complete_in_the_order_of_tpe():
    study, memory = a_study(60, seed=4, complete=0.05, running=0.1)
    with memory.showing(FOR_TPE):
        scored = study.get_trials(states=FINISHED)
        good = good_ones(study)
    with memory.showing(FOR_GP):
        seen = study.get_trials(states=(TrialState.COMPLETE,))
        running = study.get_trials(states=(TrialState.RUNNING,))
    with_score = [trial.number for trial in scored if trial.intermediate_values or trial.state == TrialState.COMPLETE]
    assert [trial.number for trial in seen] == with_score
    best_first = sorted(seen, key=lambda trial: -trial.value)
    assert {trial.number for trial in best_first[: len(good)]} == set(good)
    assert sum(trial.value for trial in seen) == pytest.approx(0, abs=1e-6)
    assert len(running) == len(study.get_trials(states=(TrialState.RUNNING,)))
