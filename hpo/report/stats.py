"""The few statistics that the findings rest on, each with its source.

Accuracies are fractions of `n` scored images. Two networks of a study see the same images, which makes their errors
alike; the intervals here ignore that (the trials' answers are not kept), so they are a little too wide, never too
narrow. None of them knows how much another training seed would move a score.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Z = 1.96  # two-sided 95 %
Floats = npt.NDArray[np.float64]


def wilson(accuracy: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy (Wilson, JASA 1927): inside 0..1 and honest near both ends."""
    centre = (accuracy + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(accuracy * (1 - accuracy) / n + Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def difference(first: float, second: float, n: int, n_second: int | None = None) -> tuple[float, float]:
    """Return the 95 % interval of `first - second` (Newcombe, Statistics in Medicine 1998, method 10)."""
    low_1, high_1 = wilson(first, n)
    low_2, high_2 = wilson(second, n_second or n)
    gain = first - second
    return gain - math.hypot(first - low_1, high_2 - second), gain + math.hypot(high_1 - first, second - low_2)


def within_noise(first: float, second: float, n: int) -> bool:
    """Say whether the interval of the difference holds zero."""
    low, high = difference(first, second, n)
    return low <= 0 <= high


def standard_error(accuracy: float, n: int) -> float:
    """Return the standard deviation of an accuracy that was counted on `n` images."""
    return math.sqrt(max(accuracy * (1 - accuracy), 1 / n) / n)


def expected_maximum(k: int) -> float:
    """Return the mean of the largest of `k` independent standard normal numbers: 0 for 1, 1.54 for 10, 2.25 for 50."""
    x = np.linspace(-8, 8, 4001)
    cumulative = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x]) ** k
    return float(((x[1:] + x[:-1]) / 2 * np.diff(cumulative)).sum())


def binomial_tail(hits: int, n: int, p: float) -> float:
    """Return the chance of at least `hits` successes in `n` trials of probability `p`."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(hits, n + 1))


def ranks(values: Floats) -> Floats:
    """Return ranks from 0, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[inverse], dtype=np.float64)


def spearman(first: Floats, second: Floats) -> float:
    """Return the rank correlation; NaN where one side does not vary."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def greater(first: Floats, second: Floats) -> float:
    """Return the one-sided p-value that `first` tends to be greater (Mann-Whitney U, normal approximation, no ties)."""
    n, m = len(first), len(second)
    if not n or not m:
        return 1.0
    u = float(ranks(np.concatenate([first, second]))[:n].sum()) - n * (n - 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return 0.5 * math.erfc(z / math.sqrt(2))


def pareto(cost: Floats, value: Floats) -> npt.NDArray[np.bool_]:
    """Mark the points that no cheaper or equally cheap point beats: the front of least cost and most value."""
    order = np.lexsort((-value, cost))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], value[order][:-1]]))
    front = np.zeros(len(cost), dtype=np.bool_)
    front[order] = value[order] > best
    return front
