"""Successive halving with pauses: at a rung a trial goes on while it is among the best of those that came so far; else it waits.

A trial that waits keeps its checkpoint, and goes on as soon as later ones put it among the best; what Optuna's pruner of this
name stops is lost, and whoever comes early goes on unopposed. It is the asynchronous algorithm of Li et al. (2020,
arXiv:1810.05934), and at the end of a study the best at a rung goes on even where fewer than three came so far: a short search
too trains to the end what it found. Everything but who waits follows from the recorded accuracies.
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

RUNGS = (0.1, 0.2, 0.4)  # of a training: with ten epochs after the first, the second and the fourth
REDUCTION = 3  # of the trials at a rung, one in three goes on
MOST = 30  # trials that wait: each has a checkpoint

Place = tuple[float, int]  # accuracy, negative, and trial: less is better, and of equals the first


class Rungs:
    """What is known at each rung, and what follows.

    Args:
        epochs: Of a whole training.

    Attributes:
        levels: Epochs after which a trial may have to wait, ascending.
    """

    def __init__(self, epochs: int) -> None:
        rounded = {max(1, round(share * epochs)) for share in RUNGS}
        self.levels = sorted(level for level in rounded if level < epochs)
        self._places: dict[int, dict[int, Place]] = {level: {} for level in self.levels}  # by trial
        self._ranked: dict[int, list[Place]] = {level: [] for level in self.levels}  # best first; kept so, not sorted each time

    def note(self, trial: int, epoch: int, accuracy: float) -> None:
        """Take note of an accuracy, once; NaN, from another program, is worse than all."""
        if epoch in self._places and trial not in self._places[epoch]:
            place = (math.inf if math.isnan(accuracy) else -accuracy, trial)
            self._places[epoch][trial] = place
            bisect.insort(self._ranked[epoch], place)

    def passes(self, trial: int, epoch: int, *, last: bool = False) -> bool:
        """Return whether a trial goes on after an epoch: it is at no rung, or among the best there, of which `last` makes one."""
        return epoch not in self._places or self._rank(trial, epoch) < max(last, len(self._ranked[epoch]) // REDUCTION)

    def next(self, waiting: Collection[int], *, last: bool = False) -> int | None:
        """Return the waiting trial that may go on: from the highest rung, of those the best; None where all have to wait.

        Args:
            waiting: By number.
            last: No trial begins any more: the best at a rung goes on, however few came there.
        """
        order = reversed(self.worst(waiting))
        return next((trial for trial in order if self.passes(trial, self._level(trial), last=last)), None)

    def worst(self, waiting: Collection[int]) -> list[int]:
        """Return the waiting trials, those of the lowest rung first, and there the worst first."""
        return sorted(waiting, key=lambda trial: (-(level := self._level(trial)), self._places[level][trial]), reverse=True)

    def hopeless(self, waiting: Collection[int], total: int) -> list[int]:
        """Return waiting trials that cannot go on any more in a study of `total` trials, and those that are more than MOST."""
        room = {level: max(1, total // REDUCTION ** (k + 1)) for k, level in enumerate(self.levels)}
        beyond = {trial for trial in waiting if self._rank(trial, level := self._level(trial)) >= room[level]}
        lost = [trial for trial in self.worst(waiting) if trial in beyond]
        left = [trial for trial in self.worst(waiting) if trial not in beyond]
        return lost + left[: max(0, len(left) - MOST)]

    def _level(self, trial: int) -> int:
        """Return the highest rung that a trial has reached."""
        return max((level for level in self.levels if trial in self._places[level]), default=0)

    def _rank(self, trial: int, level: int) -> int:
        """Return how many trials were better at a rung."""
        return bisect.bisect_left(self._ranked[level], self._places[level][trial])
