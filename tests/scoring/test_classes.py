"""What is said of rare classes, and which space is chosen for the images of a study that names none."""

import pytest

from hpo.builtin.convnet import OBJECTIVE
from hpo.runner import session
from hpo.scoring.classes import advice, of_environment

OWLS = {"classes": ["owl", "wren"], "class_counts": {"train": [10, 48], "scored": [2, 6]}}
EQUAL = OWLS | {"class_counts": {"train": [30, 31], "scored": [6, 6]}}


def test_classes_of_unequal_frequency_are_named_with_what_guessing_is_worth():
    said = advice(of_environment(OWLS), "accuracy")
    assert "from 10 (owl) to 48 (wren) training images per class" in said
    assert "75.0%" in said
    assert "--metric balanced-accuracy" in said
    assert "by macro-f1 each counts as much" in advice(of_environment(OWLS), "macro-f1")
    assert advice(of_environment(EQUAL), "accuracy") == ""


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"classes": ["owl", "wren"]},
        OWLS | {"classes": "owls"},
        OWLS | {"class_counts": [1, 2]},
        OWLS | {"class_counts": {"train": [10, 48]}},
        OWLS | {"class_counts": {"train": [10], "scored": [2, 6]}},
        OWLS | {"class_counts": {"train": [10, -1], "scored": [2, 6]}},
        OWLS | {"class_counts": {"train": [10, True], "scored": [2, 6]}},
        OWLS | {"class_counts": {"train": [10, 48], "scored": [0, 0]}},
    ],
)
def test_what_an_older_hpo_or_somebody_else_has_noted_says_nothing(odd):
    assert of_environment(odd) is None


@pytest.mark.parametrize(
    ("edge", "metric", "counts", "name", "weighs"),
    [
        (32, "accuracy", OWLS, "basic", False),
        (63, "accuracy", OWLS, "basic", False),
        (64, "accuracy", OWLS, "photos", False),  # the accuracy counts images
        (64, "macro-f1", OWLS, "photos", True),
        (32, "balanced-accuracy", OWLS, "basic", True),
        (224, "balanced-accuracy", EQUAL, "photos", False),
        (None, "accuracy", {}, "basic", False),
    ],
)
def test_large_images_are_searched_as_photographs_and_rare_classes_weigh_where_classes_count(edge, metric, counts, name, weighs):
    objective = OBJECTIVE.judged_by(metric)
    space = objective.default_space(counts | {"image_size": edge})
    assert space.name == name
    assert ("class_weights" in space.varied) == weighs
    assert objective.whole(space) == space  # a parameter for each knob
    assert {"crop", "jitter"} <= space.varied.keys() or name == "basic"


@pytest.mark.parametrize(
    ("device", "n_train", "edge", "name"),
    [
        ("cpu", 50_000, 32, "basic"),
        ("NVIDIA H100", 50_000, 32, "large"),
        ("NVIDIA H100", 45_000, 28, "large"),
        ("NVIDIA H100", 1_437, 8, "basic"),  # of its batches an epoch would have one
        ("NVIDIA H100", 50_000, 96, "photos"),
    ],
)
def test_a_gpu_searches_larger_networks_where_there_are_images_for_their_batches(device, n_train, edge, name):
    assert OBJECTIVE.default_space({"device": device, "n_train": n_train, "image_size": edge}).name == name


@pytest.mark.parametrize(("device", "name"), [("cpu", "basic"), ("cuda:0", "large")])
def test_the_space_that_hpo_chose_is_said_first_whichever_it_is(device, name):
    environment = {"device": device, "n_train": 50_000, "image_size": 32}
    said = session._told(OBJECTIVE.default_space(environment), OBJECTIVE, environment)
    assert [line.partition(", ")[0] for line in said] == [f"space {name}"]
    assert session._told(None, OBJECTIVE, environment) == []  # the user named it, or an earlier run said it
