"""A point of a finite space is tried once, and of a space without end every point is another."""

from __future__ import annotations

import pytest

from hpo.builtin.convnet import OBJECTIVE
from hpo.search.queue import Points
from hpo.search_space import SearchSpace

SMALL = {
    "depth": {"type": "int", "low": 1, "high": 6, "step": 2, "default": 3},
    "dropout": {"type": "float", "low": 0.0, "high": 0.3, "step": 0.1, "default": 0.1},
    "batch_size": {"type": "int", "low": 30, "high": 32, "log": True, "default": 32},
    "norm": {"choices": ["none", "batch"], "default": "batch"},
    "flip": {"choices": [True, False], "default": True},
    "lr": {"type": "float", "low": 0.1, "high": 0.1, "default": 0.1},
}
SIZE = 3 * 4 * 3 * 2 * 2


def test_all_points_of_a_finite_space_are_found_once_and_then_it_is_exhausted():
    space = SearchSpace.of("small", SMALL)
    points, found = Points(space), []
    for trial in range(SIZE):
        assert not points.exhausted
        found.append(points.new(space.default))
        points.add(found[-1], trial)
        assert points.trial_of(found[-1]) == trial
    assert points.exhausted
    assert len({str(point) for point in found}) == SIZE
    for point in found:
        space.point(point)  # each value is one of its parameter's
    assert points.new(space.default) == space.default


def test_the_nearest_new_point_is_one_step_away():
    space = SearchSpace.of("small", SMALL)
    points = Points(space)
    points.add(space.default, 0)
    assert points.new(space.default) == space.default | {"depth": 5}
    assert points.new(space.default | {"dropout": 0.0}) == space.default | {"dropout": 0.0}


def test_a_value_is_on_the_grid_however_it_was_rounded():
    space = SearchSpace.of("small", SMALL)
    points = Points(space)
    points.add(space.default | {"dropout": 0.1 + 0.2}, 7)
    assert points.trial_of(space.default | {"dropout": 0.3}) == 7


@pytest.mark.parametrize("name", ["basic", "wide", "tutorial"])
def test_a_space_with_a_real_number_has_no_end(name):
    space = OBJECTIVE.space(name)
    points = Points(space)
    points.add(space.default, 0)
    assert points.trial_of(space.default) == 0
    assert points.new(space.default) == space.default
    assert not points.exhausted


def test_a_grid_of_very_many_points_is_not_counted_out():
    space = SearchSpace.of("fine", {"lr": {"type": "float", "low": 0.0 + 1e-9, "high": 1.0, "step": 1e-12, "default": 1e-9}})
    points = Points(space)
    points.add(space.default, 0)
    assert points.new(space.default) != space.default


def test_a_space_in_which_nothing_varies_has_one_point():
    points = Points(SearchSpace.of("one", {"lr": 0.1}))
    assert points.new({}) == {}
    points.add({}, 0)
    assert points.exhausted
