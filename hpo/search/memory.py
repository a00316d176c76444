"""Optuna's storage in memory, which can show a sampler or a pruner the part of a long history that it makes use of.

TPE goes through every finished trial several times for each new one, successive halving through every trial at each rung: at
10,000 trials they take a fifth of a second, and a Gaussian process does not end. Of a history, TPE models the 25 best trials
against all others, and of the others the oldest count least. So a sampler is shown the best trials as TPE ranks them, the latest,
and all that run: up to 300 trials that is everything, and after that TPE's good trials are still exactly those of the whole
history. A pruner is shown the latest 1,000, and all that run: a trial competes with those. Trials that failed are not counted. A
trial that waits at a rung is shown to samplers as one that was stopped there: they learn from it as from those.
"""

from __future__ import annotations

import bisect
import contextlib
import copy
import math
from typing import TYPE_CHECKING, NamedTuple

from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator, Sequence

    from optuna.trial import FrozenTrial

BEST = 25  # TPE takes a tenth of the trials for good, and never more than this


class Part(NamedTuple):
    """What is shown of a history, beside the trials that run."""

    latest: int  # trials that ended and did not fail, and those between them that did
    best: int  # trials in addition


FOR_SAMPLERS = Part(latest=300, best=BEST)  # a tenth is more than BEST
FOR_PRUNERS = Part(latest=1000, best=0)


class Memory(InMemoryStorage):
    """One study's trials.

    Args:
        waiting: Numbers of trials that wait at a rung, now; a view of a dict, say.
    """

    def __init__(self, waiting: Collection[int] = ()) -> None:
        super().__init__()
        self._waiting = waiting
        self._part: Part | None = None
        self._unended: set[int] = set()  # numbers of trials
        self._scored: list[int] = []  # of those that ended and did not fail, in order
        self._best: list[tuple[tuple[float, ...], int]] = []  # (rank, number) of the best of them, best first

    @contextlib.contextmanager
    def showing(self, part: Part) -> Iterator[None]:
        """Show part of the history, and all that run, instead of everything."""
        self._part = part
        try:
            yield
        finally:
            self._part = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials by number."""
        if self._part is None or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        everything = super().get_all_trials(study_id, deepcopy=False)
        oldest = self._scored[-self._part.latest] if len(self._scored) > self._part.latest else 0
        earlier = {number for _, number in self._best[: self._part.best]} | self._unended
        numbers = [*sorted(number for number in earlier if number < oldest), *range(oldest, len(everything))]
        seen = [_stopped(everything[number]) if number in self._waiting else everything[number] for number in numbers]
        shown = [trial for trial in seen if states is None or trial.state in states]
        return copy.deepcopy(shown) if deepcopy else shown

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial."""
        trial_id = super().create_new_trial(study_id, template_trial)
        self._note(self.get_trial(trial_id))
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set a trial's state and values."""
        done = super().set_trial_state_values(trial_id, state, values)
        self._note(self.get_trial(trial_id))
        return done

    def _note(self, trial: FrozenTrial) -> None:
        if not trial.state.is_finished():
            self._unended.add(trial.number)
            return
        self._unended.discard(trial.number)
        if trial.state != TrialState.FAIL:
            bisect.insort(self._scored, trial.number)
            self._best = sorted([*self._best, (_rank(trial), trial.number)])[:BEST]


def _stopped(trial: FrozenTrial) -> FrozenTrial:
    seen = copy.copy(trial)
    seen.state = TrialState.PRUNED
    return seen


def _rank(trial: FrozenTrial) -> tuple[float, ...]:
    """Return a key that sorts finished trials as TPE does: complete ones by value, then those that were pruned last."""
    if trial.state == TrialState.COMPLETE:
        return (0, -(trial.value or 0))
    step = trial.last_step
    if step is None:
        return (2,)
    accuracy = trial.intermediate_values[step]
    return (1, -step, math.inf if math.isnan(accuracy) else -accuracy)
