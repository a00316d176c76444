"""Successive halving with pauses: at a rung a trial goes on while it is among the best of those that came so far; else it waits.

A trial that waits keeps its checkpoint, and goes on as soon as later ones put it among the best. Optuna's pruner of this name
discards a stopped trial and lets early arrivals pass unopposed. The rule that decides at once, without waiting for a full rung,
is that of asynchronous successive halving (Li et al., 2020, arXiv:1810.05934). What differs: a training grows by about two from
rung to rung while one trial in three goes on (there both are the same factor), no trial is stopped before it can no longer
pass, and at the end of a study the best at a rung goes on even where fewer than three came. Both numbers were chosen by replay
(tests/bench/replay.md). Trials that are trained to the end whatever they score, and those that failed, take nobody's place.
Everything but who waits follows from the recorded scores.
"""

from __future__ import annotations

import bisect
import logging
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from hpo.scoring.score import PLAIN
from hpo.search.plan import GO_ON, Judgement, Plan
from hpo.store.schema import LEVELS, WAITS

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.scoring.score import Score
    from hpo.search.open_trial import OpenTrial

RUNGS = (0.1, 0.2, 0.4)  # of a training: with ten epochs after the first, the second and the fourth
REDUCTION = 3  # of the trials at a rung, one in three goes on
LEAST_STEPS = 60  # batches before a rung: scores of fewer rank trials by chance (tests/bench/rungs.md)
LEAST_RESULTS = 3  # at a rung, below which it stops nobody: one in three of two is none
MAX_WAITING = 30  # trials: each has a checkpoint

_logger = logging.getLogger(__name__)

Place = tuple[float, int]  # penalty of the score, and trial: less is better, and of equals the first


def rungs(epochs: int, steps: int | None = None) -> list[int]:
    """Return the epochs after which a trial may have to wait, ascending.

    A rung that would come before `LEAST_STEPS` comes as late as that; one that would then come after half of the training saves
    little, and there is none.

    Args:
        epochs: Of a whole training.
        steps: Batches of an epoch; None where that is not known.
    """
    least = 1 if steps is None else math.ceil(LEAST_STEPS / steps)
    levels = {max(least, round(share * epochs)) for share in RUNGS}
    return sorted(level for level in levels if level <= epochs / 2)


def stored_rungs(system: Mapping[str, object], epochs: int) -> list[int]:
    """Return the rungs that a study was made with.

    Args:
        system: Its system attributes.
        epochs: Of a whole training.
    """
    levels = system.get(LEVELS)
    if not isinstance(levels, list):
        return rungs(epochs)
    return sorted({level for level in levels if isinstance(level, int) and 0 < level < epochs})


class Halving(Plan):
    """The plan: a trial that is not among the best at a rung waits there.

    Args:
        rungs: Nothing known yet.
        spared: Numbers of trials that are trained to the end; it grows.
    """

    def __init__(self, rungs: Rungs, spared: Collection[int]) -> None:
        self._rungs, self._spared = rungs, spared
        self._has_told = False  # that trials report more often than was said
        self.waiting: dict[int, OpenTrial] = {}

    def load(self, stored: FrozenTrial, opened: OpenTrial | None) -> None:
        """Take note of a stored trial: where it came, whether it ended, whether it waits."""
        failed, competes = stored.state.name == "FAIL", stored.number not in self._spared
        scores = sorted(stored.intermediate_values.items()) if not failed else ()
        for epoch, (_, score) in enumerate(scores, 1):
            self._rungs.note(stored.number, epoch, score, competes=competes)
        if competes and stored.state.name in ("COMPLETE", "PRUNED"):
            self._rungs.end(stored.number, failed=False)
        if opened and stored.last_step in self._rungs.levels and stored.system_attrs.get(WAITS) == stored.last_step:
            self.waiting[stored.number] = opened

    def judge(self, trial: OpenTrial, epoch: int) -> Judgement:
        """Let a trial wait that comes to a rung and is not among the best there; one that came before has been judged."""
        self.waiting.pop(trial.number, None)
        competes, score = trial.number not in self._spared, trial.scores[epoch]
        epoch = sum(known <= epoch for known in trial.scores)  # a stranger's objective counts its steps as it likes
        if epoch > self._rungs.epochs and self._rungs.levels and not self._has_told:
            self._tell(trial)
        news = self._rungs.note(trial.number, epoch, score, competes=competes)
        if not (news and competes) or self._rungs.passes(trial.number, epoch, early=not trial.can_wait):
            return GO_ON
        if not trial.can_wait:
            return Judgement("stop")
        self.waiting[trial.number] = trial
        return Judgement("wait", {WAITS: epoch})

    def _tell(self, trial: OpenTrial) -> None:
        self._has_told = True
        text = "trial %d reports more often than --epochs = %d: halving may stop trials after report %s already. "
        mend = "Say in a new study how often a trial reports: --epochs N"
        _logger.warning(text + mend, trial.number, self._rungs.epochs, ", ".join(map(str, self._rungs.levels)))

    def next(self, *, last: bool = False) -> OpenTrial | None:
        """Return the waiting trial that may go on now."""
        number = self._rungs.next(self.waiting, last=last)
        return None if number is None else self.waiting[number]

    def resume(self, trial: OpenTrial) -> None:
        """Let a waiting trial go on."""
        del self.waiting[trial.number]

    def hopeless(self, total: int | None) -> list[OpenTrial]:
        """Return the waiting trials that no future lets pass."""
        if total is None:
            numbers = self._rungs.worst(self.waiting)
        else:
            numbers = self._rungs.hopeless(self.waiting, total - len(self._spared))
        return [self.waiting[number] for number in numbers]

    def end(self, number: int, *, failed: bool) -> None:
        """Take note that a trial has ended: it waits no more, and comes to no further rung."""
        self.waiting.pop(number, None)
        if number not in self._spared:
            self._rungs.end(number, failed=failed)

    def stopped_at(self, number: int) -> int | None:
        """Return the rung at which a trial waits, or which a spared one would not have passed."""
        if number in self.waiting:
            return self.waiting[number].epoch
        return self._rungs.unearned(number) if number in self._spared else None


class Rungs:
    """What is known at each rung, and what follows.

    Args:
        epochs: Of a whole training.
        levels: From `rungs` or `stored_rungs`; None: those that `epochs` alone say.
        score: What trials are judged by.

    Attributes:
        epochs: As given.
        levels: Epochs after which a trial may have to wait, ascending.
    """

    def __init__(self, epochs: int, levels: list[int] | None = None, score: Score = PLAIN) -> None:
        self.epochs, self.levels = epochs, rungs(epochs) if levels is None else levels
        self._score = score
        self._places: dict[int, dict[int, Place]] = {level: {} for level in self.levels}  # by trial
        self._ranked: dict[int, list[Place]] = {level: [] for level in self.levels}  # best first; kept so, not sorted each time
        self._stopped = dict.fromkeys(self.levels, 0)  # trials that ended before they came to a rung

    def note(self, trial: int, epoch: int, score: float, *, competes: bool = True) -> bool:
        """Take note of a score, once; return whether it was news. NaN, from another program, is worse than all.

        Args:
            trial: Its number.
            epoch: Its last one.
            score: After that.
            competes: For a place among those that go on; else the trial goes on in any case, and takes no place.
        """
        if epoch not in self._places or trial in self._places[epoch]:
            return False
        place = self._places[epoch][trial] = (self._score.penalty(score), trial)
        if competes:
            bisect.insort(self._ranked[epoch], place)
        return True

    def end(self, trial: int, *, failed: bool) -> None:
        """Take note that a trial that competes has ended: it comes to no further rung; one that failed leaves its places."""
        for level, places in self._places.items():
            if failed and trial in places:
                self._ranked[level].remove(places.pop(trial))
            elif not failed and trial not in places:
                self._stopped[level] += 1

    def passes(self, trial: int, epoch: int, *, last: bool = False, early: bool = False) -> bool:
        """Return whether a trial goes on after an epoch: it is at no rung, or among the best there.

        Args:
            trial: By number.
            epoch: Its last one.
            last: No trial begins any more: at least one goes on, and all where fewer than `LEAST_RESULTS` came.
            early: All go on where fewer than `LEAST_RESULTS` came: what cannot wait for others is not stopped for having none.
        """
        if epoch not in self._places or ((last or early) and len(self._ranked[epoch]) < LEAST_RESULTS):
            return True
        return self._rank(trial, epoch) < max(last, len(self._ranked[epoch]) // REDUCTION)

    def unearned(self, trial: int) -> int | None:
        """Return the first rung that a trial has come to and would not have passed; None where it passes all of them."""
        reached = (level for level in self.levels if trial in self._places[level])
        return next((level for level in reached if not self.passes(trial, level)), None)

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
        """Return waiting trials that no future lets pass, and the worst of those that are more than MAX_WAITING.

        A rung's places are most where all trials that can still come to it do, and are worse than those that wait there.

        Args:
            waiting: By number.
            total: Trials that the study shall have, without those that take no place.
        """
        places = {level: max(1, (total - self._stopped[level]) // REDUCTION) for level in self.levels}
        places |= {level: LEAST_RESULTS for level in self.levels if len(self._ranked[level]) < LEAST_RESULTS}
        beyond = {trial for trial in waiting if self._rank(trial, level := self._level(trial)) >= places[level]}
        lost = [trial for trial in self.worst(waiting) if trial in beyond]
        left = [trial for trial in self.worst(waiting) if trial not in beyond]
        return lost + left[: max(0, len(left) - MAX_WAITING)]

    def _level(self, trial: int) -> int:
        """Return the highest rung that a trial has reached."""
        return max((level for level in self.levels if trial in self._places[level]), default=0)

    def _rank(self, trial: int, level: int) -> int:
        """Return how many trials that compete were better at a rung."""
        return bisect.bisect_left(self._ranked[level], self._places[level][trial])
