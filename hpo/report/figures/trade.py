"""Score against cost: every finished trial by size or by training time, with the Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.report.figures.figure import BEST_COLOR, Figure, log_axis, numbers, points, thinned, value_axis, value_format
from hpo.report.statistics import stats
from hpo.report.words import amount, count, duration, score

if TYPE_CHECKING:
    from hpo.report.summary import Summary


def size(summary: Summary) -> Figure | None:
    """Draw the score against the number of parameters."""
    return _trade(summary, "n_parameters", "size", "size", "parameters")


def time(summary: Summary) -> Figure | None:
    """Draw the score against training seconds."""
    return _trade(summary, "seconds", "time", "training time", "training seconds")


def _trade(summary: Summary, cost: str, name: str, what: str, noun: str) -> Figure | None:
    title = f"{summary.score_name[:1].upper()}{summary.score_name[1:]} and {what}"
    known = summary.finished[np.isfinite(summary.finished[cost]) & (summary.finished[cost] > 0)]
    if len(known) < 2 or known[cost].nunique() < 2:
        return None
    front = known[stats.pareto(known[cost].to_numpy(), summary.sign * known["value"].to_numpy())].sort_values(cost)
    drawn, note = thinned(summary, known, 400)
    hover = f"trial %{{customdata}}<br>%{{x:.3s}} {noun}<br>{value_format(summary)}<extra></extra>"
    dots = points("COMPLETE", x=numbers(drawn[cost]), y=numbers(drawn["value"]), hovertemplate=hover)
    line: dict[str, Any] = {"type": "scatter", "mode": "lines+markers", "name": "Pareto front", "x": numbers(front[cost])}
    line |= {"y": numbers(front["value"]), "line": {"color": BEST_COLOR, "shape": "hv"}, "hovertemplate": hover}
    dots["customdata"], line["customdata"] = ([int(i) for i in table.index] for table in (drawn, front))
    shown = duration if cost == "seconds" else amount
    least, most = front.iloc[0], front.iloc[-1]
    ends = [f"{shown(one[cost])} at {score(one['value'], summary)}" for one in (least, most)]
    if len(front) == 1:
        said = f"the best is also the cheapest, {ends[0]}"
    else:
        said = f"the Pareto front of {len(front)} (no cheaper trial is better) goes from {ends[0]} to {ends[1]}"
    alt = f"{title} of {count(len(known), 'finished trial')}; {said}."
    layout = {"xaxis": log_axis(noun, known[cost].min(), known[cost].max(), "~s"), "yaxis": value_axis(summary)}
    return Figure(name, title, alt, [dots, line], layout, note=note)
