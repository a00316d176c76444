"""What a person sees: the live table of a run, plain lines where there is no terminal, and tables of what is stored.

Data goes to standard output, progress to standard error. Texts from studies (names, reasons, parameters) are shown as they are:
none of them is markup.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.search.board import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from hpo.messages import EpochDone
    from hpo.search.board import Board
    from hpo.search.doctor import Finding
    from hpo.search.record import StudyRecord
    from hpo.search.study import OpenTrial

LONG = 12  # characters: longer cells may wrap
STYLES = {"complete": "green", "pruned": "yellow", "fail": "red", "running": "cyan"}


def out() -> Console:
    """Return the console for data."""
    return Console(highlight=False, markup=False, soft_wrap=False)


def err() -> Console:
    """Return the console for progress and errors."""
    return Console(stderr=True, highlight=False, markup=False)


@contextlib.contextmanager
def watching(*, quiet: bool, verbose: bool) -> Iterator[Watcher]:
    """Show a run in the way that suits where we are: a live table on a terminal, else plain lines, or nothing."""
    console = err()
    if quiet:
        yield Watcher()
    elif console.is_terminal and not console.is_dumb_terminal:
        view = LiveView(console)
        with Live(console=console, get_renderable=view.draw, refresh_per_second=4, transient=True):
            yield view
    else:
        yield PlainView(console, verbose=verbose)


# -- a run -------------------------------------------------------------------------------------------------------------


class PlainView(Watcher):
    """A line an event, for logs and pipes.

    Args:
        console: Where to.
        verbose: A line each epoch, not only each trial.
    """

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._console, self._verbose = console, verbose
        self._prepared = ""
        self._said_stopping = False

    def _say(self, text: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')}  {text}", soft_wrap=True)

    def preparing(self, what: str, done: int, total: int) -> None:  # noqa: ARG002  # lines need no bar
        """Say each step once."""
        if what != self._prepared:
            self._prepared = what
            self._say(f"{what} …")

    def opened(self, board: Board) -> None:
        """Say what is going to happen."""
        self._say(opening(board))

    def changed(self, board: Board) -> None:
        """Say once that the run is ending."""
        if board.stopping and not self._said_stopping:
            self._said_stopping = True
            self._say(f"{board.stopping}: workers finish their epoch; nothing is lost")

    def resumed(self, board: Board, trial: OpenTrial, epoch: int) -> None:
        """Say where a trial goes on."""
        self._say(f"trial {trial.number} goes on after epoch {epoch}/{board.epochs}")

    def epoch(self, board: Board, trial: OpenTrial, epoch: EpochDone) -> None:
        """Say how an epoch went."""
        if self._verbose or epoch.seconds > 20:
            speed = f"{epoch.images_per_second:,.0f} images/s"
            self._say(f"trial {trial.number} epoch {epoch.epoch}/{board.epochs}: {epoch.accuracy:.2%}, {speed}")

    def ended(self, board: Board, trial: OpenTrial, state: str) -> None:
        """Say how a trial ended."""
        value = f" {trial.accuracies[max(trial.accuracies)]:.2%}" if trial.accuracies and state != "fail" else ""
        reason = f" ({trial.attributes['reason']})" if "reason" in trial.attributes else ""
        self._say(f"trial {trial.number} {state}{value}  {parameters(trial.params)}{reason}  [{totals(board)}]")

    def warned(self, text: str) -> None:
        """Say it."""
        self._say(f"warning: {text}")


class LiveView(Watcher):
    """A table that redraws itself: a line a worker, totals, the best so far, time spent and left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._board: Board | None = None
        self._step = ("starting workers", 0, 0)

    def draw(self) -> RenderableType:
        """Return what to show now; called by rich's thread, four times a second."""
        if self._board is not None:
            return draw(self._board)
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
        """Leave a line for a failure and for a new best."""
        if state == "fail":
            self._console.print(Text(f"trial {trial.number} failed: {trial.attributes.get('reason', '')}", style=STYLES["fail"]))
        elif board.best and board.best[0] == trial.number:
            self._console.print(Text(f"trial {trial.number} is the best so far: {board.best[1]:.2%}  {parameters(trial.params)}"))

    def warned(self, text: str) -> None:
        """Leave a line."""
        self._console.print(Text(f"warning: {text}", style="yellow"))


def opening(board: Board) -> str:
    """Return the sentence that a run begins with."""
    goal = f"{board.n_finished} of {board.total} trials finished" if board.n_finished else f"{board.total} trials"
    workers = f"{len(board.rows)} worker{'s' if len(board.rows) != 1 else ''}"
    return f"study {board.study}: {goal}, {board.epochs} epochs each at most, {workers}"


def draw(board: Board) -> RenderableType:
    """Return the live table of a board."""
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=False)
    for heading in ("worker", "trial", "parameters", "epoch", "", "accuracy", "images/s"):
        table.add_column(
            heading, justify="right" if heading in ("accuracy", "images/s") else "left", no_wrap=heading != "parameters"
        )
    for index, row in enumerate(board.rows):
        if row.trial is None:
            table.add_row(str(index), "", Text("waiting" if not board.stopping else "done", style="dim"))
            continue
        done = min(board.epochs, row.epoch + row.fraction)
        table.add_row(
            str(index),
            str(row.trial.number),
            parameters(row.trial.params),
            f"{min(board.epochs, row.epoch + 1)}/{board.epochs}",
            ProgressBar(total=board.epochs, completed=done, width=12),
            f"{row.accuracy:.2%}" if row.accuracy is not None else "",
            f"{row.images_per_second:,.0f}" if row.images_per_second else "",
        )
    lines: list[RenderableType] = [
        table,
        Text(f" {totals(board)}"),
        Text(f" {standing(board)}"),
        Text(f" {clock(board)}", style="dim"),
    ]
    if board.stopping:
        lines.append(Text(f" {board.stopping}: workers finish their epoch. Ctrl-C again ends at once.", style="yellow"))
    return Group(*lines)


def totals(board: Board) -> str:
    """Return `12 of 50 finished: 5 complete, 7 pruned, 1 failed, 2 running`."""
    words = {"complete": "complete", "pruned": "pruned", "fail": "failed", "running": "running"}
    counted = ", ".join(f"{board.counts[state]} {word}" for state, word in words.items() if board.counts[state])
    return f"{board.n_finished} of {board.total} finished" + (f": {counted}" if counted else "")


def standing(board: Board) -> str:
    """Return the best so far and by how much it beats trial 0."""
    if board.best is None:
        return "no trial complete yet"
    number, accuracy = board.best
    if number == 0 or board.baseline is None:
        gain = " (the default point)" if number == 0 else ""
    else:
        gain = f", {100 * (accuracy - board.baseline):+.2f} points against trial 0, the default point"
    return f"best {accuracy:.2%}, trial {number}{gain}"


def clock(board: Board) -> str:
    """Return time spent, and an estimate of the time left."""
    left = f"about {span(board.left)} left" if board.left is not None else "time left: known after three trials"
    return f"{span(board.spent)} spent, {left}"


def span(seconds: float) -> str:
    """Return `42 s`, `7 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def parameters(params: Mapping[str, Any]) -> str:
    """Return `depth 3  filters 48  lr 0.21`."""
    return "  ".join(f"{name} {plain(value)}" for name, value in params.items())


def plain(value: object) -> str:
    """Return a value as short as a person would write it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def result(record: StudyRecord, reason: str, *, quiet: bool, storage: str | None, page: Path | None) -> None:
    """Print how a run ended: the best trial, and the commands that go on from here.

    With `quiet` only the best trial's line. Data (the table) goes to standard output, the rest to standard error.
    """
    complete = record.counts["complete"] > 0
    if quiet:
        print(f"{record.name}\t{record.best.number}\t{record.best.value:.4f}" if complete else f"{record.name}\t\t")
        return
    console = err()
    words = {"fail": "failed", "running": "to be continued"}
    counted = ", ".join(f"{n} {words.get(state, state)}" for state, n in sorted(record.counts.items()))
    console.print(f"study {record.name}: ended ({reason}); {counted or 'no trials'}.", soft_wrap=True)
    if complete:
        best(record)
    database = f" --storage {record.location}" if storage else ""
    if page:
        console.print(f"  {'page:':8} {page}", soft_wrap=True)
    for what, command in (
        ("go on", f"hpo resume {record.name}{database}" + (" --trials N" if reason == "total" else "")),
        ("look", f"hpo dashboard{database}"),
        ("report", f"hpo report {record.name}{database}"),
    ):
        console.print(f"  {what + ':':8} {command}", soft_wrap=True)


def best(record: StudyRecord) -> None:
    """Print the best trial beside trial 0 as a table."""
    trial, first = record.best, record.trials[0]
    settings = record.settings
    scored = f" on {record.attributes.get('environment', {}).get('n_scored', '?'):,} {settings.score} images" if settings else ""
    out().print(f"best: trial {trial.number}, {trial.value:.2%}{scored}")
    table = Table(box=None, padding=(0, 2))
    table.add_column("", style="dim")
    table.add_column(f"trial {trial.number}", justify="right")
    if first.number != trial.number:
        table.add_column("trial 0 (default)", justify="right")
    rows = [("accuracy", *(f"{t.value:.2%}" if t.value is not None else "" for t in (trial, first)))]
    rows += [(name, plain(value), plain(first.params.get(name, ""))) for name, value in trial.params.items()]
    rows += [(key, *(_measured(t.user_attrs.get(key)) for t in (trial, first))) for key in ("n_parameters", "macs", "seconds")]
    for row in rows:
        table.add_row(*row[: len(table.columns)])
    out().print(table)
    if settings and settings.score == "test" and record.n_finished > 1:
        err().print(
            "The winner was picked on the test set, so its accuracy is optimistic; --score validation keeps the test set unread.",
            style="dim",
        )


def _measured(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else ""


# -- what is stored ----------------------------------------------------------------------------------------------------


def show_rows(rows: Sequence[Mapping[str, Any]], form: str, *, empty: str) -> None:
    """Print rows as a table, JSON or CSV; JSON and CSV have all columns and full precision."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if form == "json":
        print(json.dumps(rows, indent=2, default=str))
    elif form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
        print(text.getvalue(), end="")
    elif not rows:
        err().print(empty)
    else:
        table = Table(box=None, padding=(0, 1), header_style="dim")
        shown = [c for c in columns if any(row.get(c) is not None for row in rows)]
        for column in shown:
            numeric = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
            width = max(len(cell(column, row.get(column))) for row in rows)
            heading = column.replace("_", " ")
            table.add_column(heading, justify="right" if numeric else "left", min_width=min(width, LONG), overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell(column, row.get(column)), style=STYLES.get(str(row.get(column)), "")) for column in shown))
        out().print(table)


def cell(column: str, value: object) -> str:
    """Return a value of a column for a person: accuracies in per cent, counts with thousands."""
    if value is None:
        return ""
    if isinstance(value, float) and column in ("accuracy", "best", "default"):
        return f"{value:.2%}"
    if isinstance(value, int) and not isinstance(value, bool) and column in ("n_parameters", "macs"):
        return f"{value:,}"
    if isinstance(value, float) and column in ("seconds", "images_per_second"):
        return f"{value:,.0f}"
    return plain(value)


def _harmless(value: object) -> object:
    """Keep a spreadsheet from running a cell that begins like a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def study_row(record: StudyRecord) -> dict[str, Any]:
    """Return a study as a row for `list`."""
    settings, counts = record.settings, record.counts
    return {
        "study": record.name,
        "dataset": settings.dataset if settings else None,
        "finished": record.n_finished,
        **{state: counts[state] for state in ("complete", "pruned", "fail", "running")},
        "best": record.best.value if counts["complete"] else None,
        "default": record.trials[0].value if record.trials and record.trials[0].state.name == "COMPLETE" else None,
    }


def trial_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table has room for of a trial's row; the reason only where it failed."""
    hidden = ("number", "started", "ended", "n_parameters", "macs", "images_per_second", "reason")
    short = {key: value for key, value in row.items() if key not in hidden}
    return {"trial": row["number"]} | short | {"reason": row["reason"] if row["state"] == "fail" else None}


def show_study(record: StudyRecord, form: str) -> None:
    """Print one study: settings, counts, best trial."""
    row = study_row(record)
    stopped = record.attributes.get("stopped")
    if form != "table":
        details = {key: record.attributes.get(key) for key in ("settings", "space", "environment", "command", "stopped")}
        winner = record.row(record.best) if record.counts["complete"] else None
        show_rows([row | details | {"winner": winner}], form, empty="")
        return
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for key, value in row.items():
        table.add_row(key, cell(key, value))
    settings = record.settings
    for key, value in (settings.model_dump() if settings else {}).items():
        if value is not None and key != "dataset":
            table.add_row(key, plain(value))
    if record.space:
        table.add_row("space", f"{record.space.name}: {', '.join(record.space.varied)}")
    for key in ("command",):
        table.add_row(key, Text(str(record.attributes.get(key, ""))))
    if isinstance(stopped, dict):
        table.add_row("ended", Text(f"{stopped.get('reason')} at {stopped.get('at')}"))
    out().print(table)
    if record.counts["complete"]:
        best(record)


def show_data(data: Any) -> None:  # noqa: ANN401  # hpo.training is imported by the command that needs it
    """Print what a data set holds: sizes, classes, digest."""
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("data set", data.name)
    table.add_row("from", Text(data.source))
    for name, split in (("training", data.train), ("test", data.test)):
        table.add_row(name, f"{len(split.labels):,} images of {split.images.shape[1]}x{split.images.shape[2]}")
    table.add_row("classes", Text(", ".join(data.classes)))
    table.add_row("digest", data.digest)
    out().print(table)


def show_space(space: Any) -> None:  # noqa: ANN401  # hpo.space is imported by the command that needs it
    """Print a search space as a table."""
    from hpo.space import Choices, Config, Fixed

    table = Table(box=None, padding=(0, 1), header_style="dim")
    for heading in ("parameter", "values", "default", "what it is"):
        table.add_column(heading, overflow="fold")
    for name, parameter in space.parameters.items():
        described = Config.model_fields[name].description or ""
        if isinstance(parameter, Fixed):
            table.add_row(
                Text(name, style="dim"),
                Text("fixed", style="dim"),
                Text(plain(parameter.value), style="dim"),
                Text(described, style="dim"),
            )
            continue
        if isinstance(parameter, Choices):
            values = ", ".join(plain(choice) for choice in parameter.choices)
        else:
            how = " (log)" if parameter.log else f" (step {plain(parameter.step)})" if parameter.step else ""
            values = f"{plain(parameter.low)} to {plain(parameter.high)}{how}"
        table.add_row(name, values, plain(parameter.default), described)
    out().print(table)


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print what the doctor found, and the command that mends it."""
    if as_json:
        print(json.dumps([{key: getattr(f, key) for key in ("check", "state", "found", "mend")} for f in findings], indent=2))
        return
    marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "bad": ("bad", "red")}
    table = Table(box=None, padding=(0, 1), show_header=False)
    for finding in findings:
        text = Text(finding.found)
        if finding.mend:
            text.append(f"\n→ {finding.mend}", style="bold")
        table.add_row(Text(*marks[finding.state]), Text(finding.check, style="dim"), text)
    out().print(table)


def complain(message: str) -> None:
    """Print an error: one or two lines."""
    print(f"error: {message}", file=sys.stderr)
