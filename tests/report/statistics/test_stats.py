from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.report.statistics import stats


def test_wilson_gives_the_textbook_interval():
    # Newcombe 1998 (two-sided intervals for the single proportion), table I, method 3
    assert stats.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert stats.wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_difference_gives_the_textbook_interval():
    # Newcombe 1998 (interval estimation for the difference), table II, method 10
    assert stats.difference(56 / 70, 48 / 80, 70, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_difference_and_its_opposite_have_opposite_intervals(first, second):
    low, high = stats.difference(first / 50, second / 50, 50)
    assert stats.difference(second / 50, first / 50, 50) == pytest.approx((-high, -low))
    assert low <= (first - second) / 50 <= high


def test_a_paired_difference_is_agresti_and_mins():
    # Agresti and Min 2005, section 3: half an observation in each cell, then Wald's interval
    gain, variance = stats.paired(16, 5, 100)
    assert gain == pytest.approx((16.5 - 5.5) / 102)
    assert variance == pytest.approx(((16.5 + 5.5) - 11**2 / 102) / 102**2)
    assert stats.paired(0, 0, 100)[1] > 0, "two that never differ might differ on other images"


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_paired_difference_and_its_opposite_are_alike(better, worse):
    gain, variance = stats.paired(better, worse, 100)
    assert stats.paired(worse, better, 100) == pytest.approx((-gain, variance))


def test_noise_is_split_into_what_all_share_and_what_is_each_ones_own():
    rng = np.random.default_rng(0)
    ease, own = rng.random(20_000), rng.random((8, 20_000))
    shared, alone = stats.noise(np.where(own < 0.7, ease < 0.8, rng.random((8, 20_000)) < 0.8))  # seven in ten answers are common
    assert shared + alone == pytest.approx(0.16 / 20_000, rel=0.02)
    assert shared / (shared + alone) == pytest.approx(0.49, abs=0.03)
    assert stats.noise(np.ones((3, 50), dtype=bool))[1] > 0


def test_luck_is_all_of_a_lead_among_equals_and_none_of_one_that_is_far_ahead():
    rng = np.random.default_rng(1)
    equal = rng.normal(0.88, 0.002, 50)
    owed = stats.luck(equal, 0.002**2)
    assert 0.7 < owed.points / (equal.max() - 0.88) <= 1.0
    assert owed.left < 0.6 * 0.002**2
    far = np.append(equal, 0.95)
    assert stats.luck(far, 0.002**2) == (0.0, 0.002**2, 0.95, 0.0)
    assert stats.luck(np.array([0.5]), 1e-6).points == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(1e-12, 0.1))
def test_luck_never_takes_more_than_a_lead(values, own):
    owed = stats.luck(np.array(values), own)
    assert 0 <= owed.points <= max(values) - min(values)
    assert 0 <= owed.pull <= 1
    assert 0 < owed.left < 1


def test_spearman_shares_ranks_among_equals():
    # as scipy.stats.spearmanr has it
    assert stats.spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.9487, abs=1e-4)
    assert np.isnan(stats.spearman(np.array([1.0, 1]), np.array([1.0, 2])))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_the_front_is_what_no_cheaper_point_beats(points):
    cost, value = np.array(points, dtype=float).T
    front = stats.pareto(cost, value)
    for c, v, on_front in zip(cost, value, front, strict=True):
        beaten = ((cost <= c) & (value >= v) & ((cost < c) | (value > v))).any()
        assert on_front <= (not beaten)
        assert beaten or (front & (cost == c) & (value == v)).any()


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (0, 1), (3, 9), (40, 71), (400, 520), (1200, 1250)])
def test_mcnemars_test_is_the_exact_binomial_one(better, worse):
    n, fewer = better + worse, min(better, worse)
    expected = min(Fraction(1), 2 * Fraction(sum(comb(n, k) for k in range(fewer + 1)), 2**n))
    assert stats.mcnemar(better, worse) == pytest.approx(float(expected), rel=1e-6)
