"""Signals that end a run: the first lets workers finish their epoch, the second ends it at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from hpo.errors import HUNG_UP, INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from hpo.runner.board import Board


class Stoppable(Protocol):
    """What a signal stops."""

    board: Board

    def stop(self, reason: str) -> None:
        """Begin no epoch any more."""


_REASONS = {  # why a run ends and with which code, by signal
    "SIGINT": ("interrupted", INTERRUPTED),
    "SIGTERM": ("terminated", TERMINATED),
    "SIGHUP": ("hung up", HUNG_UP),
    "SIGUSR1": ("terminated", TERMINATED),
}
CODES = dict(_REASONS.values())  # exit codes, by the reason of a run's end


@contextlib.contextmanager
def stopping_by_signals() -> Iterator[list[Stoppable]]:
    """Let SIGINT, SIGTERM, SIGHUP and SIGUSR1 stop the runner at the end of the workers' epochs; the second one at once.

    SIGUSR1, which batch systems send some time before they kill (Slurm's --signal), is taken as SIGTERM is. What this process
    was told to ignore (by `nohup`, or a shell that put it in the background) stays ignored, and a SIGUSR1 that a program has
    taken for itself stays its own.

    Yields an empty list; append the runner. Before that, and once the run is stopping, a signal ends the process immediately.
    """
    runners: list[Stoppable] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        reason, code = _REASONS[signal.Signals(number).name]
        if not runners or runners[0].board.stopping:
            raise KeyboardInterrupt if code == INTERRUPTED else SystemExit(code)
        runners[0].stop(reason)

    try:
        before = {number: signal.signal(number, handle) for number in _free_signals()}
    except ValueError:  # not the main thread: whoever called from there looks after signals
        before = {}
    try:
        yield runners
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_signals() -> list[int]:
    """Return the numbers of the signals that this process may take."""
    there = {name: getattr(signal, name) for name in _REASONS if hasattr(signal, name)}  # Windows has neither SIGHUP nor SIGUSR1
    return [
        number
        for name, number in there.items()
        if (signal.getsignal(number) == signal.SIG_DFL if name == "SIGUSR1" else signal.getsignal(number) != signal.SIG_IGN)
    ]
