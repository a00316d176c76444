"""Rows of values as a table that fits the terminal, as JSON that every parser takes, or as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from hpo.cli.streams import err, out, visible
from hpo.store.schema import MEASURED

MAX_UNWRAPPED = 12  # characters: longer cells may wrap
MAX_NAME = 24  # the same for the first column, which names what a row is about
MAX_CELL = 200  # characters of a cell
STYLES = {"complete": "green", "pruned": "yellow", "fail": "red", "running": "cyan"}


class Share(float):
    """An accuracy, or another fraction that is shown in per cent."""


def show_rows(rows: Sequence[Mapping[str, Any]], form: str, *, empty: str, kept: Iterable[str] = ()) -> None:
    """Print rows as a table, JSON or CSV; JSON and CSV have all columns and full precision.

    Args:
        rows: A missing value is None.
        form: table, json or csv.
        empty: Message if a table has no rows.
        kept: Columns that a table has at any width; the other columns appear as far as they fit.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if form == "json":
        print(to_json(rows))
    elif form == "csv":
        print(_to_csv(rows, columns), end="")
    elif not rows:
        err().print(visible(empty), soft_wrap=True)
    else:
        _show_table(rows, columns, kept)


def to_json(value: object) -> str:
    """Return JSON that every parser takes: a number that is not finite becomes null."""
    return json.dumps(_finite(value), indent=2, default=str, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return CSV: numbers at full precision (inf and nan included), missing values empty, lists and mappings as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if columns:
        writer.writerow([_csv_cell(column) for column in columns])
    writer.writerows([[_csv_cell(row.get(column)) for column in columns] for row in rows])
    return text.getvalue()


def _csv_cell(value: object) -> object:
    """Return a value; text is escaped so that no terminal obeys it and no spreadsheet runs it as a formula."""
    if isinstance(value, bool | dict | list | tuple):
        return json.dumps(_finite(value), default=str)
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value)


def _show_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], kept: Iterable[str]) -> None:
    console = out()
    filled = [column for column in columns if any(row.get(column) is not None for row in rows)]
    cells = {column: [cell(column, row.get(column)) for row in rows] for column in filled}
    least = {column: _least_width(column, cells[column], MAX_UNWRAPPED if i else MAX_NAME) for i, column in enumerate(filled)}
    shown = _fitting(least, set(kept), console.width)
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for column in shown:
        numeric = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(Text(_heading(column)), justify=justify, min_width=least[column], overflow="fold")
    for texts in zip(*(cells[column] for column in shown), strict=True):
        table.add_row(*(Text(text, style=STYLES.get(text, "")) for text in texts))
    console.print(table)
    if left_out := [_heading(column) for column in filled if column not in shown]:
        said = f"Columns that do not fit: {', '.join(left_out)}. A wider terminal shows more; --format csv shows all."
        err().print(Text(said, style="dim"))


def _heading(column: str) -> str:
    return visible(column.replace("_", " "))


def _least_width(column: str, cells: Iterable[str], whole: int) -> int:
    """Return the characters that a column needs: words of the heading stay whole, and so do cells up to a length, `whole`."""
    words = max(len(word) for word in f"{_heading(column)} ".split(" "))
    return min(whole, max(words, *map(len, cells)))


def _fitting(least: Mapping[str, int], kept: set[str], width: int) -> list[str]:
    """Return the columns that fit, in order: those to keep, then the first of the others."""
    room = width - sum(least[column] + 2 for column in least if column in kept)  # 2: one space on either side
    shown, full = [], False
    for column, needed in least.items():
        if column not in kept:
            room -= needed + 2
            full = full or room < 0
        if column in kept or not full:
            shown.append(column)
    return shown or list(least)[:1]


def cell(column: str, value: object) -> str:
    """Format a value of a column: accuracies in per cent, counts with thousands separators."""
    if value is None:
        return ""
    text = (counted(value) if column in MEASURED else "") or plain(value)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def counted(value: object) -> str:
    """Format a number as a count, with thousands separators; empty for anything else."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else ""


def plain(value: object) -> str:
    """Format a value as briefly as a person would write it."""
    if isinstance(value, Share):
        return f"{value:.2%}"
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))
