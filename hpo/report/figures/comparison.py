"""Best score so far of several studies, against trials and against time, with bootstrap bands.

A band is the middle 80 % over draws of the study's trials with replacement: trials that a draw leaves out are treated as
never tried, and the others keep their order (similar to Dodge et al., arXiv:1909.03004).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.report.figures.figure import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    PINK,
    SKY,
    VERMILION,
    Figure,
    axis,
    literal,
    numbers,
    value_axis,
    value_format,
)
from hpo.report.words import count, listed, score

if TYPE_CHECKING:
    from hpo.report.statistics.stats import Floats
    from hpo.report.summary import Summary

COLORS = (BLUE, AMBER, GREEN, PINK, VERMILION, SKY, GREY)
DASHES = ("solid", "dash", "dot", "dashdot")
DRAWS = 200
MIN_FOR_BAND = 5  # finished trials; with fewer, a band would mainly show draws that left them out
MAX_POINTS = 300  # of a line, beside its steps


def by_trials(named: dict[str, Summary]) -> Figure | None:
    """Draw the best score so far against the number of ended trials."""
    return _figure(named, "by-trials", "Best so far, by trials", "ended trials", time=False)


def by_time(named: dict[str, Summary]) -> Figure | None:
    """Draw the best score so far against the time since the first start."""
    return _figure(named, "by-time", "Best so far, by time", "minutes since the first start", time=True)


def _figure(named: dict[str, Summary], name: str, title: str, noun: str, *, time: bool) -> Figure | None:
    data = []
    for i, (study, summary) in enumerate(named.items()):
        if not summary.finished.empty:
            data += _traces(summary, literal(study), COLORS[i % len(COLORS)], DASHES[i // len(COLORS) % len(DASHES)], time)
    if not data:
        return None
    first = next(summary for summary in named.values() if not summary.finished.empty)
    bests = [f"{study} {score(one.best_value, one)} in {count(len(one.trials), 'trial')}" for study, one in named.items()]
    layout = {"xaxis": axis(noun, rangemode="tozero"), "yaxis": value_axis(first)}
    return Figure(name, title, f"{title}: {listed(bests)}.", data, layout, 440, _note(named))


def _note(named: dict[str, Summary]) -> str:
    """Explain the bands, and name the studies without one."""
    without = [study for study, summary in named.items() if 0 < len(summary.finished) < MIN_FOR_BAND]
    drawn = any(len(summary.finished) >= MIN_FOR_BAND for summary in named.values())
    bands = "Bands: the middle 80\N{NO-BREAK SPACE}% over draws of the study's trials with replacement"
    told = [f"{bands}. They begin where nine of ten draws have a score."]
    if without:
        told.append(f"No band for {listed(without)}: fewer than {MIN_FOR_BAND} finished trials.")
    return " ".join(told if drawn else told[1:])


def _traces(summary: Summary, name: str, color: str, dash: str, time: bool) -> list[dict[str, Any]]:
    ended = summary.trials[summary.trials["state"].isin(["COMPLETE", "PRUNED", "FAIL"])]
    ended = ended.sort_values("ended", kind="stable")
    value = summary.sign * ended["value"].where(ended.index.isin(summary.finished.index), -summary.sign * np.inf).to_numpy()
    x = ended["ended"].to_numpy() / 60 if time else np.arange(1, len(ended) + 1, dtype=float)
    line, low, high = band(value)
    rises = np.flatnonzero(line[1:] > line[:-1]) + 1
    shown = np.unique(np.concatenate([_even(len(x)), rises]))
    shown = shown[np.isfinite(line[shown]) & np.isfinite(x[shown])]
    base = {"type": "scatter", "mode": "lines", "x": numbers(x[shown]), "legendgroup": name}
    within = shown[np.isfinite(low[shown])]
    edge = base | {"x": numbers(x[within]), "line": {"width": 0, "shape": "hv"}, "showlegend": False, "hoverinfo": "skip"}
    hover = f"{name}<br>%{{x:.4g}}: {value_format(summary)}<extra></extra>"
    edges = [
        edge | {"y": numbers(summary.sign * low[within])},
        edge | {"y": numbers(summary.sign * high[within]), "fill": "tonexty", "fillcolor": _faint(color)},
    ]
    return [
        *(edges if len(summary.finished) >= MIN_FOR_BAND and len(within) > 1 else []),
        base
        | {"y": numbers(summary.sign * line[shown]), "name": name, "hovertemplate": hover}
        | {"line": {"color": color, "dash": dash, "width": 2.5, "shape": "hv"}},
    ]


def band(values: Floats, draws: int = DRAWS, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Return the best so far of values in their order, and the middle 80 % over draws with replacement.

    A draw without a value so far counts as minus infinity; so does the band if a tenth of the draws have no value.
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    drawn = np.zeros((draws, n), dtype=bool)
    for row in drawn:
        row[rng.integers(0, n, n)] = True
    paths = np.maximum.accumulate(np.where(drawn, values, -np.inf), axis=1)
    low, high = np.quantile(paths, [0.1, 0.9], axis=0, method="nearest")
    return np.maximum.accumulate(values), low, high


def _even(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.linspace(0, n - 1, min(n, MAX_POINTS)).astype(np.int64)


def _faint(color: str) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"
