"""Figures over the course of a study: scores, learning curves, the distribution of scores, early scores against later ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.report.figures.figure import (
    BEST_COLOR,
    COLORS,
    GROUND,
    REFERENCE_COLOR,
    WORDS,
    Figure,
    axis,
    last_step,
    mixed,
    numbers,
    points,
    reached,
    round_step,
    thinned,
    value_axis,
    value_format,
    whole_axis,
)
from hpo.report.statistics.rungs import agreements
from hpo.report.words import count, listed, score

if TYPE_CHECKING:
    import pandas as pd

    from hpo.report.statistics import stats
    from hpo.report.summary import Summary


DASH = 0.08  # epochs to either side of a curve's only epoch
PATTERNS = ("", "/", ".", "x")  # of the bars of pruned trials, grouped by the epoch at which they were stopped


def history(summary: Summary) -> Figure | None:
    """Draw the score of every trial, the best so far, trial 0 and the tutorial."""
    trials, note = thinned(summary, summary.trials, 800)
    height = trials["value"].fillna(trials["last"])
    if not np.isfinite(height).any():
        return None
    bottom = float(height[np.isfinite(height)].min())
    data = []
    for state in ("PRUNED", "COMPLETE", "RUNNING", "FAIL"):
        some = trials[trials["state"] == state]
        if state != "FAIL":
            some = some[np.isfinite(height[some.index])]
        hover = f"trial %{{x}}, {WORDS[state]}%{{customdata}}<br>{value_format(summary)}<extra></extra>"
        sizes, told = reached(summary, some)
        y = height[some.index].fillna(bottom)  # a failed trial without a score is drawn at the bottom
        if len(some):
            marks = points(state, {"size": sizes}, x=[int(i) for i in some.index], y=numbers(y), hovertemplate=hover)
            data.append(marks | {"customdata": told})
    best = summary.trials["best"].dropna()
    steps = best[best.diff().fillna(1) != 0]
    x = [int(i) for i in steps.index] + ([int(summary.trials.index[-1])] if len(steps) else [])
    y_best = numbers(steps) + numbers(steps.iloc[-1:])
    line = {"color": BEST_COLOR, "width": 2, "shape": "hv"}
    data.append({"type": "scatter", "mode": "lines", "name": "best so far", "x": x, "y": y_best, "line": line})
    layout = {"xaxis": whole_axis("trial", summary.trials.index[-1]), "yaxis": value_axis(summary), **_references(summary)}
    note = f"{note} {mixed(trials[np.isfinite(height)])}".strip()
    return Figure("history", "Score of every trial", _history_alt(summary), data, layout, 420, note)


def _references(summary: Summary) -> dict[str, Any]:
    """Return the horizontal lines of trial 0 and of the tutorial, each with its name."""
    lines = [("trial 0", summary.default_value, "dash"), ("the tutorial", summary.tutorial, "dot")]
    known = [(name, value, dash) for name, value, dash in lines if value is not None]
    return {
        "shapes": [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value}
            | {"line": {"color": REFERENCE_COLOR, "width": 1.5, "dash": dash}}
            for _, value, dash in known
        ],
        "annotations": [
            {
                "xref": "paper",
                "x": 1,
                "xanchor": "right",
                "y": value,
                "yanchor": "bottom",
                "text": name,
                "showarrow": False,
                "bgcolor": GROUND,
                "opacity": 0.85,
            }
            for name, value, _ in known
        ],
    }


def _history_alt(summary: Summary) -> str:
    if summary.best is None:
        return f"Scores of {count(len(summary.trials), 'trial')}; none finished."
    best = f"the best is trial {summary.best} with {score(summary.best_value, summary)}"
    return f"Scores of {count(len(summary.trials), 'trial')} in the order of their start; {best}."


def curves(summary: Summary) -> Figure | None:
    """Draw the score of every trial by epoch, the best highlighted; one trace per state."""
    with_curve = summary.trials[summary.trials["epochs"] > 0]
    if with_curve.empty:
        return None
    trials, note = thinned(summary, with_curve, 250)
    data = []
    for state in ("FAIL", "PRUNED", "RUNNING", "COMPLETE"):
        some = trials[(trials["state"] == state) & (trials.index != summary.best)]
        if len(some):
            line = {"color": COLORS[state], "width": 1}
            data.append(_lines(summary, some, value_format(summary)) | {"name": WORDS[state], "line": line, "opacity": 0.9})
    if summary.best in trials.index:
        line = {"color": BEST_COLOR, "width": 3}
        best = _lines(summary, trials.loc[[summary.best]], value_format(summary))
        data.append(best | {"name": f"trial {summary.best}, the best", "line": line})
    alt = f"Learning curves of {count(len(with_curve), 'trial')} over {count(len(summary.curves.columns), 'epoch')}."
    layout = {"xaxis": whole_axis("epoch", len(summary.curves.columns)), "yaxis": value_axis(summary)}
    return Figure("curves", "Learning curves", alt, data, layout, 420, f"{note} {last_step(summary)}".strip())


def _lines(summary: Summary, trials: pd.DataFrame, shown: str) -> dict[str, Any]:
    """Return all curves as one trace, with a gap after each."""
    steps, table = summary.curves.columns.to_numpy(), summary.curves.loc[trials.index].to_numpy()
    x: list[int | None] = []
    y: list[float | None] = []
    of: list[int | None] = []
    for trial, row in zip(trials.index, table, strict=True):
        known = np.isfinite(row)
        at, heights = steps[known].tolist(), numbers(row[known], 4)
        if len(at) == 1:  # a single epoch becomes a dash, since a line needs two ends
            at, heights = [at[0] - DASH, at[0] + DASH], heights * 2
        x += [*at, None]
        y += [*heights, None]
        of += [int(trial)] * len(at) + [None]
    hover = f"trial %{{customdata}}<br>{shown}<extra></extra>"
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "customdata": of, "hovertemplate": hover}


def distribution(summary: Summary) -> Figure | None:
    """Draw a histogram of the scores of finished and pruned trials."""
    reached_score = summary.trials[np.isfinite(summary.trials["value"])]
    if len(reached_score) < 2:
        return None
    values = reached_score["value"].to_numpy()
    span = float(np.ptp(values))
    if 0 < span < max(1e-9 * float(np.abs(values).max()), 1e-300):
        return None  # too narrow a range for floating-point numbers
    width = round_step((span or abs(float(values[0])) or 1) / min(40, max(10, round(len(values) ** 0.5))))
    edges = np.arange(np.floor(values.min() / width - 1e-6), np.ceil(values.max() / width + 1e-6) + 1) * width
    heights = np.histogram(values, bins=edges)[0]
    middle = numbers((edges[1:] + edges[:-1]) / 2)
    data = []
    for name, state, pattern, some in _by_epochs(reached_score):
        tall = np.histogram(some, bins=edges)[0]
        bars = [(x, int(y)) for x, y in zip(middle, tall, strict=True) if y]  # an empty bar would still have an edge
        x, y = map(list, zip(*bars, strict=True))
        bar = {"type": "bar", "x": x, "y": y, "width": width, "name": name}
        hover = f"%{{y}} {name} near {value_format(summary, 'x')}<extra></extra>"
        color = COLORS[state]  # the edge has the full colour: light patterns cannot be seen on white
        marker = {"color": color, "line": {"color": color, "width": 1}, "pattern": {"shape": pattern, "size": 6}}
        data.append(bar | {"marker": marker, "hovertemplate": hover})
    low, median, high = np.quantile(values, [0, 0.5, 1])
    low, median, high = (score(float(value), summary) for value in (low, median, high))
    alt = f"Scores of {count(len(values), 'trial')}, from {low} to {high}, half of them at least {median}."
    ticks: dict[str, Any] = {"tick0": 0, "dtick": round_step(float(np.ptp(edges)) / 6)}  # Plotly would put one at every bar
    ticks |= {"range": numbers([edges[0] - width / 2, edges[-1] + width / 2])}
    layout = {"barmode": "stack", "bargap": 0, "xaxis": value_axis(summary) | ticks, "yaxis": whole_axis("trials", heights.max())}
    return Figure("distribution", "Distribution of scores", alt, data, layout)


def _by_epochs(trials: pd.DataFrame) -> Iterator[tuple[str, str, str, stats.Floats]]:
    """Yield name, state, pattern and scores of the finished trials, then of the pruned ones, the latest stopped first."""
    for state in ("COMPLETE", "PRUNED"):
        some = trials[trials["state"] == state]
        stops = np.unique(some["epochs"])[::-1] if state == "PRUNED" else np.empty(0, dtype=int)
        groups = np.array_split(stops, min(len(stops), len(PATTERNS))) if len(stops) > 1 else [stops]
        for i, group in enumerate(groups):
            part = some[some["epochs"].isin(group)] if len(group) else some
            first, last = (int(group.min()), int(group.max())) if len(group) else (0, 0)
            after = "" if not last else f" after epoch {last}" if first == last else f" after epochs {first} to {last}"
            if len(part):
                yield WORDS[state] + after, state, PATTERNS[i], part["value"].to_numpy()


def early_scores(summary: Summary) -> Figure | None:
    """Draw the rank agreement between each epoch at which trials were stopped and the next, with its interval."""
    found = agreements(summary)
    if not found:
        return None
    heights = np.array([one.correlation for one in found])
    spread: dict[str, Any] = {"type": "data", "symmetric": False, "color": REFERENCE_COLOR}
    spread |= {"array": numbers(np.array([one.high for one in found]) - heights)}
    spread |= {"arrayminus": numbers(heights - np.array([one.low for one in found]))}
    dots = points("COMPLETE", {"size": 10, "opacity": 1}, x=list(range(len(found))), y=numbers(heights), error_y=spread)
    dots |= {"customdata": [one.n for one in found], "hovertemplate": "%{y:.2f} over %{customdata} trials<extra></extra>"}
    steps = [f"{one.early} to {one.late}" for one in found]
    ticks = {"tickmode": "array", "tickvals": dots["x"], "ticktext": steps, "range": [-0.5, len(found) - 0.5]}
    lowest = min(0.0, *(one.low for one in found))
    yaxis = {"title": {"text": "rank correlation"}, "range": [lowest - 0.05, 1.05]}
    said = listed([f"{one.correlation:.2f} from epoch {one.early} to {one.late}" for one in found])
    alt = f"Rank correlation of scores between epochs at which trials are stopped: {said}."
    note = "Bars: 95\N{NO-BREAK SPACE}% intervals, over the trials that reached both epochs."
    layout = {"xaxis": axis("from epoch to epoch") | ticks, "yaxis": yaxis, "showlegend": False}
    return Figure("early-scores", "Do early scores predict later ones?", alt, [dots], layout, note=note)
