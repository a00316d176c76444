"""How often the report's 95 % intervals contain the truth: simulated studies whose nets' true accuracies are known.

    python tests/bench/intervals.py --studies 600

Answers are drawn per image: a net is right if the sum of its skill, the image's ease and its own luck is above zero (normal
numbers; the weight of the ease is set so that two nets' answers have the requested correlation). The best net is chosen as in
a study. The intervals of its accuracy on new images and of its gain over trial 0 are compared with the truth, and also
intervals that ignore the choice, and intervals that assume two trials to be independent.
"""

from __future__ import annotations

import argparse
import itertools
import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from hpo.builtin.convnet import OBJECTIVE
from hpo.report.statistics import gains, stats
from hpo.report.summary import Summary
from hpo.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator

NORMAL = NormalDist()
ACCURACY = 0.88


class World(NamedTuple):
    """The distribution from which studies are drawn.

    Attributes:
        spread: Standard deviation of the nets' true accuracies.
        alike: Correlation of two nets' answers over the images.
        shape: Of the true accuracies: `normal`; `tail`, exponential below the best possible; `two`, a third of the nets equal and
            the others two points worse; `halving`, of which few are trained to the end (see `survivors`).
    """

    nets: int = 50
    images: int = 10_000
    alike: float = 0.6
    spread: float = 0.0
    shape: str = "normal"
    accuracy: float = ACCURACY


def ease(world: World) -> float:
    """Return the share of an image's ease in the variance of an answer that gives the requested correlation."""
    at, p = NORMAL.inv_cdf(world.accuracy), world.accuracy
    z = np.linspace(-8, 8, 2001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])

    def correlation(share: float) -> float:
        right = np.array([NORMAL.cdf((at + math.sqrt(share) * x) / math.sqrt(1 - share)) for x in z])
        return float((density * right**2).sum() - p * p) / (p * (1 - p))

    low, high = 0.0, 0.999
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if correlation(middle) < world.alike else (low, middle)
    return low


def qualities(world: World, rng: Generator) -> np.ndarray:
    """Draw the nets' true accuracies."""
    if world.shape == "tail":
        drawn = world.accuracy - rng.exponential(world.spread, world.nets)
    elif world.shape == "two":
        drawn = world.accuracy - 0.02 * (rng.random(world.nets) < 2 / 3)
    else:
        drawn = rng.normal(world.accuracy, world.spread, world.nets)
    return np.clip(drawn, 0.02, 0.998)


def answers(world: World, true: np.ndarray, share: float, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the images that each net gets right at its end, and at the rungs of halving before it (R, nets, images)."""
    skill = np.array([NORMAL.inv_cdf(q) for q in true], dtype=np.float32)[:, None]
    common = rng.standard_normal(world.images, dtype=np.float32) * math.sqrt(share)
    own = rng.standard_normal((world.nets, world.images), dtype=np.float32)
    right = skill + common + math.sqrt(1 - share) * own > 0
    if world.shape != "halving":
        return right, np.empty(0)
    rungs = []
    for kept in KEPT:  # of what is a net's own, so much is the same at the end
        early = kept * own + math.sqrt(1 - kept**2) * rng.standard_normal(own.shape, dtype=np.float32)
        rungs.append(skill - 0.3 + common + math.sqrt(1 - share) * early > 0)
    return right, np.array(rungs)


KEPT = (0.3, 0.4, 0.5)  # after epochs 1, 2 and 4 of 10


def survivors(rungs: np.ndarray) -> list[int]:
    """Return the nets that halving trains to the end: the first net, and the best third at each rung."""
    left = list(range(1, rungs.shape[1]))
    for rung in rungs:
        score = rung.mean(axis=1)
        left = sorted(left, key=lambda net: -score[net])[: max(1, len(left) // 3)]
    return [0, *left]


def study(right: np.ndarray, known: bool = True) -> Summary:
    """Return the summary of a study whose complete trials have these answers; `known`: whether the answers are recorded."""
    value = right.mean(axis=1)
    table = pd.DataFrame({"state": "COMPLETE", "own": True, "value": value, "epochs": 10, "last": value})
    nothing = pd.DataFrame(index=table.index)
    about = {"settings": Settings().model_dump(), "space": {}, "environment": {"n_scored": right.shape[1]}, "recipe": None}
    about |= {"objective": OBJECTIVE}
    made = Summary(name="made", maximize=True, command="", trials=table, params=nothing, curves=nothing, **about)
    made._answers.update(dict(enumerate(right)) if known else dict.fromkeys(range(len(right))))
    return made


class Hits(NamedTuple):
    """Return whether the intervals of one study contain the truth, and their widths; NaN if trial 0 won."""

    accuracy: float
    accuracy_naive: float
    gain: float
    gain_naive: float
    gain_independent: float
    width: float
    width_naive: float
    gain_width: float
    gain_width_independent: float


def _row(world: World, share: float, rng: Generator) -> Hits:
    true = qualities(world, rng)
    right, rungs = answers(world, true, share, rng)
    if world.shape == "halving":
        chosen = survivors(rungs)
        true, right = true[chosen], right[chosen]
    made = study(right)
    best = made.best
    assert best is not None
    low, high = gains.interval(made)
    naive = stats.wilson(made.best_value, world.images)
    row = [low <= true[best] <= high, naive[0] <= true[best] <= naive[1]]
    if best == 0:
        return Hits(*row, *[math.nan] * 3, high - low, naive[1] - naive[0], *[math.nan] * 2)
    gain = gains.over(made, 0)
    middle, variance = stats.paired(int((right[best] & ~right[0]).sum()), int((right[0] & ~right[best]).sum()), world.images)
    half = stats.Z * math.sqrt(variance)
    apart = stats.difference(made.best_value, float(right[0].mean()), world.images)
    gained = true[best] - true[0]
    row += [gain.low <= gained <= gain.high, abs(gained - middle) <= half, apart[0] <= gained <= apart[1]]
    return Hits(*row, high - low, naive[1] - naive[0], gain.high - gain.low, apart[1] - apart[0])


def simulate(world: World, studies: int, seed: int = 0) -> Hits:
    """Return the mean of every column over a number of studies."""
    rng, share = np.random.default_rng(seed), ease(world)
    rows = np.array([_row(world, share, rng) for _ in range(studies)], dtype=float)
    return Hits(*np.nanmean(rows, axis=0).tolist())


def wrongly_as_good(world: World, studies: int, seed: int = 0) -> tuple[float, float]:
    """Return how often the first trial called as good as the winner is worse than the margin, and how often there is one."""
    rng, share = np.random.default_rng(seed), ease(world)
    wrong = called = 0
    for _ in range(studies):
        true = qualities(world, rng)
        made = study(answers(world, true, share, rng)[0])
        found = next((i for i in range(world.nets) if i != made.best and gains.as_good(made, i)), None)
        if found is not None:
            called += 1
            wrong += bool(true[made.best] - true[found] > gains.MARGIN)
    return wrong / studies, called / studies


def worlds() -> Iterator[World]:
    """Return the worlds of the table."""
    for alike, spread in itertools.product((0.6, 0.75), (0, 0.003, 0.01)):
        yield World(alike=alike, spread=spread)
    yield World(spread=0.01, shape="tail")
    yield World(shape="two")
    for spread in (0, 0.003, 0.01):
        yield World(spread=spread, shape="halving")
    for nets in (2, 4, 10):
        yield World(nets=nets)
    yield World(images=360, spread=0.003, accuracy=0.97)


def main() -> None:
    """Print the tables of intervals.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    print(*HEAD, sep="\n", flush=True)
    for world in worlds():
        hits = simulate(world, studies)
        cover = " | ".join(f"{100 * value:.1f}" for value in hits[:5])
        wide = " | ".join(f"{100 * value:.2f}" for value in hits[5:])
        what = f"{world.nets} | {world.images:,} | {world.alike:g} | {world.shape}, {100 * world.spread:g}"
        print(f"| {what} | {cover} | {wide} |", flush=True)
    for alike, spread in itertools.product((0.6, 0.75), (0.001, 0.003, 0.01)):
        wrong, called = wrongly_as_good(World(alike=alike, spread=spread), studies // 2)
        said = f"wrong {100 * wrong:.1f} %, said in {100 * called:.0f} %"
        print(f"as good, correlation {alike:g}, spread {100 * spread:g}: {said}", flush=True)


HEAD = (
    "| nets | images | correlation | qualities | accuracy | ignoring choice | gain | ignoring it | independent | widths | | | |",
    "|" + "---|" * 13,
)

if __name__ == "__main__":
    main()
