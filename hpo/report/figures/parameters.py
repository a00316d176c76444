"""Figures about the search space: importance, slices, a map of two parameters, parallel coordinates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo.report.figures.figure import (
    BEST_COLOR,
    COLORS,
    INK,
    PER_CENT,
    REFERENCE_COLOR,
    SCALE,
    WORDS,
    Figure,
    axis,
    literal,
    log_axis,
    mixed,
    numbers,
    points,
    reached,
    thinned,
    value_axis,
    value_format,
)
from hpo.report.words import clipped, count, listed, percent, score
from hpo.store.schema import CategoricalDistribution, FloatDistribution, IntDistribution

if TYPE_CHECKING:
    from hpo.report.statistics.stats import Floats
    from hpo.report.summary import Summary
    from hpo.store.schema import Distribution

MIN_SCORED = 3  # scored trials for a figure
MIN_FOR_TENTH = 20  # trials; of fewer, the best tenth would be the best trial alone
MAX_PARAMETERS = 12  # parameters with a slice and an axis; other programs' studies may have hundreds


def importance(summary: Summary) -> Figure | None:
    """Draw each parameter's share of the differences in rank, with its spread."""
    found = summary.importance[:MAX_PARAMETERS][::-1]
    if not found:
        return None
    shares = np.array([one.share for one in found])
    spread: dict[str, Any] = {"type": "data", "symmetric": False, "color": INK}
    spread |= {"array": numbers(np.maximum(0, [one.high for one in found] - shares))}
    spread |= {"arrayminus": numbers(np.maximum(0, shares - [one.low for one in found]))}
    bar: dict[str, Any] = {"type": "bar", "orientation": "h", "x": numbers(shares), "y": list(range(len(found)))}
    bar |= {"error_x": spread, "hovertemplate": "%{x:.0%}<extra></extra>"}
    bar |= {"marker": {"color": [COLORS["COMPLETE" if one.decides else "WAITING"] for one in found]}}
    names = [literal(one.name, 24) for one in found]
    ticks = {"tickmode": "array", "tickvals": bar["y"], "ticktext": names, "automargin": True}
    layout = {"xaxis": axis("share of the differences in rank", tickformat=PER_CENT, rangemode="tozero"), "yaxis": ticks}
    said = listed([f"{clipped(one.name, 40)} {percent(one.share, 0)}" for one in reversed(found)])
    alt = f"Share of the differences in rank that each parameter explains, given those that decide: {said}."
    title = "What decides the score" if summary.deciding else "Influence of the parameters"
    grey = "" if all(one.decides for one in found) else "Grey: not distinguishable from chance, or too small to matter. "
    note = f"{grey}Whiskers: the middle 80\N{NO-BREAK SPACE}% over bootstrap resamples of the trials."
    return Figure("importance", title, alt, [bar], layout, 140 + 34 * len(found), note)


def slices(summary: Summary) -> list[Figure]:
    """Draw the score against each parameter, those that decide first."""
    if np.isfinite(summary.trials["value"]).sum() < MIN_SCORED:
        return []
    return [_slice(summary, name, i) for i, name in enumerate(varied(summary)[:MAX_PARAMETERS])]


def _slice(summary: Summary, name: str, i: int) -> Figure:
    scored = summary.trials[np.isfinite(summary.trials["value"])]
    scored, note = thinned(summary, scored[summary.params.loc[scored.index, name].notna()], 300)
    data = []
    for state in ("PRUNED", "COMPLETE"):
        some = scored[scored["state"] == state]
        x = positions(summary.params.loc[some.index, name], summary.distributions[name])
        hover = f"trial %{{customdata}}, {WORDS[state]}%{{text}}<br>%{{x}}<br>{value_format(summary)}<extra></extra>"
        sizes, told = reached(summary, some)
        dots = points(state, {"size": sizes}, x=numbers(x), y=numbers(some["value"]), hovertemplate=hover, text=told)
        if len(some):
            data.append(dots | {"customdata": [int(n) for n in some.index]})
    note = f"{note} {mixed(scored)}".strip() if i == 0 else note
    if summary.best is not None and not pd.isna(summary.params[name][summary.best]):
        at = positions(summary.params.loc[[summary.best], name], summary.distributions[name])
        star = {"color": BEST_COLOR, "symbol": "star", "size": 14}
        mark = {"type": "scatter", "mode": "markers", "name": "the best", "x": numbers(at), "y": [summary.best_value]}
        data.append(mark | {"marker": star, "hovertemplate": f"trial {summary.best}, the best<extra></extra>"})
    layout = {"xaxis": scale(name, summary), "yaxis": value_axis(summary), "showlegend": False}
    alt = f"Score of {count(len(scored), 'trial')} against {clipped(name, 60)}."
    return Figure(f"slice-{i}", clipped(name, 60), alt, data, layout, 260, note)


def map_of_two(summary: Summary) -> Figure | None:
    """Draw scores over the two most important parameters; if fewer than two decide, over the first two."""
    ended = _ended(summary)
    names = _common(summary, ended)[:2]
    if len(names) < 2 or len(ended) < MIN_SCORED:
        return None
    shown, note = thinned(summary, ended, 400)
    drawn = shown[shown["state"] == "COMPLETE"].sort_values("value", ascending=summary.maximize)  # the best on top
    stopped = shown[shown["state"] == "PRUNED"]
    x, y = (positions(summary.params.loc[drawn.index, name], summary.distributions[name]) for name in names)
    bar = value_axis(summary) | {"thickness": 16}
    bar.pop("autorangeoptions", None)  # colours have the range of the values
    marker = {"color": numbers(drawn["value"]), "colorscale": SCALE, "reversescale": not summary.maximize, "size": 10}
    marker |= {"colorbar": bar, "line": {"color": REFERENCE_COLOR, "width": 1}}  # visible on any background
    hover = f"trial %{{customdata}}<br>{value_format(summary, 'marker.color')}<extra></extra>"
    dots: dict[str, Any] = {"type": "scatter", "mode": "markers", "x": numbers(x), "y": numbers(y), "marker": marker}
    dots |= {"customdata": [int(n) for n in drawn.index], "hovertemplate": hover, "name": WORDS["COMPLETE"]}
    data = [_stopped(summary, stopped, names), dots] if len(stopped) else [dots]
    layout = {"xaxis": scale(names[0], summary), "yaxis": scale(names[1], summary), "showlegend": False}
    alt = f"Scores of finished trials over {clipped(names[0], 60)} and {clipped(names[1], 60)}."
    note = f"Small marks without a colour for the score: pruned trials. {note}" if len(stopped) else note
    title = (
        "The two most important parameters"
        if len(summary.deciding) > 1
        else f"Scores over {listed([clipped(n, 40) for n in names])}"
    )
    return Figure("map", title, alt, data, layout, 420, note.strip())


def _ended(summary: Summary) -> pd.DataFrame:
    """Return the trials that finished, and those that were stopped early with a score."""
    stopped: pd.Series[bool] = (summary.trials["state"] == "PRUNED") & np.isfinite(summary.trials["last"])
    return summary.trials.loc[stopped | summary.trials.index.isin(summary.finished.index)]


def _common(summary: Summary, trials: pd.DataFrame) -> list[str]:
    """Return the parameters that vary and that all of some trials have, those that decide first."""
    return [name for name in varied(summary) if summary.params.loc[trials.index, name].notna().all()]


def _stopped(summary: Summary, trials: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    """Return pruned trials over two parameters, without a colour for the score, since they had fewer epochs."""
    x, y = (positions(summary.params.loc[trials.index, name], summary.distributions[name]) for name in names)
    reached = {"text": [score(value, summary) for value in trials["last"]], "customdata": [int(n) for n in trials.index]}
    hover = "trial %{customdata}, stopped at %{text}<extra></extra>"
    return points("PRUNED", {"size": 6}, x=numbers(x), y=numbers(y), hovertemplate=hover, **reached)


def parallel(summary: Summary) -> Figure | None:
    """Draw every finished or pruned trial as a line through its parameters; the best tenth and the best one in colour."""
    ended = _ended(summary)
    names = _common(summary, ended)[:MAX_PARAMETERS]
    if len(names) < 2 or len(ended) < MIN_SCORED:
        return None
    drawn, note = thinned(summary, ended, 250)
    heights = np.column_stack([_unit(summary.params.loc[drawn.index, name], summary.distributions[name]) for name in names])
    order = summary.standing.rank(ascending=False, method="first").reindex(drawn.index)
    enough = len(summary.standing) >= MIN_FOR_TENTH
    top = (order <= enough * math.ceil(len(summary.standing) / 10)).to_numpy()
    winner = (drawn.index == summary.best)[: len(drawn)]
    groups = [("the others", ~top, REFERENCE_COLOR, 1.0, 0.8), ("the best tenth", top & ~winner, COLORS["COMPLETE"], 1.5, 0.9)]
    groups.append((f"trial {summary.best}, the best", winner, BEST_COLOR, 3.0, 1.0))
    data = [
        _bundle(heights[some]) | {"name": name, "line": {"color": color, "width": width}, "opacity": opacity}
        for name, some, color, width, opacity in groups
        if some.any()
    ]
    ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": [literal(n, 16) for n in names]}
    xaxis = ticks | {"range": [-0.3, len(names) - 0.7], "showgrid": True}
    layout = {"xaxis": xaxis, "yaxis": {"visible": False, "range": [-0.12, 1.12]}, "annotations": _ends(names, summary)}
    alt = f"{count(len(drawn), 'trial')} as lines through {listed([clipped(name, 40) for name in names])}."
    return Figure("parallel", "Parallel coordinates", alt, data, layout, 420, note, wide=True)


def _bundle(heights: Floats) -> dict[str, Any]:
    x = [*range(heights.shape[1]), None] * len(heights)
    y = [value for row in heights for value in [*numbers(row, 3), None]]
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "hoverinfo": "skip"}


def _ends(names: list[str], summary: Summary) -> list[dict[str, Any]]:
    """Return labels for the lower and the upper end of each axis."""
    found = []
    for i, name in enumerate(names):
        distribution = summary.distributions[name]
        if isinstance(distribution, FloatDistribution | IntDistribution):
            ends = [f"{distribution.low:.3g}", f"{distribution.high:.3g}"]
        else:
            ends = [str(choice) for choice in (distribution.choices[0], distribution.choices[-1])]
        for at, text in zip((-0.07, 1.07), ends, strict=True):
            found.append({"x": i, "y": at, "text": literal(text, 12), "showarrow": False, "font": {"size": 11}})
    return found


def varied(summary: Summary) -> list[str]:
    """Return the names of the parameters that vary, those that decide first."""
    others = [name for name, one in summary.distributions.items() if not one.single() and name not in summary.deciding]
    return summary.deciding + others


def positions(column: pd.Series, distribution: Distribution) -> Floats:
    """Return the positions of values on an axis: numbers unchanged, choices at 0, 1, 2 ... in their order."""
    if isinstance(distribution, CategoricalDistribution):
        return np.array([math.nan if pd.isna(v) else distribution.to_internal_repr(v) for v in column], dtype=float)
    return column.to_numpy(dtype=float)


def scale(name: str, summary: Summary) -> dict[str, Any]:
    """Return the axis of a parameter: logarithmic if its range is, choices by name."""
    distribution = summary.distributions[name]
    title = literal(name, 40)
    if isinstance(distribution, CategoricalDistribution):
        n = len(distribution.choices)
        texts = [literal(choice, 14) for choice in distribution.choices]
        return axis(title) | {
            "tickmode": "array",
            "automargin": True,
            "tickvals": list(range(n)),
            "ticktext": texts,
            "range": [-0.5, n - 0.5],
        }
    if distribution.log:
        return log_axis(title, distribution.low, distribution.high)
    few = isinstance(distribution, IntDistribution) and distribution.high - distribution.low <= 10 * distribution.step
    return axis(title, dtick=distribution.step, tick0=distribution.low) if few else axis(title)


def _unit(column: pd.Series, distribution: Distribution) -> Floats:
    """Return the positions of values in their range, from 0 to 1."""
    at = positions(column, distribution)
    if isinstance(distribution, CategoricalDistribution):
        return at / max(1, len(distribution.choices) - 1)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        at, low, high = np.log(at), math.log(low), math.log(high)
    return np.asarray((at - low) / (high - low), dtype=float)
