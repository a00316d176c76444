"""A run in progress: a table that redraws itself on a terminal, else plain lines for logs and pipes; and what both say of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.columns import Columns
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.cli.rows import STYLES, plain
from hpo.cli.streams import err, visible
from hpo.runner.board import Watcher

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from hpo.messages import Epoch
    from hpo.runner.board import Board
    from hpo.search.open_trial import OpenTrial

MAX_SHOWN = 6  # parameters that a line has room for


@contextlib.contextmanager
def watching(*, quiet: bool, verbose: bool) -> Iterator[Watcher]:
    """Show a run: as a live table on a terminal, else as plain lines; if `quiet`, not at all."""
    console = err()
    if quiet:
        yield Watcher()
    elif console.is_terminal and not console.is_dumb_terminal:
        view = LiveView(console, verbose=verbose)
        with Live(console=console, get_renderable=view.draw, refresh_per_second=4, transient=True):
            yield view
    else:
        yield PlainView(console, verbose=verbose)


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
        for line in (opening(board), *board.told):
            self._console.print(Text(visible(line), style="dim"))

    def ended(self, board: Board, trial: OpenTrial, state: str) -> None:
        """Print a line for a failure and for a new best."""
        if state == "fail":
            reason = visible(str(trial.attributes.get("reason", "")))
            self._console.print(Text(f"trial {trial.number} failed: {reason}", style=STYLES["fail"]))
        elif board.best and not board.repeats and board.best[0] == trial.number:
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
    bar, most = (12, MAX_SHOWN) if width >= 100 else (6, 4)
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=False)
    for heading in ("worker", "trial", "parameters", "epoch" if board.epochs else "step", "", board.score.name, "images/s"):
        table.add_column(
            heading, justify="right" if heading in (board.score.name, "images/s") else "left", no_wrap=heading != "parameters"
        )
    idle = (board.at_once or len(board.rows)) - sum(row.trial is not None for row in board.rows)
    for index, row in enumerate(board.rows):
        if row.trial is None:
            idle -= 1
            if idle < 0:  # a lane that is not used
                continue
            table.add_row(str(index), "", Text("waiting" if not board.stopping else "done", style="dim"))
            continue
        total = board.epochs
        table.add_row(
            str(index),
            str(row.trial.number),
            parameters(row.trial.params, most),
            f"{min(total, row.epoch + 1)}/{total}" if total else str(row.epoch or ""),
            ProgressBar(total=total, completed=min(total, row.epoch + row.fraction), width=bar) if total else "",
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
        for line in (opening(board), *board.told):
            self._say(line)

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
            where = f"epoch {epoch.number}/{board.epochs}" if board.epochs else f"step {epoch.number}"
            self._say(f"trial {trial.number} {where}: {board.score.shown(epoch.score)}{speed}")

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


def opening(board: Board) -> str:
    """Return the first line of a run."""
    goal = f"{board.n_finished} of {board.total} trials finished" if board.n_finished else f"{board.total} trials"
    workers = board.where or f"{len(board.rows)} worker{'s' if len(board.rows) != 1 else ''}"
    how = f"{board.epochs} epochs each at most" if board.epochs else "an Optuna objective: stopped early, never paused"
    return f"study {board.study}: {goal}, {how}, {workers}"


def finishing(board: Board) -> str:
    """Return `terminated: workers finish their epoch, about 40 s`, or with the grace that they have for it."""
    left = board.left_of_epochs
    about = "" if left is None else f", about {span(left)}"
    if board.grace is None or (left is not None and left <= board.grace):
        return f"{board.stopping}: workers finish their epoch{about}"
    return f"{board.stopping}: workers have {span(board.grace)} to finish their epoch{about and f', which takes{about[1:]}'}"


def totals(board: Board) -> str:
    """Return `12 of 50 finished: 5 complete, 7 pruned, 1 failed, 2 running`."""
    words = {"complete": "complete", "pruned": "pruned", "fail": "failed", "waiting": "waiting", "running": "running"}
    counted = ", ".join(f"{board.counts[state]} {word}" for state, word in words.items() if board.counts[state])
    return f"{board.n_finished} of {board.total} finished" + (f": {counted}" if counted else "")


def standing(board: Board) -> str:
    """Return the best score so far, and its gain over the points that the space names."""
    if board.repeats:
        return "each point is trained with each seed; what that proves is said at the end"
    if board.best is None:
        return "no trial complete yet"
    number, best = board.best
    told = f"best {board.score.shown(best)}, trial {number}"
    if number in board.named:
        told += " (a starting point of the space)" if number else " (the default point)"
    gains = [
        f"{board.score.gained(best - board.named[rival])} over trial {rival}, {name}"
        for rival, name in _rivals(board, number).items()
    ]
    return ", ".join([told, *([", and ".join(gains)] if gains else [])])


def _rivals(board: Board, number: int) -> dict[int, str]:
    """Return the trials that the best one is compared with: of the default point, and of the best that the space names."""
    rivals = {0: "the default point"} if number and 0 in board.named else {}
    if board.named and number not in board.named:
        best = min(board.named, key=lambda rival: (board.score.penalty(board.named[rival]), rival))
        rivals.setdefault(best, "the best starting point of the space")
    return rivals


def clock(board: Board) -> str:
    """Return the time spent and an estimate of the time left."""
    left = f"about {span(board.left)} left" if board.left is not None else "time left: known after three trials"
    return f"{span(board.spent)} spent, {left}"


def span(seconds: float) -> str:
    """Return `42 s`, `7 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def parameters(params: Mapping[str, Any], most: int = MAX_SHOWN) -> str:
    """Return `depth 3  filters 48  lr 0.21`; only the first `most` of them."""
    shown = [f"{name} {plain(value)}" for name, value in list(params.items())[:most]]
    more = len(params) - len(shown)
    return "  ".join([*shown, *([f"… {more} more"] if more else [])])
