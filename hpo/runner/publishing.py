"""Keeps a running study's place in the dashboard current: at most once a minute, and at the end.

During the run a separate process publishes, so the runner neither waits for it nor keeps its memory. The caller decides what is
published and where: this module knows nothing of reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hpo.runner.board import Watcher

if TYPE_CHECKING:
    from concurrent.futures import Future

    from hpo.runner.board import Board
    from hpo.search.open_trial import OpenTrial

MINIMUM = 60.0  # seconds between the end of one publication and the beginning of the next
SHARE = 0.02  # of the run in which another process publishes


class Publishing(Watcher):
    """Publishes a run.

    A publication that goes wrong is a warning, said once, and the next is tried as if it had gone well.

    Args:
        warn: Tells a person.
        publish: Takes the study's name; done when it returns.
        begin: The same, beside the run.
        clock: Seconds.
    """

    def __init__(
        self,
        warn: Callable[[str], object],
        publish: Callable[[str], object],
        begin: Callable[[str], Future[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warn, self._publish, self._begin, self._clock = warn, publish, begin, clock
        self._news = False  # whether a trial has ended since the last publication began
        self._began = self._next = 0.0
        self._going: Future[None] | None = None
        self._said: set[str] = set()

    def opened(self, board: Board) -> None:  # noqa: ARG002  # the same for every run
        """Wait for something to publish."""
        self._next = self._clock() + MINIMUM

    def changed(self, board: Board) -> None:
        """Begin a publication if there is news and the time for it."""
        if self._going and self._going.done():
            self._end()
        if not self._going and self._news and not board.stopping and self._clock() >= self._next:
            self._news, self._began = False, self._clock()
            self._going = self._begin(board.study)

    def ended(self, board: Board, trial: OpenTrial, state: str) -> None:  # noqa: ARG002  # whatever it was
        """This is news."""
        self._news = True

    def closing(self, board: Board) -> None:
        """Publish how it ended."""
        if self._going:
            self._end()
        try:
            self._publish(board.study)
        except Exception as error:  # noqa: BLE001  # a bug in a finding must not end a night's run
            self._failed(error)

    def _end(self) -> None:
        """Wait for the publication that goes on, and see how it went."""
        if self._going and (error := self._going.exception()):
            self._failed(error)
        self._going, ended = None, self._clock()
        self._next = ended + max(MINIMUM, (ended - self._began) / SHARE)

    def _failed(self, error: BaseException) -> None:
        text = f"the dashboard's note and figures are not up to date: {error}"
        if text not in self._said:
            self._said.add(text)
            self._warn(text)
