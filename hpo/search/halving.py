"""Successive halving with pauses: at a rung a trial goes on while it is among the best of those that came so far; else it waits.

A trial that waits keeps its checkpoint, and goes on as soon as later ones put it among the best; what Optuna's pruner of this
name stops is lost, and whoever comes early goes on unopposed. It is the asynchronous algorithm of Li et al. (2020,
arXiv:1810.05934). Everything but who waits follows from the recorded accuracies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

REDUCTION = 3  # of the trials at a rung, one in three goes on: with ten epochs the rungs are 1 and 3
MOST = 30  # trials that wait: each has a checkpoint


class Rungs:
    """What is known at each rung, and what follows.

    Args:
        epochs: Of a whole training.

    Attributes:
        levels: Epochs after which a trial may have to wait, ascending.
    """

    def __init__(self, epochs: int) -> None:
        self.levels = [1] if epochs > 1 else []
        while self.levels and self.levels[-1] * REDUCTION**2 <= epochs:
            self.levels.append(self.levels[-1] * REDUCTION)
        self._accuracies: dict[int, dict[int, float]] = {level: {} for level in self.levels}  # by trial

    def note(self, trial: int, epoch: int, accuracy: float) -> None:
        """Take note of an accuracy."""
        if epoch in self._accuracies:
            self._accuracies[epoch][trial] = accuracy

    def passes(self, trial: int, epoch: int) -> bool:
        """Return whether a trial goes on after an epoch: it is at no rung, or among the best there."""
        return epoch not in self._accuracies or trial in self._best(epoch)

    def next(self, waiting: Collection[int]) -> int | None:
        """Return the waiting trial that may go on: from the highest rung, of those the best; None where all have to wait."""
        for level in reversed(self.levels):
            for trial in self._best(level):
                if trial in waiting and self._level(trial) == level:
                    return trial
        return None

    def worst(self, waiting: Collection[int]) -> list[int]:
        """Return the waiting trials, those of the lowest rung first, and there the worst first."""
        rungs = {trial: (level := self._level(trial), self._accuracies[level][trial], -trial) for trial in waiting}
        return sorted(waiting, key=rungs.__getitem__)

    def hopeless(self, waiting: Collection[int], total: int) -> list[int]:
        """Return waiting trials that cannot go on any more in a study of `total` trials, and those that are more than MOST."""
        room = {level: total // REDUCTION ** (k + 1) for k, level in enumerate(self.levels)}
        beyond = {trial for level in self.levels for trial in self._ranked(level)[room[level] :] if self._level(trial) == level}
        lost = [trial for trial in self.worst(waiting) if trial in beyond]
        left = [trial for trial in self.worst(waiting) if trial not in beyond]
        return lost + left[: max(0, len(left) - MOST)]

    def _level(self, trial: int) -> int:
        """Return the highest rung that a trial has reached."""
        return max((level for level in self.levels if trial in self._accuracies[level]), default=0)

    def _ranked(self, level: int) -> list[int]:
        accuracies = self._accuracies[level]
        return sorted(accuracies, key=lambda trial: (-accuracies[trial], trial))

    def _best(self, level: int) -> list[int]:
        return self._ranked(level)[: len(self._accuracies[level]) // REDUCTION]
