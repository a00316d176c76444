"""The page that explains a study: findings first, then figures, the winner, all trials, and how to reproduce the study."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo.report import document
from hpo.report.exported import read_exported
from hpo.report.figures import finalists, history, parameters, timeline, trade
from hpo.report.figures.figure import WORDS, Figure
from hpo.report.findings import find
from hpo.report.network import of_winner
from hpo.report.summary import summarize
from hpo.report.winner import describe
from hpo.report.words import NOTHING, clipped, duration, flat, parameter, score, space_rows
from hpo.store.schema import MEASURED

if TYPE_CHECKING:
    from hpo.report.summary import Summary
    from hpo.store.reading.record import StudyRecord

SEARCH = (
    finalists.means,
    finalists.ablation,
    history.history,
    history.curves,
    history.early_scores,
    trade.size,
    trade.time,
    history.distribution,
    timeline.timeline,
)
SPACE = (parameters.importance, parameters.map_of_two, parameters.parallel)  # without the slices
_MEASURED = {**MEASURED, "worker": ("worker", 0)}
_PLACE = re.compile(r",? (in|from) ([A-Za-z]:)?[\\/~].*", re.DOTALL)


def write_report(record: StudyRecord, out: Path, *, title: str | None = None, with_network: bool = False) -> Path:
    """Write the page about a study to `out`.

    Args:
        record: The study.
        out: The HTML file; its folder is created if missing, but not that folder's parent.
        title: Heading; None for the study's name.
        with_network: Put the winner's network into the page, where it classifies pictures.

    Raises:
        StorageError: `out` cannot be written.
        NoResultError, UsageError, DataError: There is no network that a page can hold; says why.
    """
    network = of_winner(record) if with_network else None
    return document.write(out, page(summarize(record), title=title, artifacts=record.winner_folder, network=network))


def page(
    summary: Summary, *, title: str | None = None, artifacts: Path | None = None, network: dict[str, Any] | None = None
) -> str:
    """Return the page about a study as HTML, with a network if it shall classify pictures."""
    search, space, slice_ = drawn(summary, SEARCH), drawn(summary, SPACE), parameters.slices(summary)
    winner = None if summary.repeats else describe(summary, artifacts)
    everything = search + space + slice_ + (winner["figures"] if winner else [])
    return document.render(
        "page.html.j2",
        everything,
        trial_table(summary),
        network=network,
        bits=network["bits"] if network else 0,
        title=title or f"Study {summary.name}",
        lead=_lead(summary),
        tiles=_tiles(summary),
        findings=find(summary),
        search=search,
        space_figures=space,
        slices=slice_,
        n_parameters=len(parameters.varied(summary)),
        deciding=bool(summary.deciding),
        winner=winner,
        exported=read_exported(artifacts) if winner else None,
        command=summary.command,
        about={
            "Settings": {**_named(summary), **_without_folder(flat(summary.settings))},
            "Environment": _without_place(flat(summary.environment)),
        },
        space_name=str(summary.space.get("name", "")),
        space_rows=space_rows(summary),
        has_default=not summary.by_run and bool(summary.space),
        described=summary.objective.described if summary.ours else {},
    )


def drawn(summary: Summary, figures: Iterable[Callable[[Summary], Figure | None]]) -> list[Figure]:
    """Return those of the figures that there is something to show of."""
    return [figure for draw in figures if (figure := draw(summary)) is not None]


def trial_table(summary: Summary) -> dict[str, Any]:
    """Return all trials as columns and rows for JSON, and the names of columns that the page shows as per cent."""
    trials = summary.trials
    taken = {"reason", *(heading for heading, _ in _MEASURED.values())}
    columns: dict[str, list[Any]] = {
        "trial": [int(number) for number in trials.index],
        "state": [WORDS[state] for state in trials["state"]],
        "value": [_cell(value) for value in trials["value"]],
        "epochs": trials["epochs"].tolist(),
    }
    for name in summary.params:
        column = f"{name} (parameter)" if name in taken.union(columns) else str(name)
        columns[column] = [_cell(value) for value in summary.params[name]]
    for name, (heading, digits) in _MEASURED.items():
        if trials[name].notna().any():
            columns[heading] = [_cell(value, digits) for value in trials[name]]
    if trials["reason"].notna().any():
        columns["reason"] = [value and clipped(value, 1000) for value in trials["reason"]]
    return {
        "name": _file_name(summary.name),
        "columns": list(columns),
        "shares": ["value"] if summary.is_share else [],
        "rows": list(zip(*columns.values(), strict=True)),
    }


def _cell(value: object, digits: int | None = None) -> str | float | None:
    """Return a value for JSON; None if it is missing or not finite."""
    if value is None or isinstance(value, str | bool):
        return value
    if not isinstance(value, int | float):
        return parameter(value)
    if not np.isfinite(value):
        return None
    number = float(value) if digits is None else round(float(value), digits)
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _file_name(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)[:80].lstrip(".") or "study"


def _lead(summary: Summary) -> list[str]:
    what = [*_named(summary).values()] if summary.objective.is_network else []
    what += [_folder_name(summary.settings[key]) for key in ("dataset", "data") if summary.settings.get(key)]
    scored = {"validation": " on the held-out validation images", "test": " on the test set"}
    goal = summary.objective.score.name + scored.get(str(summary.settings.get("score", "")), "")
    what += [goal] if summary.ours else []
    what += [] if summary.ours and summary.maximize else ["more is better" if summary.maximize else "less is better"]
    what.append(", ".join(f"{n:,} {WORDS[state]}" for state, n in summary.counts.items() if n) or "no trials yet")
    start = summary.trials["start"].min()
    if not pd.isna(start):
        what.append(f"started {start:%Y-%m-%d %H:%M} UTC")
    return what


def _tiles(summary: Summary) -> dict[str, str]:
    tiles = {} if summary.repeats else {"best": NOTHING if summary.best is None else score(summary.best_value, summary)}
    if (found := summary.finalists) and found.winner and found.winner.mean:
        tiles["winner, mean over seeds"] = score(found.winner.mean.mean, summary)
    if summary.default_value is not None and not summary.repeats:
        tiles["default (trial 0)"] = score(summary.default_value, summary)
    tiles["trials"] = f"{len(summary.trials):,}"
    if np.isfinite(summary.lasted):
        tiles["elapsed"] = duration(summary.lasted)
    trained = float(summary.trials["seconds"].sum())
    if trained:
        tiles["training, summed"] = duration(trained)
    epochs = int(summary.trials["epochs"].sum())
    if summary.ours and epochs:
        tiles["epochs"] = f"{epochs:,}"
    return tiles


def _folder_name(path: object) -> str:
    """Return the last part of a path, from whatever system."""
    return re.split(r"[\\/]", str(path))[-1]


def _named(summary: Summary) -> dict[str, str]:
    """Return what is trained, where it is not the built-in network."""
    return {summary.objective.kind: clipped(summary.objective.name)} if summary.objective.kind else {}


def _without_folder(settings: dict[str, str]) -> dict[str, str]:
    return settings | {"data": _folder_name(settings["data"])} if "data" in settings else settings


def _without_place(environment: dict[str, str]) -> dict[str, str]:
    """Remove the path of the data, since pages are passed on; the digest identifies the data."""
    short = {key: clipped(value, 1000) for key, value in environment.items()}  # hundreds of classes have hundreds of names
    return short | {"data": _PLACE.sub(".", environment["data"])} if "data" in environment else short
