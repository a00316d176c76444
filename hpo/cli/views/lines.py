"""A run in progress as plain lines, one per event: for logs and pipes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hpo.cli.streams import visible
from hpo.cli.views.words import finishing, opening, parameters, totals
from hpo.runner.board import Watcher

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.messages import Epoch
    from hpo.runner.board import Board
    from hpo.search.open_trial import OpenTrial


class PlainView(Watcher):
    """One line per event, for logs and pipes.

    Args:
        console: Where to print.
        verbose: One line per epoch, not only each trial.
    """

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._console, self._verbose = console, verbose
        self._prepared: set[str] = set()
        self._said_stopping = False
        self._held: tuple[int, float, str] | None = None  # trial, time, line "waits …": it may continue immediately

    def _say(self, text: str) -> None:
        self._release(0.0)
        self._print(text)

    def _release(self, seconds: float) -> None:
        """Print the held-back line once so many seconds have passed."""
        if self._held and time.monotonic() - self._held[1] >= seconds:
            text, self._held = self._held[2], None
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')}  {visible(text)}", soft_wrap=True)

    def preparing(self, what: str, done: int, total: int) -> None:  # noqa: ARG002  # lines need no bar
        """Print each step once; several workers may report different steps in turn."""
        if what not in self._prepared:
            self._prepared.add(what)
            self._say(f"{what} …")

    def opened(self, board: Board) -> None:
        """Print the first line of the run."""
        self._say(opening(board))

    def changed(self, board: Board) -> None:
        """Print once that the run is ending."""
        self._release(1.0)
        if board.stopping and not self._said_stopping:
            self._said_stopping = True
            self._say(f"{finishing(board)}; nothing is lost")

    def resumed(self, board: Board, trial: OpenTrial, epoch: int) -> None:
        """Print where a trial continues."""
        self._say(f"trial {trial.number} continues after epoch {epoch}/{board.epochs}")

    def epoch(self, board: Board, trial: OpenTrial, epoch: Epoch) -> None:
        """Print the result of an epoch."""
        if self._verbose or epoch.seconds > 20:
            speed = f", {epoch.images_per_second:,.0f} images/s" if epoch.images_per_second else ""
            self._say(f"trial {trial.number} epoch {epoch.number}/{board.epochs}: {board.score.shown(epoch.score)}{speed}")

    def waits(self, board: Board, trial: OpenTrial) -> None:
        """Print after which epoch a trial waits, unless it continues immediately."""
        self._release(0.0)
        self._held = trial.number, time.monotonic(), _line(board, trial, f"waits after epoch {trial.epoch}")

    def ended(self, board: Board, trial: OpenTrial, state: str) -> None:
        """Print how a trial ended."""
        if self._held and self._held[0] == trial.number:
            self._held = None
        self._say(_line(board, trial, state))

    def closing(self, board: Board) -> None:  # noqa: ARG002  # the end is told by `result`
        """Print the line that is held back."""
        self._release(0.0)

    def warned(self, text: str) -> None:
        """Print a warning."""
        self._say(f"warning: {text}")

    def noted(self, text: str) -> None:
        """Print a note if `verbose`."""
        if self._verbose:
            self._say(text)


def _line(board: Board, trial: OpenTrial, what: str) -> str:
    value = f" {board.score.shown(trial.score)}" if trial.scores and what != "fail" else ""
    reason = f" ({trial.attributes['reason']})" if "reason" in trial.attributes else ""
    return f"trial {trial.number} {what}{value}  {parameters(trial.params)}{reason}  [{totals(board)}]"
