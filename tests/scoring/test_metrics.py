"""What answers are worth, compared with scikit-learn; and a study that is judged by it, from its first epoch to its page."""

import json
import warnings

import numpy as np
import pytest
from running import DIGITS, SHORT, Hpo
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from hpo.scoring.metrics import measured
from hpo.settings import METRICS, metric_of

THEIRS = {
    "accuracy": accuracy_score,
    "balanced-accuracy": balanced_accuracy_score,
    "macro-f1": lambda labels, predicted: f1_score(labels, predicted, average="macro", labels=np.unique(labels), zero_division=0),
}


def answers(random, n_classes, n):
    """Labels of classes of any frequencies, and answers that are right more or less often."""
    labels = random.choice(n_classes, n, p=random.dirichlet(np.full(n_classes, 0.5)))
    guessed = random.choice(n_classes, n, p=random.dirichlet(np.full(n_classes, 0.5)))
    return labels, np.where(random.random(n) < random.random(), labels, guessed)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_scikit_learns_on_any_answers(name):
    random = np.random.default_rng(0)
    for _ in range(300):  # small ones have classes without images, and classes that nobody names
        labels, predicted = answers(random, int(random.integers(2, 12)), int(random.integers(1, 60)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes that are named and have no images
            theirs = THEIRS[name](labels, predicted)
        assert measured(name, labels, predicted) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(
    ("predicted", "balanced", "f1"),
    [
        ([0, 0, 0, 0, 1, 2], 1.0, 1.0),
        ([0, 0, 0, 0, 0, 0], 1 / 3, (2 * 4 / 10) / 3),  # the majority's class for all: the others are never named
        ([0, 0, 0, 0, 1, 3], 2 / 3, 2 / 3),  # a class without images is named
        ([1, 1, 1, 1, 0, 0], 0.0, 0.0),
    ],
)
def test_each_class_that_has_images_counts_as_much_as_every_other(predicted, balanced, f1):
    labels = np.array([0, 0, 0, 0, 1, 2])
    assert measured("balanced-accuracy", labels, np.array(predicted)) == pytest.approx(balanced)
    assert measured("macro-f1", labels, np.array(predicted)) == pytest.approx(f1)


def test_balanced_accuracy_of_equally_many_images_of_each_class_is_the_accuracy():
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(10), 100)
    predicted = np.where(random.random(1000) < 0.8, labels, random.integers(0, 10, 1000))
    assert measured("balanced-accuracy", labels, predicted) == pytest.approx(measured("accuracy", labels, predicted), abs=1e-15)


@pytest.mark.parametrize("stored", [{}, None, {"metric": "accuracy"}, {"metric": 3}, {"metric": ["macro-f1"]}])
def test_settings_that_name_no_metric_mean_the_accuracy(stored):
    assert metric_of(stored) == "accuracy"


@pytest.mark.slow
def test_a_study_is_judged_by_the_metric_that_it_was_made_with_and_shows_it_under_its_name(tmp_path, cache):
    program = Hpo(tmp_path, cache)
    (tmp_path / "short.toml").write_text(SHORT)
    how = (*DIGITS, "--space", "short.toml", "--metric", "macro-f1", "--epochs", 2, "--workers", 1)
    assert program("run", "fair", *how, "--trials", 2).ended() == 0
    resumed = program("resume", "fair", "--trials", 3, "--target", "99.9%", "--no-report")  # without the metric's name
    assert resumed.ended() == 0
    record = program.study("fair")
    assert (record.score.name, record.attributes["settings"]["metric"]) == ("macro-f1", "macro-f1")
    assert record.attributes["objective"]["score"] == "macro-f1"
    assert record.study.metric_names == ["macro-f1"]
    with np.load(record.winner_folder / "scores.npz") as scores:
        labels, predicted = scores["labels"], scores["logits"].argmax(1)
    assert record.best.value == measured("macro-f1", labels, predicted)
    assert record.notes(record.best)["accuracy"][-1] == measured("accuracy", labels, predicted)
    for words in (("show", "fair"), ("trials", "fair"), ("show", "fair", "--trial", "0")):
        assert "macro-f1" in program(*words).out
    best = json.loads(program("trials", "fair", "--top", "1", "--format", "json").out)[0]
    assert (best["macro-f1"], best["accuracy"]) == (record.best.value, measured("accuracy", labels, predicted))
    refused = program("run", "fair", *DIGITS, "--metric", "accuracy", "--trials", 4)
    assert refused.ended() == 2
    assert "metric = 'macro-f1', and you asked for 'accuracy'" in refused.err
    program.close()


@pytest.mark.slow
def test_own_code_says_itself_what_counts(tmp_path, cache):
    program = Hpo(tmp_path, cache)
    assert program("new", "mine.py").ended() == 0
    refused = program("run", "--train", "mine.py:train", "--metric", "macro-f1")
    assert refused.ended() == 2
    assert "--metric is for hpo's own networks" in refused.err
    program.close()
