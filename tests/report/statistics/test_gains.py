"""Simulated studies whose truth is known: the intervals hold it as often as they say. More of it in tests/bench/intervals.py."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest

from hpo.report.statistics import gains


@pytest.fixture
def simulated(monkeypatch):
    """The bench's simulation."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "bench")
    return importlib.import_module("intervals")


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.02], ids=["all equally good", "apart"])
def test_intervals_of_a_chosen_winner_hold_the_truth_as_often_as_they_say(simulated, spread):
    world = simulated.World(nets=50, images=1000, alike=0.6, spread=spread, accuracy=0.8)
    hits = simulated.simulate(world, 200)
    assert 0.91 <= hits.accuracy <= 0.99
    assert 0.91 <= hits.gain <= 0.99
    assert hits.gain_width < 0.75 * hits.gain_width_independent
    if not spread:
        assert hits.accuracy_naive < 0.85, "what ignores the choice fails, or the simulation says nothing"


def test_a_trial_that_is_called_as_good_is(simulated):
    wrong, called = simulated.wrongly_as_good(simulated.World(nets=20, alike=0.75, spread=0.003), 40)
    assert wrong <= 0.05
    assert called > 0.3


def test_without_answers_intervals_are_wider_and_never_narrower(simulated):
    import numpy as np

    world = simulated.World(nets=10, alike=0.75)
    rng = np.random.default_rng(0)
    right, _ = simulated.answers(world, simulated.qualities(world, rng), simulated.ease(world), rng)
    known, unknown = (simulated.study(right, known=known) for known in (True, False))
    assert gains.over(known, 0).paired
    assert not gains.over(unknown, 0).paired
    assert gains.over(unknown, 0).low < gains.over(known, 0).low
    assert gains.interval(unknown)[0] < gains.interval(known)[0]
    assert not gains.as_good(unknown, 1)
    assert math.isclose(gains.over(known, 0).points, gains.over(unknown, 0).points)
