"""Do the intervals of finalists hold, and is the winner the best? Simulated on the recorded curves of curves.py.

    python tests/bench/finalists.py --studies 1000

A study draws 50 of the recorded points; what a point scores after its last epoch is taken for its true quality. One
training scores that plus the noise of its seed, of which `alike` is the same for all points that train with the seed. A
study's score is one training; its three best points and the first one (the default) are trained again with fresh seeds.
`unequal`: the spread of each point's seeds is drawn between half and twice the given one. Columns: how often the interval
of the mean of the study's best holds, all intervals of gains at once, and that of the study's optimism; how often the point
that is named is within 0.2 points of the best of the 50: by best of N alone, and by the finalists; by how much the study's
score is optimistic, in points.

The second table says why the comparisons share the error by Bonferroni: how often all gains hold at once with it, with
Dunnett's factor and pooled spreads, and with Dunnett's factor and own spreads; `noisy default`: its spread is three times
the others'.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from hpo.proof.intervals import estimate, quantile

TABLE = Path(__file__).parents[1] / "data" / "curves.csv"
TRIALS, TOP, EQUAL, ALIKE = 50, 3, 0.002, 0.3


def study(quality: np.ndarray, noise: float, seeds: int, unequal: bool, rng: np.random.Generator) -> list[float]:
    """Return the row of one simulated study."""
    true = rng.choice(quality, TRIALS, replace=False)
    spread = noise * (2 ** rng.uniform(-1, 1, TRIALS) if unequal else np.ones(TRIALS))
    score = true + spread * rng.standard_normal(TRIALS)
    order = [i for i in np.argsort(-score) if i][:TOP]
    chosen = [0, *order]
    shared = np.sqrt(ALIKE) * rng.standard_normal(seeds)
    own = np.sqrt(1 - ALIKE) * rng.standard_normal((len(chosen), seeds))
    trained = true[chosen][:, None] + spread[chosen][:, None] * (shared + own)
    winner = int(trained.mean(1).argmax())
    best = int(np.argmax(score))
    mean = estimate([*trained[chosen.index(order[0])]])  # any finalist that was chosen before these seeds were drawn
    gains = [estimate([*(trained[i] - trained[0])], TOP) for i in range(1, TOP + 1)]
    truth = [true[i] - true[0] for i in order]
    above = estimate([*(score[order[0]] - trained[1])])
    return [
        mean.low <= true[order[0]] <= mean.high,
        all(gain.low <= gained <= gain.high for gain, gained in zip(gains, truth, strict=True)),
        above.low <= score[order[0]] - true[order[0]] <= above.high,
        true[best] >= true.max() - EQUAL,
        true[chosen[winner]] >= true.max() - EQUAL,
        100 * (score[best] - true[best]),
        100 * (true[best] - true.max()),
        100 * (true[chosen[winner]] - true.max()),
    ]


def compared(others: int, seeds: int, default: float, rng: np.random.Generator, n: int = 20_000) -> list[float]:
    """Return how often all gains hold at once: Bonferroni, Dunnett pooled, Dunnett with own spreads."""
    spread = np.array([default, *[1.0] * others])[:, None]
    drawn = rng.standard_normal((n, others + 1, seeds)) * spread
    gain = drawn[:, 1:] - drawn[:, :1]
    own = np.abs(gain.mean(2) / (gain.std(2, ddof=1) / np.sqrt(seeds))).max(1)
    left = drawn - drawn.mean(2, keepdims=True) - drawn.mean(1, keepdims=True) + drawn.mean((1, 2), keepdims=True)
    pooled = np.abs(gain.mean(2)).max(1) / np.sqrt(2 * (left**2).sum((1, 2)) / (others * (seeds - 1)) / seeds)
    bonferroni = quantile(1 - 0.05 / (2 * others), seeds - 1)
    factors = [dunnett(others, others * (seeds - 1), rng), dunnett(others, seeds - 1, rng)]
    return [(own < bonferroni).mean(), (pooled < factors[0]).mean(), (own < factors[1]).mean()]


def dunnett(others: int, df: int, rng: np.random.Generator, n: int = 200_000) -> float:
    """Return Dunnett's factor for 95 %, drawn."""
    z = rng.standard_normal((n, others + 1))
    return float(np.quantile(np.abs(z[:, 1:] - z[:, :1]).max(1) / np.sqrt(2 * rng.chisquare(df, n) / df), 0.95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    n = parser.parse_args().studies
    with TABLE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["e10"]]
    quality = np.array([float(row["e10"]) for row in rows])
    print(
        "| seeds | noise, points | spreads | mean | all gains | optimism | best of N right | finalists right | optimism, points |"
    )
    print("|" + "---|" * 9)
    for seeds in (3, 5, 10):
        for noise in (0.003, 0.006, 0.012):
            for unequal in (False, True):
                rng = np.random.default_rng(seeds)
                means = np.mean([study(quality, noise, seeds, unequal, rng) for _ in range(n)], axis=0)
                held = " | ".join(f"{100 * value:.1f} %" for value in means[:5])
                name = "unequal" if unequal else "equal"
                print(f"| {seeds} | {100 * noise:g} | {name} | {held} | {means[5]:+.2f} |", flush=True)
    print("\n| gains | seeds | default | Bonferroni | Dunnett, pooled | Dunnett, own spreads |\n" + "|---" * 6 + "|")
    for others, seeds, default in ((3, 3, 1), (3, 5, 1), (8, 4, 1), (3, 3, 3), (3, 5, 3), (8, 4, 3)):
        held = " | ".join(f"{100 * value:.1f} %" for value in compared(others, seeds, default, np.random.default_rng(0)))
        print(f"| {others} | {seeds} | {'noisy' if default > 1 else 'as others'} | {held} |", flush=True)


if __name__ == "__main__":
    main()
