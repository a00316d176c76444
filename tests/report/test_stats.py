import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.report import stats


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


@pytest.mark.parametrize(("k", "mean"), [(1, 0.0), (2, 0.5642), (10, 1.5388), (50, 2.2491)])
def test_expected_maximum_is_that_of_normal_order_statistics(k, mean):
    assert stats.expected_maximum(k) == pytest.approx(mean, abs=1e-3)


def test_spearman_shares_ranks_among_equals():
    # as scipy.stats.spearmanr has it
    assert stats.spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.9487, abs=1e-4)
    assert np.isnan(stats.spearman(np.array([1.0, 1]), np.array([1.0, 2])))


def test_mann_whitney_knows_the_greater_side():
    low, high = np.arange(10.0), np.arange(10.0) + 20
    assert stats.greater(high, low) < 1e-3
    assert stats.greater(low, high) > 0.999
    assert stats.greater(low, low) == pytest.approx(0.5)
    assert stats.greater(np.array([]), low) == 1.0


def test_binomial_tail_is_exact():
    assert stats.binomial_tail(0, 5, 0.1) == pytest.approx(1)
    assert stats.binomial_tail(5, 5, 0.1) == pytest.approx(1e-5)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_the_front_is_what_no_cheaper_point_beats(points):
    cost, value = np.array(points, dtype=float).T
    front = stats.pareto(cost, value)
    for c, v, on_front in zip(cost, value, front, strict=True):
        beaten = ((cost <= c) & (value >= v) & ((cost < c) | (value > v))).any()
        assert on_front <= (not beaten)
        assert beaten or (front & (cost == c) & (value == v)).any()
