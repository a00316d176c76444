"""A run in progress as a table that redraws itself: one line per worker, totals, best so far, time spent and time left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.cli.rows import STYLES
from hpo.cli.streams import visible
from hpo.cli.views.words import MOST, clock, finishing, opening, parameters, standing, totals
from hpo.runner.board import Watcher

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from hpo.runner.board import Board
    from hpo.search.open_trial import OpenTrial


class LiveView(Watcher):
    """The table, and above it a line for each failure, each new best and each warning."""

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._console, self._verbose = console, verbose
        self._board: Board | None = None
        self._step = ("starting", 0, 0)

    def draw(self) -> RenderableType:
        """Return what to show now; called by rich's thread, four times a second."""
        if self._board is not None:
            return draw(self._board, self._console.width)
        what, done, total = self._step
        text = Text(f"{what} …", style="dim")
        return Columns([text, ProgressBar(total=total, completed=done, width=30), f"{done / total:.0%}"]) if total else text

    def preparing(self, what: str, done: int, total: int) -> None:
        """Show a step of the set-up."""
        self._step = (what, done, total)

    def opened(self, board: Board) -> None:
        """Show the board from now on."""
        self._board = board
        self._console.print(Text(opening(board), style="dim"))

    def ended(self, board: Board, trial: OpenTrial, state: str) -> None:
        """Print a line for a failure and for a new best."""
        if state == "fail":
            reason = visible(str(trial.attributes.get("reason", "")))
            self._console.print(Text(f"trial {trial.number} failed: {reason}", style=STYLES["fail"]))
        elif board.best and board.best[0] == trial.number:
            best = board.score.shown(board.best[1])
            self._console.print(Text(f"trial {trial.number} is the best so far: {best}  {parameters(trial.params)}"))

    def warned(self, text: str) -> None:
        """Print a warning above the table."""
        self._console.print(Text(f"warning: {visible(text)}", style="yellow"))

    def noted(self, text: str) -> None:
        """Print a note above the table if `verbose`."""
        if self._verbose:
            self._console.print(Text(visible(text), style="dim"))


def draw(board: Board, width: int = 120) -> RenderableType:
    """Return the live table of a board for a terminal of `width` columns."""
    bar, most = (12, MOST) if width >= 100 else (6, 4)
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=False)
    for heading in ("worker", "trial", "parameters", "epoch", "", board.score.name, "images/s"):
        table.add_column(
            heading, justify="right" if heading in (board.score.name, "images/s") else "left", no_wrap=heading != "parameters"
        )
    for index, row in enumerate(board.rows):
        if row.trial is None:
            table.add_row(str(index), "", Text("waiting" if not board.stopping else "done", style="dim"))
            continue
        done = min(board.epochs, row.epoch + row.fraction)
        table.add_row(
            str(index),
            str(row.trial.number),
            parameters(row.trial.params, most),
            f"{min(board.epochs, row.epoch + 1)}/{board.epochs}",
            ProgressBar(total=board.epochs, completed=done, width=bar),
            board.score.shown(row.score) if row.score is not None else "",
            f"{row.images_per_second:,.0f}" if row.images_per_second else "",
        )
    lines: list[RenderableType] = [
        table,
        Text(f" {totals(board)}"),
        Text(f" {standing(board)}"),
        Text(f" {clock(board)}", style="dim"),
    ]
    if board.stopping:
        lines.append(Text(f" {finishing(board)}. Press Ctrl-C again to stop immediately.", style="yellow"))
    return Group(*lines)
