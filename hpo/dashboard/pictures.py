"""Two pictures of the winner as PNG: confusion matrix and learning curve, drawn with Pillow for places without Plotly.

Everything is drawn at twice its size and then halved, which smooths lines.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hpo.report.words import clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpo.report.artifacts import Scores

    Box = tuple[int, int, int, int]  # left, top, right, bottom

INK, FAINT, GRID = "#222222", "#666666", "#dddddd"
LIGHT, DARK = np.array([255.0, 255.0, 255.0]), np.array([16.0, 74.0, 124.0])  # RGB of the shares 0 and 1
FINE = 2  # factor by which everything is drawn larger
MAX_LABELLED = 20  # classes up to which there is room for names and counts


class Curve(NamedTuple):
    """One line of a panel."""

    name: str
    color: str
    x: Sequence[int]
    y: Sequence[float]


class Panel(NamedTuple):
    """Curves with a common scale."""

    title: str
    percent: bool
    curves: list[Curve]


def confusion(scores: Scores, names: Sequence[str], title: str) -> bytes:
    """Draw true classes (rows) against predicted ones (columns): counts, shaded by their share of the true class."""
    n = len(names)
    counts = np.bincount(scores.labels * n + scores.predicted, minlength=n * n).reshape(n, n)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = [_shown(name, 14) for name in names] if n <= MAX_LABELLED else [""] * n
    font, small = _font(15), _font(13)
    widest = max(int(font.getlength(name)) for name in shown)
    cell = 48 * FINE if n <= 12 else max(600 * FINE // n, 1)
    left, top, side = widest + 50 * FINE, 66 * FINE, cell * n
    under = widest + 50 * FINE
    image = Image.new("RGB", (max(left + side + 24 * FINE, 480 * FINE), top + side + under), "white")
    draw = ImageDraw.Draw(image)
    draw.text((16 * FINE, 14 * FINE), _shown(title, 60), INK, _font(19))
    draw.text((16 * FINE, 40 * FINE), f"{len(scores.labels):,} images; rows: true, columns: predicted", FAINT, font)
    colors = (LIGHT + shares[..., None] ** 0.5 * (DARK - LIGHT)).astype(np.uint8)
    image.paste(Image.fromarray(colors).resize((side, side), Image.Resampling.NEAREST), (left, top))
    draw.rectangle((left, top, left + side, top + side), outline=GRID, width=FINE)
    for i, name in enumerate(shown):
        middle = i * cell + cell // 2
        draw.text((left - 8 * FINE, top + middle), name, INK, font, anchor="rm")
        _upright(image, name, font, (left + middle, top + side + 8 * FINE))
        for j in map(int, np.flatnonzero(counts[i])) if n <= MAX_LABELLED else ():
            ink = "white" if shares[i, j] > 0.35 else INK
            draw.text((left + j * cell + cell // 2, top + middle), f"{counts[i, j]:,}", ink, small, anchor="mm")
    return _png(image)


def _upright(image: Image.Image, text: str, font: ImageFont.FreeTypeFont, at: tuple[int, int]) -> None:
    """Write a text that reads upwards and ends below the middle `at`."""
    width, height = int(font.getlength(text)) + 2, int(font.size * 1.4)
    if not text:
        return
    label = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(label).text((width, height // 2), text, INK, font, anchor="rm")
    image.paste(label.rotate(90, expand=True), (at[0] - height // 2, at[1]))


def learning(panels: Sequence[Panel], title: str) -> bytes:
    """Draw panels of curves over epochs, side by side."""
    width, height = 450 * FINE, 330 * FINE
    image = Image.new("RGB", (width * len(panels), height + 50 * FINE), "white")
    draw = ImageDraw.Draw(image)
    draw.text((16 * FINE, 14 * FINE), _shown(title, 60), INK, _font(19))
    for i, panel in enumerate(panels):
        _panel(draw, panel, (i * width + 64 * FINE, 100 * FINE, (i + 1) * width - 24 * FINE, height))
    return _png(image)


def _panel(draw: ImageDraw.ImageDraw, panel: Panel, box: Box) -> None:
    left, top, right, bottom = box
    font = _font(14)
    values = [value for curve in panel.curves for value in curve.y]
    ticks = _ticks(min(values), max(values))
    steps = [step for curve in panel.curves for step in curve.x]
    first = min(steps)
    last = max(*steps, first + 1)

    def x(step: float) -> float:
        return left + (step - first) / (last - first) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (bottom - top)

    for tick in ticks:
        draw.line((left, y(tick), right, y(tick)), GRID, FINE)
        text = f"{100 * tick:.4g} %" if panel.percent else f"{tick:.4g}"
        draw.text((left - 8 * FINE, y(tick)), text, FAINT, font, anchor="rm")
    for step in range(first, last + 1, math.ceil((last - first) / 10)):
        draw.text((x(step), bottom + 8 * FINE), str(step), FAINT, font, anchor="mt")
    draw.text(((left + right) / 2, bottom + 28 * FINE), "epoch", FAINT, font, anchor="mt")
    at = left
    draw.text((at, top - 44 * FINE), panel.title, INK, _font(15))
    for curve in panel.curves:
        draw.text((at, top - 23 * FINE), curve.name, curve.color, font)
        at += int(font.getlength(curve.name)) + 18 * FINE
        points = [(x(step), y(value)) for step, value in zip(curve.x, curve.y, strict=True)]
        draw.line(points, curve.color, 2 * FINE, joint="curve")
        for px, py in points if len(points) <= 30 else ():
            draw.ellipse((px - 3 * FINE, py - 3 * FINE, px + 3 * FINE, py + 3 * FINE), curve.color)


def _ticks(low: float, high: float) -> list[float]:
    """Return three to seven round numbers around a range."""
    span = (high - low) or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(span / 4))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if span / (unit * factor) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [tick * step for tick in range(first, max(last, first + 1) + 1)]


def _shown(text: str, longest: int) -> str:
    """Return a text of the study on one line, without lone surrogates, which cannot be drawn."""
    return clipped(" ".join(text.encode("utf-8", "replace").decode().split()), longest)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size * FINE)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this Pillow cannot draw letters of any size (it was built without FreeType)")
    return font


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.reduce(FINE).quantize(64).save(file, "PNG")
    return file.getvalue()
