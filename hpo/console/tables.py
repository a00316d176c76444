"""What is stored, as tables, JSON or CSV: studies, trials, the best trial, a space, a data set, what the doctor found."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from hpo.console.streams import err, out, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hpo.search.diagnosis import Diagnosis
    from hpo.search.record import StudyRecord

LONG = 12  # characters: longer cells may wrap
STYLES = {"complete": "green", "pruned": "yellow", "fail": "red", "running": "cyan"}


def best(record: StudyRecord) -> None:
    """Print the best trial beside trial 0 as a table."""
    trial, first = record.best, record.trials[0]
    settings, environment = record.settings, record.attributes.get("environment")
    n_scored = environment.get("n_scored") if isinstance(environment, dict) else None
    scored = f" on {_measured(n_scored) or '?'} {settings.score} images" if settings else ""
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
        err().print(visible(empty), soft_wrap=True)
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
        table.add_row("space", plain(f"{record.space.name}: {', '.join(record.space.varied)}"))
    table.add_row("command", plain(record.attributes.get("command", "")))
    if isinstance(stopped, dict):
        table.add_row("ended", plain(f"{stopped.get('reason')} at {stopped.get('at')}"))
    out().print(table)
    if record.counts["complete"]:
        best(record)


def show_data(data: Any) -> None:  # noqa: ANN401  # hpo.training is imported by the command that needs it
    """Print what a data set holds: sizes, classes, digest."""
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("data set", data.name)
    table.add_row("from", plain(data.source))
    for name, split in (("training", data.train), ("test", data.test)):
        table.add_row(name, f"{len(split.labels):,} images of {split.images.shape[1]}x{split.images.shape[2]}")
    table.add_row("classes", plain(", ".join(data.classes)))
    table.add_row("digest", data.digest)
    out().print(table)


def show_space(space: Any) -> None:  # noqa: ANN401  # hpo.space is imported by the command that needs it
    """Print a search space as a table."""
    from hpo.parameters import Choices, Fixed
    from hpo.space import Config

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
    for start in space.starts:
        point = "  ".join(f"{name} {plain(value)}" for name, value in start.items())
        out().print(f" tried after the default point, and trained to the end: {point}", markup=False, highlight=False)


def show_findings(findings: Sequence[Diagnosis], *, as_json: bool) -> None:
    """Print what the doctor found, and the command that mends it."""
    if as_json:
        print(json.dumps([{key: getattr(f, key) for key in ("check", "state", "found", "mend")} for f in findings], indent=2))
        return
    marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "bad": ("bad", "red")}
    table = Table(box=None, padding=(0, 1), show_header=False)
    for _ in ("state", "check", "found"):
        table.add_column(overflow="fold")
    for finding in findings:
        text = Text(plain(finding.found))
        if finding.mend:
            text.append(f"\n→ {plain(finding.mend)}", style="bold")
        table.add_row(Text(*marks[finding.state]), Text(finding.check, style="dim"), text)
    out().print(table)


def plain(value: object) -> str:
    """Return a value as short as a person would write it."""
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))
