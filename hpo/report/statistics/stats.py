"""The statistics that the findings use, each with its source.

Accuracies are fractions of `n` scored images. Two networks of a study are scored on the same images, and their mistakes overlap.
`paired` compares them where these are known (hpo/scoring/correct.py); `difference` assumes independence, and its interval is
about twice as wide. None of these includes the effect of another training seed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpo.proof import intervals

Z, wilson = intervals.Z, intervals.wilson
WINDOW = 8.0  # standard deviations of a trial's own noise; trials further below the best are ignored
Floats = npt.NDArray[np.float64]


def difference(first: float, second: float, n: int, n_second: int | None = None) -> tuple[float, float]:
    """Return the 95 % interval of `first - second` (Newcombe, Statistics in Medicine 1998, method 10)."""
    low_1, high_1 = wilson(first, n)
    low_2, high_2 = wilson(second, n_second or n)
    gain = first - second
    return gain - math.hypot(first - low_1, high_2 - second), gain + math.hypot(high_1 - first, second - low_2)


def paired(better: int, worse: int, n: int) -> tuple[float, float]:
    """Return difference and variance of two accuracies on the same `n` images, from the images that only one got right.

    Agresti and Min, Statistics in Medicine 2005: half an image is added to each of the four cells. Of the usual intervals it is
    the narrowest whose coverage is 95 % on few images, too (tests/bench/intervals.md).
    """
    gain = (better - worse) / (n + 2)
    return gain, ((better + worse + 1) / (n + 2) - gain**2) / (n + 2)


def mcnemar(better: int, worse: int) -> float:
    """Return how probable a difference as large is by chance, of two networks that are equally good.

    Exact and two-sided, from the images that only one got right (McNemar, Psychometrika 1947).
    """
    n, fewer = better + worse, min(better, worse)
    if better == worse:
        return 1.0
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def noise(correct: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the variance of an accuracy that all networks share (due to the sample of images), and each network's own.

    Args:
        correct: (M, n), which of n images each of M networks got right; M is at least 2.
    """
    m, n = correct.shape
    rate = correct.mean(axis=1)
    each = float((rate * (1 - rate)).sum())
    together = float(correct.sum(axis=0, dtype=np.int64).var())
    shared = (together - each) / (m * (m - 1))  # mean covariance of two networks' answers
    return max(shared, 0.0) / n, max(each / m - shared, 0.5 / n) / n


class Luck(NamedTuple):
    """How the selection affects the largest value.

    Attributes:
        points: By how much it is probably too high.
        left: Remaining variance of its noise.
        centre: The value to which values regress: the median of those near the top.
        pull: By which part of their distance they regress: 1 if all are equally good, 0 if noise is small compared with the
            differences between them.
    """

    points: float
    left: float
    centre: float
    pull: float


def luck(values: Floats, own: float) -> Luck:
    """Estimate how much of the largest of `values` is due to chance.

    A hierarchical model: true qualities are normal with unknown spread, and each value has additional noise of variance `own`.
    The spread is integrated out (half-Cauchy prior at the scale of the noise; Gelman, Bayesian Analysis 2006). Searches have long
    lower tails, and values far below the best carry no information about the top: only values within `WINDOW` standard deviations
    of the noise are used, and of these the upper half around their median. Simulated coverage: tests/bench/intervals.md.
    """
    best, sd = float(values.max()), math.sqrt(own)
    near = values[values >= best - WINDOW * sd]
    centre = float(np.median(near))
    above = near[near > centre]
    if not len(above):
        return Luck(0.0, own, centre, 0.0)
    spread = sd * np.concatenate([[0.0], np.geomspace(0.05, 100, 80)])
    total = own + spread**2
    likely = -len(above) / 2 * np.log(total) - float(((above - centre) ** 2).sum()) / (2 * total) - np.log1p((spread / sd) ** 2)
    weight = np.exp(likely - likely.max()) * np.gradient(spread)
    weight /= weight.sum()
    pulled = own / total  # part of the distance to the centre: 1 if there is no spread
    shift = pulled * (best - centre)
    left = (1 - pulled) * own + pulled**2 * total * math.pi / (2 * len(near))
    mean = float(weight @ shift)
    return Luck(mean, float(weight @ (left + (shift - mean) ** 2)), centre, float(weight @ pulled))


def standard_error(accuracy: float, n: int) -> float:
    """Return the standard deviation of an accuracy that was measured on `n` images."""
    return math.sqrt(max(accuracy * (1 - accuracy), 1 / n) / n)


def ranks(values: Floats) -> Floats:
    """Return ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[inverse], dtype=np.float64)


def spearman(first: Floats, second: Floats) -> float:
    """Return the rank correlation; NaN where one side does not vary."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def pareto(cost: Floats, value: Floats) -> npt.NDArray[np.bool_]:
    """Mark the points for which no other point has at most the same cost and a higher value: the Pareto front."""
    order = np.lexsort((-value, cost))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], value[order][:-1]]))
    front = np.zeros(len(cost), dtype=np.bool_)
    front[order] = value[order] > best
    return front
