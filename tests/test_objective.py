"""An objective says what can be set, what it is scored by, and what of it a study stores."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import Field

from hpo.builtin import models
from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.builtin.recipe import steps
from hpo.errors import UsageError
from hpo.objective import of_study
from hpo.scoring.score import Score


class Younger(Config):
    rest: float = Field(0.5, ge=0, le=1, description="share of each image that is left out")


def test_a_new_knob_of_the_built_in_network_is_one_declaration(tmp_path):
    objective = dataclasses.replace(OBJECTIVE, knobs=Younger, before={**OBJECTIVE.before, "rest": 0.0})
    basic = objective.space("basic")
    assert basic.point()["rest"] == 0.5
    assert "rest = 0.5  # share of each image that is left out" in basic.to_toml(objective.described)
    path = tmp_path / "mine.toml"
    path.write_text("rest = { type = 'float', low = 0.0, high = 0.9, default = 0.1 }\n")
    assert Younger(**objective.space(str(path)).point({"rest": 0.3})).rest == 0.3
    older = OBJECTIVE.space("wide").model_dump(mode="json")
    assert objective.stored_space(older).point()["rest"] == 0.0


def test_every_knob_says_what_it_is():
    for objective in (OBJECTIVE, models.of_model("resnet18")):
        assert [name for name, what in objective.described.items() if not what] == []


@pytest.mark.parametrize(
    ("images", "batch_size", "batches"),
    [(60, 128, 1), (10_000, 128, 79), (12_800, 128, 100), (20_050, 200, 101), (50_000, 500, 100), (1_000_000, 500, 2000)],
)
def test_a_batch_size_of_0_is_a_hundredth_of_the_images_within_limits(images, batch_size, batches):
    config = Config(batch_size=0).on(images)
    assert config.batch_size == batch_size
    assert config == config.on(5 * images) == Config(batch_size=batch_size)
    assert steps({"batch_size": 0}, {"n_train": images}) == batches == steps({"batch_size": batch_size}, {"n_train": images})
    assert steps({"batch_size": 0}, {}) is None


@pytest.mark.parametrize(
    ("score", "value", "shown", "difference", "gained"),
    [
        (OBJECTIVE.score, 0.8412, "84.12%", 0.012, "+1.20 points"),
        (Score("height", "m"), 2391.26, "2391 m", -31.0, "-31 m"),
        (Score("reward"), -0.5, "-0.5", 0.25, "+0.25"),
    ],
)
def test_a_score_is_shown_with_its_unit(score, value, shown, difference, gained):
    assert (score.shown(value), score.gained(difference)) == (shown, gained)


@pytest.mark.parametrize(
    ("score", "possible", "impossible"),
    [
        (OBJECTIVE.score, (0.0, 0.5, 1.0), (-0.1, 1.1, float("nan"), float("inf"))),
        (Score("height", "m"), (-3.0, 2391.0), (float("nan"), float("-inf"))),
    ],
)
def test_a_score_is_a_finite_number_and_a_share_is_0_to_1(score, possible, impossible):
    assert all(score.allows(value) for value in possible)
    assert not any(score.allows(value) for value in impossible)


def test_a_study_tells_its_objective():
    assert of_study({}) is OBJECTIVE  # an older hpo stored none
    assert of_study({"objective": OBJECTIVE.stored}) is OBJECTIVE
    told = of_study({"objective": {"name": "hill", "score": "height", "unit": "m"}, "recipe": 3})
    assert (told.name, told.score, told.recipe, told.knobs) == ("hill", Score("height", "m"), 3, None)
    assert of_study({"objective": {"name": "x", "score": "loss", "direction": "minimize"}}).score == Score("loss", maximize=False)


@pytest.mark.parametrize("stored", [None, 3, "convnet", [], {}, {"name": 3}, {"name": "os.path"}, {"score": ["accuracy"]}])
def test_what_a_database_says_of_an_objective_loads_no_module(stored):
    of_study({"objective": stored})


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (0.0, r"--target = 0: the accuracy is greater than 0 and at most 1$"),
        (1.5, r"--target = 1.5: the accuracy is greater than 0 and at most 1$"),
        (93, r"--target = 93: the accuracy is greater than 0 and at most 1; write 0.93 or 93%"),
    ],
)
def test_a_target_that_no_share_can_be_is_refused(target, said):
    Score("height", "m").check(target)
    with pytest.raises(UsageError, match=said):
        OBJECTIVE.score.check(target)


def test_the_better_of_two_scores_has_the_smaller_penalty():
    loss, nan = Score("loss", maximize=False), float("nan")
    assert sorted((0.5, 0.9, 0.1), key=OBJECTIVE.score.penalty) == [0.9, 0.5, 0.1]
    assert sorted((0.5, 0.9, 0.1), key=loss.penalty) == [0.1, 0.5, 0.9]
    assert OBJECTIVE.score.penalty(nan) == loss.penalty(nan) == float("inf")
