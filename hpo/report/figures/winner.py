"""Figures of the best trial: learning curve, confusion matrix, accuracy by class, and calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.report.figures.figure import (
    BEST_COLOR,
    COLORS,
    PER_CENT,
    REFERENCE_COLOR,
    SCALE,
    Figure,
    axis,
    last_step,
    literal,
    numbers,
    value_axis,
    value_format,
    whole_axis,
)
from hpo.report.statistics import stats
from hpo.report.words import clipped, count, percent, score
from hpo.settings import METRICS

if TYPE_CHECKING:
    import pandas as pd

    from hpo.report.artifacts import Scores
    from hpo.report.summary import Summary

_LOSSES = {"train_loss": "training loss", "score_loss": "loss on scored images"}  # of the built-in network
_SHADES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
BINS = 15  # of confidence, as in Guo et al., arXiv:1706.04599
MOST_IN_MATRIX = 256  # classes of a confusion matrix: cells of more cannot be told apart
MAX_NAMED, N_WORST = 50, 40  # classes that all have a name beside the axis; else so many of them, the worst
MIN_IN_BIN = 10  # images; the accuracy of smaller bins is too uncertain


def learning(summary: Summary) -> Figure | None:
    """Draw score and losses by epoch, beside trial 0's score."""
    best = summary.best
    if best is None:
        return None
    curve: pd.Series[float] = summary.curves.T[best].dropna()
    if curve.empty:
        return None
    epochs = [int(step) for step in curve.index]
    shown = f"epoch %{{x}}: {value_format(summary)}<extra></extra>"
    data = [_line(summary.score_name, epochs, curve, BEST_COLOR) | {"hovertemplate": shown}]
    if best != 0 and summary.default_value is not None:
        first: pd.Series[float] = summary.curves.T[0].dropna()
        data.append(_line("trial 0, the default", [int(step) for step in first.index], first, REFERENCE_COLOR, dash="dash"))
    drawn: list[dict[str, Any]] = []
    order = sorted(summary.metrics, key=lambda name: (name not in _LOSSES, name != "train_loss"))
    for name, shade in zip(order, _SHADES, strict=False):
        values, title = summary.metrics[name], _LOSSES.get(name, clipped(name, 40))
        beside_score = summary.is_share and name == METRICS[0]  # of the same kind
        line = _line(title, list(range(1, len(values) + 1)), values, COLORS[shade], dash="dot")
        (data if beside_score else drawn).append(line | ({} if beside_score else {"yaxis": "y2"}))
    layout: dict[str, Any] = {"xaxis": whole_axis("epoch", len(epochs)), "yaxis": value_axis(summary)}
    if drawn:
        heading = "loss" if summary.metrics.keys() <= _LOSSES.keys() | {METRICS[0]} else ""
        beside = {"overlaying": "y", "side": "right", "automargin": True, "showgrid": False}
        layout["yaxis2"] = axis(heading, rangemode="tozero", tickmode="auto", **beside)
    smoothing = label_smoothing(summary)
    note = ""
    if summary.metrics.keys() >= _LOSSES.keys() and summary.objective.is_network:
        smooth = f"label smoothing {smoothing:g}{_floor(smoothing, len(summary.classes))}, " if smoothing else ""
        weighed = "class weights, " if _knob(summary, "class_weights") else ""
        note = f"The two losses are different quantities: the training loss includes {smooth}{weighed}dropout and augmentation."
    began, ended = (score(float(curve.to_numpy()[i]), summary) for i in (0, -1))
    alt = f"Trial {best} by epoch: {began} after epoch {epochs[0]}, {ended} after epoch {epochs[-1]}."
    note = f"{last_step(summary)} {note}".strip()
    return Figure("learning", "Learning curve of the winner", alt, data + drawn, layout, note=note)


def label_smoothing(summary: Summary) -> float:
    """Return the best trial's label smoothing, which is part of its training loss; 0 if none or unknown."""
    value = _knob(summary, "label_smoothing")
    return value if value < 1 else 0.0


def _knob(summary: Summary, name: str) -> float:
    """Return the best trial's value of a knob that is a positive number; 0 if it is none, or unknown."""
    stored = summary.space.get("parameters")
    fixed = stored.get(name) if isinstance(stored, dict) else None
    value = fixed.get("value") if isinstance(fixed, dict) else None
    if name in summary.params and summary.best is not None:
        value = summary.params[name][summary.best]
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0


def _floor(smoothing: float, n: int) -> str:
    """Name the minimum of a loss with label smoothing over `n` classes: the entropy of the smoothed labels."""
    if n < 2:
        return ""
    other = smoothing / n
    true = 1 - smoothing + other
    return f" (minimum {-true * math.log(true) - (n - 1) * other * math.log(other):.2f})"


def _line(name: str, x: list[int], y: Iterable[float], color: str, dash: str = "solid") -> dict[str, Any]:
    line: dict[str, Any] = {"color": color, "dash": dash}
    return {"type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": numbers(y), "line": line}


def confusion(scores: Scores, names: list[str]) -> Figure | None:
    """Draw true against predicted classes, each row as shares of the true class; None of more classes than can be told apart."""
    n = len(names)
    if n > MOST_IN_MATRIX:
        return None
    counts = np.bincount(scores.labels * n + scores.predicted, minlength=n * n).reshape(n, n)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    off = np.where(np.eye(n, dtype=bool), 0, counts)
    true, predicted = np.unravel_index(int(off.argmax()), off.shape)
    alt = f"Confusion matrix of {count(n, 'class', 'classes')} over {count(len(scores.labels), 'image')}."
    if off.any():
        alt += f" The most frequent mistake: {names[true]} predicted as {names[predicted]}, {count(int(off.max()), 'time')}."
    few = n <= 20
    heat: dict[str, Any] = {
        "type": "heatmap",
        "z": [numbers(row, 3) for row in shares],
        "colorscale": SCALE,
        "zmin": 0,
        "zmax": 1,
    }
    heat |= {"customdata": counts.tolist(), "hovertemplate": "%{customdata} images, %{z:.1%} of their class<extra></extra>"}
    heat |= {"text": counts.tolist(), "texttemplate": "%{text}", "textfont": {"size": 11}} if few else {}
    heat |= {"showscale": False, "xgap": 1, "ygap": 1}
    ticks = {
        "automargin": True,
        "tickmode": "array",
        "tickvals": list(range(n)),
        "ticktext": [literal(name, 14) for name in names],
    }
    if not few:
        ticks = {}
    slanted = -45 if max(map(len, names)) > 3 else 0
    layout = {"xaxis": axis("predicted", **ticks, tickangle=slanted), "yaxis": axis("true", **ticks, autorange="reversed")}
    return Figure("confusion", "Confusion matrix", alt, [heat], layout, 480)


def classes(scores: Scores, names: list[str]) -> Figure:
    """Draw the accuracy of each class with Wilson's interval, the worst first."""
    n_of = np.bincount(scores.labels, minlength=len(names))
    right = np.bincount(scores.labels[scores.labels == scores.predicted], minlength=len(names))
    seen = np.flatnonzero(n_of)
    n_drawn = len(seen) if len(seen) <= MAX_NAMED else N_WORST
    which = "Accuracy by class" if n_drawn == len(seen) else f"Accuracy by class: the worst {n_drawn} of {len(seen)}"
    accuracy = right[seen] / n_of[seen]
    order = np.argsort(-accuracy, kind="stable")[-n_drawn:]  # the worst at the top
    seen, accuracy = seen[order], accuracy[order]
    ends = np.array([stats.wilson(float(a), int(n_of[c])) for a, c in zip(accuracy, seen, strict=True)])
    error: dict[str, Any] = {"type": "data", "symmetric": False, "color": REFERENCE_COLOR}
    error |= {"array": numbers(ends[:, 1] - accuracy), "arrayminus": numbers(accuracy - ends[:, 0])}
    y = list(range(len(seen)))
    dots: dict[str, Any] = {"type": "scatter", "mode": "markers", "x": numbers(accuracy), "y": y, "error_x": error}
    dots |= {"marker": {"color": COLORS["COMPLETE"], "size": 9}, "hovertemplate": "%{x:.1%}<extra></extra>"}
    ticks = {"automargin": True, "tickmode": "array", "tickvals": y, "ticktext": [literal(names[c], 20) for c in seen]}
    layout = {"xaxis": axis("accuracy", tickformat=PER_CENT), "yaxis": ticks}
    worst, best = f"{names[seen[-1]]} ({percent(accuracy[-1])})", f"{names[seen[0]]} ({percent(accuracy[0])})"
    alt = f"{which}, with 95\N{NO-BREAK SPACE}% intervals, from {worst} to {best}."
    return Figure("classes", which, alt, [dots], layout, max(240, 130 + min(30, 1000 // len(seen)) * len(seen)))


def calibration(scores: Scores) -> Figure | None:
    """Draw confidence against accuracy in bins, with the expected calibration error."""
    sure, right = scores.confidence.max(axis=1), scores.predicted == scores.labels
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    n = np.bincount(place, minlength=BINS)
    sums, hits = (np.bincount(place, weights=weights, minlength=BINS) for weights in (sure, right))
    error = float(np.abs(sums - hits).sum() / len(sure))
    used = np.flatnonzero(n >= MIN_IN_BIN)
    if not len(used):
        return None
    confidence, accuracy = sums[used] / n[used], hits[used] / n[used]
    ends = np.array([stats.wilson(float(a), int(k)) for a, k in zip(accuracy, n[used], strict=True)])
    spread: dict[str, Any] = {"type": "data", "symmetric": False, "color": REFERENCE_COLOR}
    spread |= {"array": numbers(ends[:, 1] - accuracy), "arrayminus": numbers(accuracy - ends[:, 0])}
    line = _line("the winner", [], [], COLORS["COMPLETE"]) | {"x": numbers(confidence), "y": numbers(accuracy)}
    line |= {"error_y": spread, "customdata": n[used].tolist()}
    line |= {"hovertemplate": "confidence %{x:.0%}, accuracy %{y:.0%} on %{customdata} images<extra></extra>"}
    ideal = _line("perfect calibration", [0, 1], [0, 1], REFERENCE_COLOR, dash="dash") | {"mode": "lines", "hoverinfo": "skip"}
    mean_sure, mean_right = float(sure.mean()), float(right.mean())
    alt = (
        f"Mean confidence {percent(mean_sure)}, accuracy {percent(mean_right)}: "
        f"{'over' if mean_sure > mean_right else 'under'}confident. Expected calibration error {percent(error)} "
        f"over {BINS} bins."
    )
    layout = {"xaxis": axis("confidence", tickformat=PER_CENT), "yaxis": axis("accuracy", tickformat=PER_CENT)}
    left_out = int(n.sum() - n[used].sum())
    note = f"Bins of fewer than {MIN_IN_BIN} images are not drawn ({count(left_out, 'image')} in all)." if left_out else ""
    return Figure("calibration", "Calibration: does confidence match accuracy?", alt, [ideal, line], layout, note=note)
