"""Common to all figures: the value `Figure`, colours by trial state, axes, and texts that Plotly shows literally.

Figures are Plotly's JSON as plain dictionaries: building them through `plotly.graph_objects` would take half a second
per page for checks that a test makes once (every figure passes `go.Figure`). Only SVG traces are used: Plotly's WebGL
traces compile code in the browser, which the page's security policy forbids.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.report.words import clipped, count

if TYPE_CHECKING:
    import pandas as pd

    from hpo.report.summary import Summary

# Okabe and Ito's hues, which colour-blind readers can distinguish, dark enough for lines on white. In the dark scheme the page's
# script uses the second colour of each pair. Symbols distinguish the states, too.
NIGHT = {
    "#1f6fb2": "#62aef0",
    "#b87400": "#f0b429",
    "#00805c": "#2cc295",
    "#b03f8b": "#ea8cc9",
    "#b03a00": "#ff7a45",
    "#0b7fae": "#8ad4ff",
    "#6f6f6f": "#a8a8a8",
    "#1c2126": "#e4e7ea",
    "#ffffff": "#1b1f23",
}
BLUE, AMBER, GREEN, PINK, VERMILION, SKY, GREY, INK, GROUND = NIGHT
COLORS = {"COMPLETE": BLUE, "PRUNED": AMBER, "FAIL": VERMILION, "RUNNING": GREEN, "WAITING": GREY, "FOREIGN": GREY}
SYMBOLS = {"COMPLETE": "circle", "PRUNED": "diamond", "FAIL": "x", "RUNNING": "triangle-up", "WAITING": "square"}
WORDS = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
WORDS |= {"WAITING": "enqueued", "FOREIGN": "not hpo's"}  # made by another program
BEST_COLOR, REFERENCE_COLOR = PINK, GREY
SCALE = "Cividis"  # reads the same with and without colour vision
PER_CENT = "~%"  # as many digits as a tick needs: whole numbers would repeat on a narrow axis
ALL_DRAWN = 2_000  # trials up to which all are drawn


@dataclass(frozen=True)
class Figure:
    """One figure of the page.

    Attributes:
        id: Name of its element; chosen in this package, never taken from a study.
        title: Heading.
        alt: The figure in words, for readers who cannot see it.
        data, layout: As in Plotly.
        height: Minimum in pixels; a figure is at least as high as its neighbour.
        note: What a reader must know, such as that not all trials are drawn.
        wide: Whether it takes the whole width of the page.
    """

    id: str
    title: str
    alt: str
    data: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    height: int = 360
    note: str = ""
    wide: bool = False


def literal(value: object, longest: int = 40) -> str:
    """Return a text that Plotly shows unchanged, instead of reading `<b>` as bold, `<a href>` as a link, `$x$` as a formula."""
    escaped = html.escape(clipped(" ".join(str(value).split()), longest), quote=False)
    return escaped.replace("$", "&#36;") or " "


def numbers(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Return JSON numbers with few digits, None for values that are not finite."""
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values]


VIEWS = "A curve's last score is of several views of each image (tta), the others are of one: this is part of its last rise."
MIXED = "Smaller marks: fewer epochs. Each score is that of the trial's last epoch."


def reached(summary: Summary, trials: pd.DataFrame) -> tuple[list[float], list[str]]:
    """Return marker sizes by the share of the planned epochs that trials were trained for, and the same in words."""
    planned = max(summary.epochs, int(trials["epochs"].max()) if len(trials) else 0, 1)
    sizes = [round(4 + 4 * min(1.0, epochs / planned), 1) if epochs else 7.0 for epochs in trials["epochs"]]
    return sizes, [f" after epoch {epochs} of {planned}" if epochs else "" for epochs in trials["epochs"]]


def mixed(trials: pd.DataFrame) -> str:
    """Return a note if trials were trained for different numbers of epochs, otherwise an empty text."""
    known = trials["epochs"][trials["epochs"] > 0]
    return MIXED if known.nunique() > 1 else ""


def last_step(summary: Summary) -> str:
    """Return a note if the scores after the last epoch are of more views than those before, otherwise an empty text."""
    stored = summary.space.get("parameters")
    tta = stored.get("tta") if isinstance(stored, dict) else None
    several = isinstance(tta, dict) and bool(tta.get("value", True)) and summary.environment.get("early_views") == 1
    return VIEWS if several and not str(summary.environment.get("mirroring")).startswith("off") else ""


def value_axis(summary: Summary) -> dict[str, Any]:
    """Return the axis for the trials' values."""
    if summary.is_share:
        return {
            "title": {"text": summary.score_name},
            "tickformat": PER_CENT,
            "autorangeoptions": {"clipmin": -0.02, "clipmax": 1.02},
        }
    return {"title": {"text": summary.score_name}}


def value_format(summary: Summary, axis: str = "y") -> str:
    """Return the hover text of a value."""
    return f"%{{{axis}:.2%}}" if summary.is_share else f"%{{{axis}:.4g}}"


def axis(title: str, **more: object) -> dict[str, Any]:
    """Return an axis with a title."""
    return {"title": {"text": title}, **more}


def whole_axis(title: str, most: float) -> dict[str, Any]:
    """Return an axis of whole numbers up to `most`. If they are few, each has a tick, since Plotly would divide them."""
    few = {"dtick": 1, "autorangeoptions": {"clipmin": -0.5}} if most <= 12 else {}
    return axis(title, **few)


def log_axis(title: str, low: float, high: float, tickformat: str = "~g") -> dict[str, Any]:
    """Return a logarithmic axis from about `low` to `high`, with few short ticks at any length."""
    if high > 30 * low:
        short = {"exponentformat": "e"} if tickformat == "~g" else {"tickformat": tickformat}
        return axis(title, type="log", dtick=1, **short)
    ticks = "D2" if high > 5 * low else f"L{round_step((high - low) / 4):g}"
    return axis(title, type="log", dtick=ticks, tickformat=tickformat)


def round_step(least: float) -> float:
    """Return the smallest number of the form 1, 2 or 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((times * power for times in (1, 2, 5) if times * power >= 0.9999 * least), 10 * power)


def points(state: str, marker: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    """Return a trace of markers with the colour and symbol of a trial state."""
    marker = {"color": COLORS[state], "symbol": SYMBOLS[state], "size": 7, "opacity": 0.9} | (marker or {})
    return {"type": "scatter", "mode": "markers", "name": WORDS[state], "marker": marker, **more}


def thinned(summary: Summary, trials: pd.DataFrame, most: int) -> tuple[pd.DataFrame, str]:
    """Return the trials to draw, and a note if some are left out.

    In a study of more than `ALL_DRAWN` trials these are at most `most`: a third of them the best, then trial 0 and evenly spaced
    others.
    """
    if len(summary.trials) <= ALL_DRAWN or len(trials) <= most:
        return trials, ""
    order = np.argsort(-summary.sign * trials["value"].to_numpy(), kind="stable")  # NaN last
    chosen = np.zeros(len(trials), dtype=bool)
    chosen[order[: most // 3]] = True
    chosen[0] = True
    others = np.flatnonzero(~chosen)
    chosen[others[np.linspace(0, len(others) - 1, most - int(chosen.sum())).astype(int)]] = True
    of = f"{chosen.sum():,} of {count(len(trials), 'trial')}"
    note = f"Drawn: the best {most // 3:,} and an even sample of the others, {of}."
    return trials[chosen], note
