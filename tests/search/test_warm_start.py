"""A new study tries first what was best in another one, as far as its own space can say it."""

from __future__ import annotations

import optuna
import pytest
from instant import FOUR, InstantPool, new_study, reopen, run

from hpo.builtin.convnet import OBJECTIVE
from hpo.builtin.recipe import LATEST
from hpo.errors import UsageError
from hpo.search.study import create
from hpo.search.warm_start import POINTS, warm_start
from hpo.search_space import SearchSpace
from hpo.settings import Settings
from hpo.store.definition import Definition, stored
from hpo.store.schema import distributions

BASIC = OBJECTIVE.space("basic")
ALIKE = Settings(dataset="digits", epochs=4)


def starting_points(name, location, space):
    return warm_start(name, location, OBJECTIVE, space, ALIKE).points


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
    new = create(finished.database, Definition("new", OBJECTIVE, settings, BASIC, starts=points))
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
    space = SearchSpace.of("other", {"momentum": {"type": "float", "low": 0.7, "high": 0.9, "default": 0.9}})
    with pytest.raises(UsageError, match=r"nothing to start from\. Leave out --warm-start old"):
        starting_points("old", finished.location, space)
    with pytest.raises(UsageError, match="no study 'odl'"):
        starting_points("odl", finished.location, BASIC)


def test_another_warm_start_than_the_study_was_made_with_is_another_setting(finished):
    before = stored(finished.database, "old")
    with pytest.raises(UsageError, match="warm_start = None, and you asked for 'first'"):
        before.check_same(OBJECTIVE, {"warm_start": "first"}, None)


def test_nothing_is_said_where_everything_carries_over(finished):
    assert warm_start("old", finished.location, OBJECTIVE, BASIC, ALIKE).left_out == []


def test_a_value_that_the_old_study_fixed_and_the_new_one_varies_is_taken_over(tmp_path):
    """What was best there was best with that value, and not with this space's default."""
    old = new_study(tmp_path / "hpo.db", "old", SearchSpace.of("old", FOUR | {"batch_size": 64}), pruner="none")
    run(old, trials=3)
    points, left_out = warm_start("old", old.location, OBJECTIVE, OBJECTIVE.space("wide"), ALIKE)
    assert {point["batch_size"] for point in points} == {64}
    assert left_out == []


def test_what_another_recipe_and_other_data_do_not_carry_over_is_left_out_and_said(tmp_path):
    recipe = {"batch_size": 64, "norm": "group", "lr": {"type": "float", "low": 5.0, "high": 9.0, "default": 6.0}}
    old = new_study(tmp_path / "hpo.db", "old", SearchSpace.of("old", FOUR | recipe), pruner="none", limit_train=500)
    run(old, trials=1)
    again = reopen(old)
    run(again, trials=2)
    again.note("recipe", 1)
    points, left_out = warm_start("old", old.location, OBJECTIVE, BASIC, Settings(score="validation"))
    assert {point["lr"] for point in points} == {BASIC.default["lr"]}
    scored, lost = left_out
    assert scored == (
        "study 'old' was run with dataset digits (here cifar10), score test (here validation), limit_train 500 (here all), "
        f"epochs 4 (here 10), recipe 1 (here {LATEST.version}): its points are tried here, "
        "its scores do not carry over."
    )
    assert lost.startswith("not taken over from study 'old', since space 'basic' has no such values: lr ")
    assert lost.endswith(" (here 0.01 to 0.5), norm group (here batch), batch_size 64 (here 0).")


def test_a_trial_of_another_program_is_no_point_to_start_from(finished):
    theirs = optuna.load_study(study_name="old", storage=finished.database.storage)
    theirs.add_trial(
        optuna.trial.create_trial(params=BASIC.default | {"lr": 0.4}, distributions=distributions(BASIC), value=99.0)
    )
    assert all(point["lr"] != 0.4 for point in starting_points("old", finished.location, BASIC))
