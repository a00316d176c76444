"""Intervals of means: Student's quantiles are exact, and the intervals of several comparisons hold together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpo.proof.intervals import estimate, quantile


@pytest.mark.parametrize(
    ("df", "p", "table"),
    [(1, 0.975, 12.7062), (2, 0.975, 4.3027), (3, 0.9, 1.6377), (4, 0.975, 2.7764), (4, 0.995, 4.6041), (29, 0.975, 2.0452)],
)
def test_quantiles_are_those_of_the_tables(df, p, table):
    assert quantile(p, df) == pytest.approx(table, abs=5e-5)


def test_quantiles_are_scipys():
    stats = pytest.importorskip("scipy.stats")
    for df in (1, 2, 3, 4, 5, 9, 10, 31, 100):
        for p in (0.6, 0.975, 0.9999):
            assert quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-9)


def test_a_mean_has_students_interval():
    found = estimate([0.70, 0.72, 0.71])
    assert found.mean == pytest.approx(0.71)
    assert found.error == pytest.approx(0.01 / math.sqrt(3))
    assert found.high - found.mean == pytest.approx(4.3027 * 0.01 / math.sqrt(3), rel=1e-4)


def test_one_training_has_no_interval():
    assert estimate([0.7]) is None
    assert estimate([]) is None


def test_several_comparisons_share_the_error():
    values = [0.01, 0.02, 0.03, 0.02]
    assert estimate(values, 3).high > estimate(values).high
    assert estimate(values, 3).high - 0.02 == pytest.approx(quantile(1 - 0.05 / 6, 3) * estimate(values).error)


@pytest.mark.parametrize("spread", [(1, 1, 1, 1), (3, 1, 1, 1), (1, 0.5, 1, 3)])
def test_the_intervals_of_three_gains_hold_at_once_whichever_point_is_noisy(spread):
    rng, held, n = np.random.default_rng(0), 0, 1000
    for _ in range(n):
        drawn = rng.normal(0, 1, (4, 5)) * np.array(spread)[:, None] + rng.normal(0, 0.7, 5)
        gains = [estimate([*(drawn[i] - drawn[0])], 3) for i in (1, 2, 3)]
        held += all(gain.low <= 0 <= gain.high for gain in gains)
    assert 0.93 <= held / n <= 0.975
