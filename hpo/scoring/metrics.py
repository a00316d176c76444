"""What a network's answers to the scored images are worth, by the name of the metric. No torch.

Accuracy counts images; balanced accuracy and macro-F1 count classes, each as much as every other. They are means over those
that have scored images: a class without one has no recall, and the number of classes is the same for all trials of a study.
That is scikit-learn's `balanced_accuracy_score`, and its `f1_score` with `average="macro"` and `labels=numpy.unique(labels)`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpo.settings import METRICS

Integers = npt.NDArray[np.int64]

ACCURACY, BALANCED, MACRO_F1 = METRICS


def measured(name: str, labels: Integers, predicted: Integers) -> float:
    """Return a metric, 0 to 1.

    Args:
        name: One of `METRICS`.
        labels: (N,) true classes; N is at least 1.
        predicted: (N,) classes that the network named.
    """
    n = int(max(labels.max(), predicted.max())) + 1
    there, named, right = (np.bincount(some, minlength=n) for some in (labels, predicted, labels[labels == predicted]))
    return float(of_counts(name, there, named, right))


def of_counts(name: str, there: Integers, named: Integers, right: Integers) -> npt.NDArray[np.float64]:
    """Return a metric from counts by class, (…, classes): images of it, images called so, and those of both."""
    if name == ACCURACY:
        return np.asarray(right.sum(-1) / there.sum(-1), dtype=np.float64)
    whole = there if name == BALANCED else (there + named) / 2
    shares = right / np.maximum(whole, 0.5)  # of a class that is neither there nor named: 0
    return np.asarray(shares.sum(-1, where=there > 0) / (there > 0).sum(-1), dtype=np.float64)
