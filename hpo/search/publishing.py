"""A run that is published while it goes on, for whoever looks at the study from elsewhere: now and then, and at its end.

The runner does it between two messages of its workers, so it must not take long: see `MINIMUM` and `SHARE`. What is published,
and where, is the caller's; this side knows no report.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hpo.search.board import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from hpo.messages import EpochDone
    from hpo.search.board import Board
    from hpo.search.study import OpenTrial

MINIMUM = 60.0  # seconds between the end of one publication and the beginning of the next
SHARE = 0.01  # of the run that publications may take; the last one is not counted


class Publishing(Watcher):
    """Shows a run through another watcher and publishes it.

    A publication that goes wrong is a warning, said once, and the next is tried as if it had gone well.

    Args:
        shown: The watcher that shows the run to a person.
        publish: Takes the study's name.
        clock: Seconds.
    """

    def __init__(self, shown: Watcher, publish: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._shown, self._publish, self._clock = shown, publish, clock
        self._news = False  # whether a trial has ended since the last publication
        self._next = 0.0
        self._said: set[str] = set()

    def preparing(self, what: str, done: int, total: int) -> None:
        """Pass on."""
        self._shown.preparing(what, done, total)

    def opened(self, board: Board) -> None:
        """Pass on, and wait for something to publish."""
        self._shown.opened(board)
        self._next = self._clock() + MINIMUM

    def changed(self, board: Board) -> None:
        """Pass on, and publish if there is news and the time for it."""
        self._shown.changed(board)
        if self._news and not board.stopping and self._clock() >= self._next:
            self._try(board)

    def resumed(self, board: Board, trial: OpenTrial, epoch: int) -> None:
        """Pass on."""
        self._shown.resumed(board, trial, epoch)

    def epoch(self, board: Board, trial: OpenTrial, epoch: EpochDone) -> None:
        """Pass on."""
        self._shown.epoch(board, trial, epoch)

    def ended(self, board: Board, trial: OpenTrial, state: str) -> None:
        """Pass on; this is news."""
        self._shown.ended(board, trial, state)
        self._news = True

    def warned(self, text: str) -> None:
        """Pass on."""
        self._shown.warned(text)

    def closing(self, board: Board) -> None:
        """Publish how it ended, and pass on."""
        self._try(board)
        self._shown.closing(board)

    def _try(self, board: Board) -> None:
        began = self._clock()
        try:
            self._publish(board.study)
        except Exception as error:  # noqa: BLE001  # a bug in a finding must not end a night's run
            text = f"the dashboard's note and pictures are not up to date: {error}"
            if text not in self._said:
                self._said.add(text)
                self._shown.warned(text)
        ended = self._clock()
        self._news = False
        self._next = ended + max(MINIMUM, (ended - began) / SHARE)
