"""The page says what trained weights bring: against training from scratch, image by image, and nothing where it is nothing."""

from __future__ import annotations

import made
import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution

from hpo.report import findings

SPACE = {"pretrained": CategoricalDistribution((True, False))}
STORED = {"name": "resnet18, pretrained", "kind": "model", "source": "resnet18", "weights": "pretrained"}
STORED |= {"score": "accuracy", "unit": "share"}


def said(begun, scratch, folder):
    """The finding of a study whose trials got these shares of 1,000 images right."""
    rng = np.random.default_rng(0)
    right = [rng.permutation(1000) < 1000 * share for share in (*begun, *scratch)]
    study = made.answered(right, folder)
    anew = made.study([], environment={"n_scored": 1000})
    for i, trial in enumerate(study.trials):
        params = {"pretrained": i < len(begun)}
        anew.add_trial(made.trial(i, accuracies=list(trial.intermediate_values.values()), params=params, space=SPACE))
    anew.set_user_attr("objective", STORED)
    found = findings.find(made.summarize(anew, folder))
    texts = [one.text.replace("\N{NO-BREAK SPACE}", " ") for one in found if one.topic == "weights"]
    return texts[0] if texts else ""


@pytest.mark.parametrize(
    ("begun", "scratch", "expected"),
    [
        (
            (0.9, 0.88),
            (0.6, 0.7),
            "bring +20.0 points over trial 3, the best network trained from scratch (70.00 %) (95 % ",
        ),
        ((0.702,), (0.7,), ": within noise."),
        (
            (0.6,),
            (0.7, 0.65),
            "bring nothing here: trial 0, the best that began with them, has 60.00 %, and",
        ),
        ((0.9, 0.88), (), ""),
    ],
)
def test_the_gain_of_trained_weights_is_that_over_the_best_network_from_scratch(begun, scratch, expected, tmp_path):
    text = said(begun, scratch, tmp_path)
    assert expected in text
    assert bool(expected) == bool(text)
