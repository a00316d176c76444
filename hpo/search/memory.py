"""Optuna's storage in memory, which shows samplers and pruners only the part of a long history that they use.

TPE goes through every finished trial several times for each new one, successive halving through every trial at each rung: at
10,000 trials they take a fifth of a second, and a Gaussian process never finishes. Of a history, TPE models the 25 best trials
against all others, and of the others the oldest count least. So a sampler is shown the best trials as TPE ranks them, the latest,
and all that run: up to 300 trials that is everything, and after that TPE's good trials are still exactly those of the whole
history. A pruner is shown the latest 1,000, and all that run: a trial competes with those. Trials that failed are not counted.

TPE ranks every complete trial before every pruned one. So a trial that waits at a rung is shown to it as one that was stopped
there, and one that is trained to the end whatever it scores as one that was stopped where its score would not have let it
pass. A Gaussian process reads complete trials alone, of which halving leaves two or three: it is shown all that have a score, as
complete, their value being the normal score of their rank.
"""

from __future__ import annotations

import bisect
import contextlib
import copy
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from hpo.scoring.score import PLAIN

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.scoring.score import Score

N_BEST = 25  # TPE takes a tenth of the trials for good, and never more than this


class Part(NamedTuple):
    """What is shown of a history, beside the trials that run."""

    latest: int  # trials that ended and did not fail, and those between them that did
    best: int  # trials in addition
    ranked: bool = False  # every trial with a score as complete, its value telling its rank


FOR_TPE = Part(latest=300, best=N_BEST)  # a tenth is more than N_BEST
FOR_GP = Part(latest=100, best=N_BEST, ranked=True)  # its time grows with the cube of the trials
FOR_PRUNERS = Part(latest=1000, best=0)


class Memory(InMemoryStorage):
    """One study's trials.

    Args:
        spared: Numbers of trials that are trained to the end whatever they score.
        stopped: Returns the epoch after which a trial counts as stopped though it was not; None for one that counts as it is.
        score: What trials are judged by.
    """

    def __init__(
        self,
        spared: Collection[int] = (),
        stopped: Callable[[int], int | None] = lambda _: None,
        score: Score = PLAIN,
    ) -> None:
        super().__init__()
        self._score, self._spared, self._stopped = score, spared, stopped
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
        if self._part.best:
            earlier |= {number for number in self._spared if number < len(everything)}
        numbers = [*sorted(number for number in earlier if number < oldest), *range(oldest, len(everything))]
        seen = [_as_stopped(everything[number], self._stopped(number)) for number in numbers]
        seen = self._as_ranked(seen) if self._part.ranked else seen
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
            if trial.number not in self._spared:  # those are shown in any case, and not as what they are
                self._best = sorted([*self._best, (self._rank(trial), trial.number)])[:N_BEST]

    def _as_ranked(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials, those that ended with a score as complete, with the normal score of their rank for a value.

        What was stopped at a rung has a score of that rung, which no mean and no scale makes one of the last epoch. Its rank can
        be said: behind all that came further, and among those of its rung by score, as TPE ranks.
        """
        stopped = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.intermediate_values]
        ended = [*stopped, *(trial for trial in trials if trial.state == TrialState.COMPLETE)]
        order = sorted(ended, key=lambda trial: (self._rank(trial), trial.number))
        place = {trial.number: i for i, trial in enumerate(order)}
        normal = NormalDist()

        def ranked(trial: FrozenTrial) -> FrozenTrial:
            if trial.number not in place:
                return trial
            seen = copy.copy(trial)
            seen.state = TrialState.COMPLETE
            seen.value = self._score.penalty(normal.inv_cdf((place[trial.number] + 0.5) / len(ended)))
            return seen

        return [ranked(trial) for trial in trials]

    def _rank(self, trial: FrozenTrial) -> tuple[float, ...]:
        """Return a key that sorts finished trials as TPE does: complete ones by value, then those that were pruned last."""
        if trial.state == TrialState.COMPLETE:
            return (0, self._score.penalty(trial.value or 0))
        step = trial.last_step
        return (2,) if step is None else (1, -step, self._score.penalty(trial.intermediate_values[step]))


def _as_stopped(trial: FrozenTrial, epoch: int | None) -> FrozenTrial:
    """Return a trial as it would be if it had been stopped after an epoch."""
    if epoch is None or trial.state == TrialState.FAIL:
        return trial
    seen = copy.copy(trial)
    seen.state = TrialState.PRUNED
    seen.intermediate_values = {step: value for step, value in trial.intermediate_values.items() if step <= epoch}
    seen.value = seen.intermediate_values.get(epoch)
    return seen
