"""How far a score that counts classes may lie from its value on new images: by drawing the scored images again.

Balanced accuracy and macro-F1 are no shares of images, so that intervals for these do not hold. The bootstrap (Efron, Annals of
Statistics 1979) needs no other formula: the winner's answers are drawn anew, class by class, as many as there were of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpo.metrics import measured, of_counts
from hpo.report.artifacts import read_artifacts

if TYPE_CHECKING:
    from hpo.metrics import Integers
    from hpo.report.summary import Summary

RESAMPLES = 2_000
FEWEST = 10  # images of a class, for an interval: from fewer none is right
AGREES = 1e-6  # largest difference between the stored score and that of the stored answers


def interval(summary: Summary) -> tuple[float, float] | None:
    """Return the 95 % interval of the winner's score, where it counts classes and the winner's answers are known."""
    if not summary.counts_classes or summary.artifacts is None:
        return None
    scores = read_artifacts(summary.artifacts).scores
    if scores is None or abs(measured(summary.score_name, scores.labels, scores.predicted) - summary.best_value) > AGREES:
        return None
    counts = np.bincount(scores.labels)
    if counts[counts > 0].min() < FEWEST:
        return None
    low, high = resampled(summary.score_name, scores.labels, scores.predicted)
    return (low, high) if low < high else None  # all answers are right, or all are the same: drawing them again tells nothing


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
