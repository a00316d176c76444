"""Intervals of means and of shares. Pure Python: `hpo list` shows some, and nothing else here needs SciPy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

LEVEL = 0.95  # of all intervals, two-sided
Z = 1.96  # the normal quantile for it


class Estimate(NamedTuple):
    """A mean with its interval.

    Attributes:
        mean: Of the values.
        low, high: The interval.
        error: Standard error of the mean.
        n: Values.
    """

    mean: float
    low: float
    high: float
    error: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the mean can be told from zero."""
        return not self.low <= 0 <= self.high


def estimate(values: Sequence[float], comparisons: int = 1) -> Estimate | None:
    """Return the mean of values and its 95 % interval; None for fewer than two, of which there is none.

    Several comparisons share the 5 %: all of their intervals hold at once with 95 % (Bonferroni, the first step of Holm,
    Scandinavian Journal of Statistics 1979, and the one that comes with intervals). Each has the spread of its own values.
    Dunnett's narrower intervals pool the spreads of all groups: where the control's is larger, only 77 to 88 % of them hold,
    and with own spreads his factor is too small (tests/bench/finalists.md).
    """
    n = len(values)
    if n < 2:
        return None
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(n)
    half = quantile(1 - (1 - LEVEL) / (2 * comparisons), n - 1) * error
    return Estimate(mean, mean - half, mean + half, error, n)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, JASA 1927): inside 0..1, and valid near both ends."""
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


@cache
def quantile(p: float, df: int) -> float:
    """Return the value below which Student's t with `df` degrees of freedom is with probability `p`, from 0.5 to below 1."""
    low, high = 0.0, 1.0
    while _central(high, df) < 2 * p - 1:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _central(middle, df) < 2 * p - 1 else (low, middle)
    return high


def _central(t: float, df: int) -> float:
    """Return the probability of a value between -t and t (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(df))
    cosine, total, term, odd = math.cos(angle), 0.0, 1.0, df % 2
    for i in range(2 - odd, df + 1 - 2 * odd, 2):
        total += term * cosine ** (i if odd else i - 2)
        term *= (i + 1) / (i + 2) if odd else (i - 1) / i
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
