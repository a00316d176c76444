"""How well a rung predicts the end, by the steps (batches) before it and the number of results that it compares.

    python tests/bench/rungs.py tests/data/curves.csv:125 digits.csv:12 cifar2000.csv:16

Each file was written by curves.py and is given with its steps per epoch. First table: Spearman's rank correlation of the
accuracy after a number of steps with the accuracy after the last epoch, with a 95 % bootstrap interval over points. Second
table: of n random points one in three continues, at least one; how often the point that would end best is among them, and the
mean loss in points. A point whose loss was not finite counts as accuracy 0.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

DRAWS = 4000
RESULTS = (2, 3, 4, 6, 9, 12)
EARLY = {"q1": 0.25, "q2": 0.5}


def read(path: Path, steps: float) -> dict[int, np.ndarray]:
    """Return accuracies by steps, (n_points,) each."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    epochs = [name for name in rows[0] if name[0] == "e" and name[1:].isdigit()]
    at = {name: round(share * steps) for name, share in EARLY.items()} | {name: round(int(name[1:]) * steps) for name in epochs}
    return {n: np.array([float(row[name] or 0) for row in rows]) for name, n in at.items()}


def correlation(early: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return Spearman's rank correlation and its interval."""
    draws = rng.integers(len(last), size=(500, len(last)))
    low, high = np.nanquantile([spearmanr(early[draw], last[draw])[0] for draw in draws], (0.025, 0.975))
    return spearmanr(early, last)[0], low, high


def kept(early: np.ndarray, last: np.ndarray, n: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return how often the best of n continues, and the mean loss of accuracy in points."""
    lost = []
    for _ in range(DRAWS):
        some = rng.choice(len(last), n, replace=False)
        go_on = some[np.argsort(-early[some], kind="stable")][: max(1, n // 3)]
        lost.append(last[some].max() - last[go_on].max())
    return float(np.mean(np.array(lost) == 0)), 100 * float(np.mean(lost))


def main() -> None:
    for argument in sys.argv[1:]:
        path, _, steps = argument.rpartition(":")
        curves, rng = read(Path(path), float(steps)), np.random.default_rng(0)
        last = curves[max(curves)]
        print(f"\n{path}: {len(last)} points, {steps} steps per epoch, {max(curves)} in all\n")
        print("| steps | median accuracy | rank correlation with the end | " + " | ".join(f"best of {n}" for n in RESULTS) + " |")
        print("|---|---|---|" + "---|" * len(RESULTS))
        for n_steps, early in list(curves.items())[:-1]:
            rho, low, high = correlation(early, last, rng)
            found = [kept(early, last, n, rng) for n in RESULTS]
            cells = " | ".join(f"{share:.0%}, {lost:.1f}" for share, lost in found)
            print(f"| {n_steps} | {np.median(early):.1%} | {rho:.2f} ({low:.2f} to {high:.2f}) | {cells} |")


if __name__ == "__main__":
    main()
