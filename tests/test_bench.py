"""The benchmarks run, and measure what they name; their figures are for a person on a quiet machine."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent / "bench"

pytestmark = [pytest.mark.cifar10, pytest.mark.timeout(300)]


def bench(name: str, *words: object) -> str:
    """Run a benchmark and return what it printed."""
    command = [sys.executable, str(BENCH / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_every_idea_for_the_recipe_trains_another_network_than_the_base(tmp_path):
    ideas = ("base", "muon=0.2", "bias_rate=64", "dirac", "crops=24", "lookahead=0.95", "filters=24,growth=2.5")
    words = ("--epochs", 2, "--images", 1500, "--out", tmp_path / "rows.jsonl", *ideas)
    bench("recipe.py", *words)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["idea"] for row in rows] == list(ideas)
    assert len({str(row["accuracies"]) for row in rows}) == len(ideas)
    bench("recipe.py", *words)  # trains nothing again
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == len(ideas)


def test_learning_curves_are_recorded_once_each_whatever_stopped_the_command(tmp_path):
    out = tmp_path / "curves.csv"
    for points in (1, 3):
        bench("curves.py", "--points", points, "--images", 500, "--epochs", 2, "--out", out)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert sorted(int(row["point"]) for row in rows) == [0, 1, 2]
    for row in rows:
        assert 2 <= int(row["depth"]) <= 4
        assert all(0 <= float(row[key]) <= 1 for key in ("q1", "q2", "e1", "e2"))
        assert float(row["seconds"]) > 0
