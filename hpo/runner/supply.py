"""What a run hands out next: a trial that was interrupted, one that waited at a rung, or a new one."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.runner.board import Board, Watcher
    from hpo.runner.workers.crew import Crew
    from hpo.search.open_trial import OpenTrial
    from hpo.search.study import WritableStudy


class Supply:
    """The trials of a run that nobody trains now.

    Args:
        study: Open for writing.
        board: The run's state.
        crew: Its workers.
        watcher: Is told of points that cannot be tried.

    Attributes:
        interrupted: Trials of dead runs and workers, those first that are to go on first.
    """

    def __init__(self, study: WritableStudy, board: Board, crew: Crew, watcher: Watcher) -> None:
        self._study, self._board, self._crew, self._watcher = study, board, crew, watcher
        self.interrupted = deque(study.unfinished())

    def wanted(self, seated: int) -> bool:
        """Return whether there is something to hand out, while so many trials are in training."""
        if self._board.stopping or self._board.n_finished + seated >= self._board.total:
            return False
        return bool(self.interrupted) or self._has_room(seated) or self._study.plan.next(last=True) is not None

    @property
    def has_loners(self) -> bool:
        """Whether a trial that has to be alone waits for a process that trains nothing."""
        return any(self._crew.mishaps.alone(trial.number) for trial in self.interrupted)

    def next(self, worker: int, seated: int) -> OpenTrial:
        """Return an interrupted, a waiting or a new trial.

        A trial whose process died goes to another one if possible, to learn which of them was at fault.
        """
        mishaps, seat = self._crew.mishaps, self._crew.seat(worker)
        first = sorted(self.interrupted, key=lambda trial: not mishaps.alone(trial.number))
        others = [trial for trial in first if mishaps.killed_on(trial.number) != seat]
        if others or (first and self._crew.n_living == 1):
            return self._continued((others or first)[0])
        waiting = self._study.plan.next(last=not self._has_room(seated))
        if waiting:
            self._study.plan.resume(waiting)
            self._board.count("waiting", "running")
            return waiting
        if self.interrupted and not self._has_room(seated):
            return self._continued(self.interrupted[0])
        self._look_around()
        trial = self._study.ask()
        self._board.counts["running"] += 1
        return trial

    def _continued(self, trial: OpenTrial) -> OpenTrial:
        self.interrupted.remove(trial)
        return trial

    def _has_room(self, seated: int) -> bool:
        """Return whether the study may have another trial."""
        return not self._study.exhausted and self._board.n_tried + seated + len(self.interrupted) < self._board.total

    def _look_around(self) -> None:
        """See what other programs have added to the study."""
        for number, reason in self._study.look_around().items():
            self._board.counts["fail"] += 1
            self._watcher.warned(f"trial {number} was enqueued by another program and cannot be tried: {reason}.")
