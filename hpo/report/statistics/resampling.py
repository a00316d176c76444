"""How far a score that counts classes may lie from its value on new images: by drawing the scored images again.

Balanced accuracy and macro-F1 are no shares of images, so that intervals for these do not hold. The bootstrap (Efron, Annals of
Statistics 1979) needs no other formula: the winner's answers are drawn anew, class by class, as many as there were of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpo.report.artifacts import read_artifacts
from hpo.scoring import correct
from hpo.scoring.metrics import BALANCED, measured, of_counts

if TYPE_CHECKING:
    from hpo.report.artifacts import Scores
    from hpo.report.summary import Summary
    from hpo.scoring.correct import Bits
    from hpo.scoring.metrics import Integers

RESAMPLES = 2_000
MIN_IMAGES = 10  # images of a class, for an interval: from fewer none is right
AGREES = 1e-6  # largest difference between the stored score and that of the stored answers


def interval(summary: Summary) -> tuple[float, float] | None:
    """Return the 95 % interval of the winner's score, where it counts classes and the winner's answers are known."""
    scores = _answers(summary)
    if scores is None:
        return None
    low, high = resampled(summary.score_name, scores.labels, scores.predicted)
    return (low, high) if low < high else None  # all answers are right, or all are the same: drawing them again tells nothing


def gain(summary: Summary, other: int) -> tuple[float, float] | None:
    """Return the 95 % interval of what the winner gains over another trial on the same images.

    Only by balanced accuracy: of other trials it is stored which images they got right, and not, as macro-F1 needs, what they
    took the others for.
    """
    scores = _answers(summary)
    if scores is None or summary.score_name != BALANCED or summary.folder is None:
        return None
    labels = scores.labels
    right = correct.read(summary.folder / correct.FOLDER / correct.name(other), len(labels), None)
    if right is None or abs(_recall(labels, right) - float(summary.trials["value"][other])) > AGREES:
        return None
    low, high = resampled_gain(labels, scores.predicted == labels, right)
    return (low, high) if low < high else None


def _answers(summary: Summary) -> Scores | None:
    """Return the winner's answers, where its score counts classes, is that of these answers, and no class is too rare."""
    if not summary.counts_classes or summary.artifacts is None:
        return None
    scores = read_artifacts(summary.artifacts).scores
    if scores is None or abs(measured(summary.score_name, scores.labels, scores.predicted) - summary.best_value) > AGREES:
        return None
    counts = np.bincount(scores.labels)
    return scores if counts[counts > 0].min() >= MIN_IMAGES else None


def _recall(labels: Integers, right: Bits) -> float:
    there = np.bincount(labels)
    return float(of_counts(BALANCED, there, there, np.bincount(labels[right], minlength=len(there))))


def resampled(metric: str, labels: Integers, predicted: Integers, n: int = RESAMPLES) -> tuple[float, float]:
    """Return the middle 95 % of a metric over `n` samples of the images, each with as many images of each class."""
    random = np.random.default_rng(0)
    there = np.bincount(labels, minlength=int(predicted.max()) + 1)
    named, right = np.zeros((2, n, len(there)), dtype=np.int64)
    for label in np.flatnonzero(there):
        called, times = np.unique(predicted[labels == label], return_counts=True)
        drawn = random.multinomial(there[label], times / there[label], n)  # (n, classes that it was called)
        named[:, called] += drawn
        right[:, label] = drawn[:, called == label].sum(1)
    low, high = np.quantile(of_counts(metric, there, named, right), (0.025, 0.975))
    return float(low), float(high)


def resampled_gain(labels: Integers, first: Bits, second: Bits, n: int = RESAMPLES) -> tuple[float, float]:
    """Return the middle 95 % of a difference in balanced accuracy over `n` samples of the images; `first` less `second`."""
    random, there = np.random.default_rng(0), np.bincount(labels)
    gained = np.zeros(n)
    for label in np.flatnonzero(there):
        better, worse = (int((one & ~other)[labels == label].sum()) for one, other in ((first, second), (second, first)))
        shares = np.array([better, worse, there[label] - better - worse]) / there[label]
        drawn = random.multinomial(there[label], shares, n)  # (n, right by the first alone, by the second alone, by both or none)
        gained += (drawn[:, 0] - drawn[:, 1]) / there[label]
    low, high = np.quantile(gained / (there > 0).sum(), (0.025, 0.975))
    return float(low), float(high)
