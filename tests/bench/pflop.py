"""A picture of accuracy against arithmetic, ours and the record holders': pflop.toml to pflop.png. It needs Chromium.

python tests/bench/pflop.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from PIL import Image

from hpo.builtin.convnet import Config
from hpo.networks.model import measure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from browser import CHROMIUM

HERE = Path(__file__).resolve().parent
SYMBOLS = "diamond", "circle-open", "circle"
COLOURS = "#b5543b", "#7a8794", "#1d6fa3"
IMAGES = 50_000


def pflop(point: dict[str, Any]) -> float:
    """Return a training's arithmetic: 6 operations per multiply-add, image and epoch, in 1e15."""
    if "pflop" in point:
        return float(point["pflop"])
    return 6e-15 * (measure(Config(**point["fields"]), 10).macs or 0) * point["epochs"] * IMAGES


def figure(table: dict[str, Any]) -> go.Figure:
    """Return it: a line per series, a point per training; bars from the lowest to the highest seed."""
    drawn = go.Figure()
    for series, symbol, colour in zip(table["series"], SYMBOLS, COLOURS, strict=True):
        points = sorted(series["points"], key=pflop)
        means = [statistics.mean(point["accuracy"]) for point in points]
        drawn.add_scatter(
            x=[pflop(point) for point in points],
            y=means,
            error_y={
                "array": [max(point["accuracy"]) - mean for point, mean in zip(points, means, strict=True)],
                "arrayminus": [mean - min(point["accuracy"]) for point, mean in zip(points, means, strict=True)],
            },
            mode="lines+markers+text",
            text=[point["what"] for point in points],
            textposition=[point.get("at", "bottom right") for point in points],
            textfont={"size": 10, "color": colour},
            name=series["name"],
            marker={"symbol": symbol, "size": 9, "color": colour},
            line={"width": 1, "dash": "dot", "color": colour},
        )
    drawn.update_xaxes(type="log", title="arithmetic of the training, PFLOP", range=[-1.4, 1.2], dtick="D2")
    drawn.update_yaxes(title="accuracy on the test images, %", range=[85, 94.5])
    drawn.update_layout(template="plotly_white", width=1000, height=560, margin={"l": 60, "r": 20, "t": 20, "b": 50})
    drawn.update_layout(legend={"x": 0.01, "y": 0.99})
    return drawn


def main() -> None:
    if CHROMIUM is None:
        sys.exit("there is no Chromium here")
    drawn = figure(tomllib.loads((HERE / "pflop.toml").read_text()))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "pflop.html"
        drawn.write_html(page, config={"displayModeBar": False, "staticPlot": True})
        seen = [f"--screenshot={folder}/pflop.png", "--window-size=1010,570", "--hide-scrollbars", "--virtual-time-budget=5000"]
        subprocess.run([CHROMIUM, "--headless", "--no-sandbox", *seen, page.as_uri()], check=True, stderr=subprocess.DEVNULL)
        picture = Image.open(Path(folder) / "pflop.png").convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(HERE / "pflop.png", optimize=True)


if __name__ == "__main__":
    main()
