"""The plan of Optuna's pruners, which decide at once: a trial goes on or stops, and none waits."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import optuna

from hpo.search.plan import GO_ON, Judgement, Plan
from hpo.store.schema import UNEARNED

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

    from hpo.search.mirror import Mirror
    from hpo.search.open_trial import OpenTrial
    from hpo.settings import SearchSettings


class Pruning(Plan):
    """Lets the mirror's pruner decide.

    Args:
        epochs: Of a whole training; after the last of them nobody is stopped. Infinite if that is unknown.
        spared: Numbers of trials that are trained to the end.
        mirror: Of the study.
    """

    def __init__(self, epochs: float, spared: Container[int], mirror: Mirror) -> None:
        self._epochs, self._spared, self._mirror = epochs, spared, mirror

    def judge(self, trial: OpenTrial, epoch: int) -> Judgement:
        """Ask the pruner; note of a spared trial where it would have been stopped first."""
        if epoch >= self._epochs:
            return GO_ON
        before = self._mirror.attributes(trial.number)
        stops = self._mirror.should_prune(trial.number)
        notes = {k: v for k, v in self._mirror.attributes(trial.number).items() if before.get(k) != v}
        if not stops:
            return Judgement("go on", notes)
        if trial.number not in self._spared:
            return Judgement("stop", notes)
        return Judgement("go on", notes if UNEARNED in before else notes | {UNEARNED: epoch})

    def stopped_at(self, number: int) -> int | None:
        """Return where the pruner would have stopped a spared trial."""
        return self._mirror.attributes(number).get(UNEARNED) if number in self._spared else None


def make_pruner(settings: SearchSettings, levels: Sequence[int]) -> BasePruner:
    """Return the study's pruner, as far as it is Optuna's (halving is in halving.py); it stops nobody before the first level."""
    match settings.pruner if levels else "none":
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=levels[0])
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=levels[0], max_resource=settings.epochs, reduction_factor=3)
        case _:
            return optuna.pruners.NopPruner()
