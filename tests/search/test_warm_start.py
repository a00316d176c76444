"""A new study tries first what was best in another one, as far as its own space can say it."""

from __future__ import annotations

import pytest
from instant import InstantPool, new_study, reopen, run

from hpo.errors import UsageError
from hpo.search import definition
from hpo.search.warm_start import POINTS, starting_points
from hpo.settings import Settings
from hpo.space import SearchSpace

BASIC = SearchSpace.named("basic")


@pytest.fixture
def finished(tmp_path):
    """A study of ten complete trials."""
    old = new_study(tmp_path / "hpo.db", "old", pruner="none")
    run(old, trials=10)
    return old


def test_best_configurations_come_first_and_the_default_point_is_not_among_them(finished):
    points = starting_points("old", finished.location, BASIC)
    ranked = sorted(finished.trials, key=lambda t: -t.value)
    expected = [t.params for t in ranked if t.params != BASIC.default]
    assert points == expected[:POINTS]


def test_trial_0_is_the_default_point_and_the_next_are_those_that_were_handed_over(finished):
    points = starting_points("old", finished.location, BASIC)
    settings = Settings(dataset="digits", epochs=4, warm_start="old")
    new = definition.create(finished._record, finished.location, "new", settings, BASIC, {}, "hpo run", points)
    run(new, trials=2)
    run(reopen(new), trials=8, pool=InstantPool(epochs=4))  # continued, it goes on where it was
    tried = [t.params for t in reopen(new).trials]
    assert tried[: POINTS + 1] == [BASIC.default, *points]
    assert len({str(t) for t in tried}) == 8


def test_what_the_new_space_cannot_express_takes_its_default(finished):
    narrow = SearchSpace.of("narrow", {"lr": {"type": "float", "low": 0.2, "high": 5.0, "log": True, "default": 1.0}, "depth": 2})
    for point in starting_points("old", finished.location, narrow):
        assert point.keys() == {"lr"}
        assert narrow.parameters["lr"].holds(point["lr"])


def test_a_study_that_says_nothing_about_the_space_is_refused_with_the_way_out(finished):
    space = SearchSpace.of("other", {"momentum": {"type": "float", "low": 0.5, "high": 0.9, "default": 0.9}})
    with pytest.raises(UsageError, match=r"nothing to start from\. Leave out --warm-start old"):
        starting_points("old", finished.location, space)
    with pytest.raises(UsageError, match="no study 'odl'"):
        starting_points("odl", finished.location, BASIC)


def test_another_warm_start_than_the_study_was_made_with_is_another_setting(finished):
    before = definition.stored(finished._record, finished.location, "old")
    with pytest.raises(UsageError, match="warm_start = None, and you asked for 'first'"):
        definition.check_same("old", before, {"warm_start": "first"}, None)
