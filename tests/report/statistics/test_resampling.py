"""Intervals of scores that count classes: by resampling, with their coverage; and what the page then says."""

import made
import numpy as np
import pytest

from hpo.report.findings import find
from hpo.report.statistics import gains
from hpo.report.statistics.resampling import resampled, resampled_gain
from hpo.report.summary import summarize
from hpo.scoring import correct
from hpo.scoring.metrics import measured

COUNTS = np.array([300, 100, 40])
SPACE = {"name": "basic", "parameters": {"kernel": {"value": 3}}}
CONFUSED = np.array([[0.9, 0.07, 0.03], [0.15, 0.8, 0.05], [0.3, 0.1, 0.6]])


def answers(random, counts=COUNTS):
    labels = np.repeat(np.arange(3), counts)
    return labels, np.concatenate([random.choice(3, n, p=p) for n, p in zip(counts, CONFUSED, strict=True)])


@pytest.mark.parametrize("metric", ["balanced-accuracy", "macro-f1"])
def test_the_interval_holds_the_score_on_new_images_in_about_95_of_100_cases(metric):
    true = measured(metric, *answers(np.random.default_rng(99), 400 * COUNTS))
    held = 0
    for seed in range(300):
        low, high = resampled(metric, *answers(np.random.default_rng(seed)), n=400)
        held += low <= true <= high
    assert 0.91 <= held / 300 <= 0.98


def test_the_interval_of_a_gain_holds_that_on_new_images_in_about_95_of_100_cases():
    def right(seed, counts=COUNTS):
        random = np.random.default_rng(seed)
        labels, first = answers(random, counts)
        second = np.where(random.random(len(labels)) < 0.8, first, answers(random, counts)[1])  # they err on the same images
        return labels, first == labels, second == labels

    def gained(labels, first, second):
        return np.mean([first[labels == label].mean() - second[labels == label].mean() for label in range(3)])

    true = gained(*right(99, 400 * COUNTS))
    ends = [resampled_gain(*right(seed), n=400) for seed in range(300)]
    assert 0.91 <= np.mean([low <= true <= high for low, high in ends]) <= 0.98
    alone = [resampled("balanced-accuracy", *answers(np.random.default_rng(seed)), n=400) for seed in range(20)]
    assert np.mean([high - low for low, high in ends]) < 0.8 * np.mean([high - low for low, high in alone])


def test_the_gain_over_the_default_point_by_balanced_accuracy_is_that_on_the_same_images(tmp_path):
    rng = np.random.default_rng(1)
    labels, predicted = answers(rng, np.array([400, 100, 40]))
    default = measured("balanced-accuracy", labels, predicted)
    record, best = judged(tmp_path, default=default)
    assert "against" in said(record)["winner"].text  # nobody knows which images the default point got right
    folder = tmp_path / "study" / correct.FOLDER
    folder.mkdir(parents=True)
    correct.write(folder / correct.name(0), predicted == labels)
    record.__dict__["folder"] = tmp_path / "study"
    gain = gains.over(summarize(record), 0)
    assert gain.points == best - default
    assert gain.low < gain.points < gain.high
    text = said(record)["winner"].text.replace("\N{NO-BREAK SPACE}", " ")
    assert "over trial 0, the default point (95 % interval" in text
    correct.write(folder / correct.name(0), np.ones(len(labels), dtype=bool))  # of another epoch
    assert gains.over(summarize(record), 0) is None


def judged(tmp_path, metric="balanced-accuracy", n=400, default=0.5):
    """A study of three trials, whose best has these answers."""
    rng = np.random.default_rng(0)
    labels, predicted = answers(rng, np.array([n, n // 4, n // 10]))
    logits = np.full((len(labels), 3), -2.0, np.float32)
    logits[np.arange(len(labels)), predicted] = 2
    pictures = np.zeros((1, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "scores.npz", logits=logits, labels=labels, pictures=pictures, picture_indices=[0])
    best = measured(metric, labels, predicted)
    trials = [made.trial(i, accuracies=made.curve(value), accuracy=[0.5, 0.9]) for i, value in enumerate([default, best, 0.4])]
    counts = {"train": [4 * n, n, n // 2], "scored": [n, n // 4, n // 10]}
    about = {"classes": ["owl", "wren", "tit"], "class_counts": counts, "n_scored": len(labels)}
    study = made.study(trials, settings={"metric": metric, "dataset": "cifar10"}, environment=about, space=SPACE)
    return made.record(study, artifacts=tmp_path), best


def said(record):
    return {finding.topic: finding for finding in find(summarize(record))}


@pytest.mark.parametrize("metric", ["balanced-accuracy", "macro-f1"])
def test_what_assumes_that_images_are_counted_is_absent_and_the_interval_is_resampled(tmp_path, metric):
    record, best = judged(tmp_path, metric)
    summary, found = summarize(record), said(record)
    assert summary.n_scored is None
    assert summary.choice is None
    low, high = summary.resampled
    assert low < best < high
    text = found["winner"].text.replace("\N{NO-BREAK SPACE}", " ")
    assert f"95 % interval {100 * low:.1f} % to {100 * high:.1f} %" in text
    assert "against 50.00 % of trial 0" in text
    assert "Bootstrap" in found["winner"].basis
    assert "does not account for the selection" in found["winner"].basis
    assert "Wilson" not in found["winner"].basis
    assert f"so its {metric} is optimistic" in found["optimism"].text
    assert not {"tutorial", "size", "time", "progress"} & found.keys()
    assert "from 200 (tit) to 1,600 (owl) training images per class" in found["classes"].text
    page = tmp_path / "page.html"
    made.report.write_report(record, page)
    text = page.read_text()
    assert metric in text
    assert f"--metric {metric}" in text  # how to train the winner again


def test_by_accuracy_the_most_frequent_class_is_said_as_what_guessing_is_worth(tmp_path):
    record, _ = judged(tmp_path)
    record.attributes["settings"]["metric"] = "accuracy"
    record.__dict__.pop("objective", None)
    assert "an accuracy of 74.1" in said(record)["classes"].text


def test_a_class_of_a_few_scored_images_or_other_answers_have_no_interval(tmp_path):
    record, _ = judged(tmp_path, n=90)
    assert summarize(record).resampled is None
    assert "interval" not in said(record)["winner"].text
    (tmp_path / "other").mkdir()
    record, _ = judged(tmp_path / "other")
    made.artifacts(tmp_path / "other", classes=3)
    assert summarize(record).resampled is None


@pytest.mark.parametrize("answer", ["right", "the same"])
def test_answers_that_are_all_right_or_all_the_same_have_no_interval(tmp_path, monkeypatch, answer):
    def alike(_random, counts):
        labels = np.repeat(np.arange(3), counts)
        return labels, labels if answer == "right" else np.zeros_like(labels)

    monkeypatch.setitem(globals(), "answers", alike)
    record, _ = judged(tmp_path)
    assert summarize(record).resampled is None
    assert "interval" not in said(record)["winner"].text
