"""Optuna's samplers by name, with arguments that suit tens of trials.

A sampler is made anew for each trial from (seed, trial number): so a continued study goes on where it stopped, instead of
repeating its first suggestions.

Where trials themselves say what they vary, one sampler serves all of them, as in Optuna's own loop, so that a study suggests what
Optuna would have with the same seed. The state of its random numbers is kept in the study.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.samplers._lazy_random_state import LazyRandomState

from hpo.search.memory import FOR_GP, FOR_TPE
from hpo.settings import derived_seed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from hpo.search.memory import Part
    from hpo.settings import SearchSettings

STARTUP_TRIALS = 10  # random ones, before TPE or the Gaussian process takes over


class FlatTPE(optuna.samplers.TPESampler):
    """TPE on a space whose parameters are all in every trial; Optuna's own compares those of all trials to find that out.

    Args:
        flat: The space.
        seed: Of its draws.
    """

    def __init__(self, flat: Mapping[str, BaseDistribution], seed: int) -> None:
        super().__init__(n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True, seed=seed)
        self._flat = {name: flat[name] for name in sorted(flat) if not flat[name].single()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """Return the space, in the order in which Optuna draws."""
        return dict(self._flat)


def make_sampler(settings: SearchSettings, flat: Mapping[str, BaseDistribution], number: int) -> BaseSampler:
    """Return the study's sampler on a space for trial `number`."""
    purpose = f"sampler after {settings.warm_start}" if settings.warm_start else "sampler"  # else it repeats that study's draws
    seed = derived_seed(settings.seed, purpose, number)
    match settings.sampler:
        case "tpe":
            return FlatTPE(flat, seed)
        case "gp":  # Optuna's Gaussian process is written in torch: the one choice that loads it into the runner
            return optuna.samplers.GPSampler(n_startup_trials=STARTUP_TRIALS, seed=seed)
        case "qmc":  # one scrambled sequence for the whole study; its position is kept in the study
            root = derived_seed(settings.seed, "qmc", 0)
            return optuna.samplers.QMCSampler(scramble=True, seed=root, warn_independent_sampling=False)
        case _:
            return optuna.samplers.RandomSampler(seed=seed)


def lasting_sampler(settings: SearchSettings) -> BaseSampler:
    """Return the one sampler of a study whose trials say themselves what they vary: Optuna's, with the study's seed."""
    match settings.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=_seed(settings))
        case "gp":
            return optuna.samplers.GPSampler(n_startup_trials=STARTUP_TRIALS, seed=_seed(settings))
        case "qmc":
            return optuna.samplers.QMCSampler(scramble=True, seed=_seed(settings), warn_independent_sampling=False)
        case _:
            return optuna.samplers.RandomSampler(seed=_seed(settings))


def _seed(settings: SearchSettings) -> int:
    """Return the study's seed, as far as numpy takes it."""
    return settings.seed if settings.seed < 2**32 else derived_seed(settings.seed, "sampler", 0)


def random_state(sampler: BaseSampler) -> list[list[object]]:
    """Return the state of a sampler's random numbers, as JSON values."""
    states = []
    for generator in _generators(sampler):
        kind, keys, *rest = generator.get_state(legacy=True)
        states.append([kind, base64.b64encode(np.asarray(keys, "<u4").tobytes()).decode(), *rest])
    return states


def restore(sampler: BaseSampler, stored: object) -> None:
    """Let a sampler go on from a stored state; one that is none, or of another version of Optuna, changes nothing."""
    generators = list(_generators(sampler))
    if not isinstance(stored, list) or len(stored) != len(generators):
        return
    try:
        states = [(kind, np.frombuffer(base64.b64decode(keys), "<u4"), *rest) for kind, keys, *rest in stored]
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
    except (TypeError, ValueError, binascii.Error):
        return


def _generators(sampler: BaseSampler) -> Iterator[np.random.RandomState]:
    """Yield the random numbers of a sampler, and of those that it has for special cases."""
    for part in vars(sampler).values():
        if isinstance(part, LazyRandomState):
            yield part.rng
        elif isinstance(part, optuna.samplers.BaseSampler):
            yield from _generators(part)


def history_for(sampler: str) -> Part:
    """Return what a sampler is shown of a study's history."""
    return FOR_GP if sampler == "gp" else FOR_TPE
