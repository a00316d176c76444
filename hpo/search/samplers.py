"""Optuna's samplers by name, with arguments that suit tens of trials.

A sampler is made anew for each trial from (seed, trial number): so a continued study goes on where it stopped, instead of
repeating its first suggestions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import optuna

from hpo.search.memory import FOR_GP, FOR_TPE

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from hpo.search.memory import Part
    from hpo.settings import SearchSettings

STARTUP_TRIALS = 10  # random ones, before TPE or the Gaussian process takes over


def derived_seed(seed: int, purpose: str, number: int) -> int:
    """Return a seed, 0 to 2**32 - 1, that is a function of these three alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose} {number}".encode()).digest()[:4], "big")


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


def history_for(sampler: str) -> Part:
    """Return what a sampler is shown of a study's history."""
    return FOR_GP if sampler == "gp" else FOR_TPE
