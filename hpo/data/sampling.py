"""Choose images: subsets that contain every class and depend on the seed alone, on every machine and with every numpy.

numpy's newer generators may change their streams between versions; the legacy `RandomState` is frozen for good
(NEP 19). A study that is continued next year must use the same images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpo.errors import UsageError
from hpo.settings import N_VALIDATION

if TYPE_CHECKING:
    from hpo.data.arrays import DataSet, Indices, Labels, Split
    from hpo.settings import Settings


def take(labels: Labels, limit: int | None, seed: int) -> Indices:
    """Choose `limit` images, equally many of each class, to within one; all images of a class that has too few.

    A larger limit with the same seed keeps the images of a smaller one.

    Returns:
        (limit,) int64, sorted indices into `labels`; all of them if `limit` is None.

    Raises:
        UsageError: The limit is more than all images, or fewer than the classes.
    """
    if limit is None:
        return np.arange(len(labels), dtype=np.int64)
    classes, counts = np.unique(labels, return_counts=True)
    if limit > len(labels):
        raise UsageError(f"a limit of {limit:,} images is more than the {len(labels):,} images that there are.")
    if limit < len(classes):
        raise UsageError(f"a limit of {limit:,} images is too small: each of the {len(classes)} classes needs at least one.")
    return _choose(labels, _equal_quota(counts, limit), seed)


def hold_out(labels: Labels, n: int, seed: int) -> tuple[Indices, Indices]:
    """Separate `n` images from the others, the same fraction of every class.

    Returns:
        (kept, held out): sorted int64 indices; together they are all images.

    Raises:
        UsageError: `n` is less than 1, or all images.
    """
    if not 0 < n < len(labels):
        raise UsageError(f"cannot hold out {n:,} of {len(labels):,} images: between 1 and {len(labels) - 1:,} are possible.")
    _, counts = np.unique(labels, return_counts=True)
    held_out = _choose(labels, _proportional_quota(counts, n), seed)
    return np.setdiff1d(np.arange(len(labels), dtype=np.int64), held_out, assume_unique=True), held_out


def chosen(data: DataSet, settings: Settings) -> tuple[Indices, Split, Indices]:
    """Return which training images are trained on, the split that is scored, and which of its images are.

    Raises:
        UsageError: A limit does not fit the data.
    """
    train, score = data.train, data.test
    trained, scored = np.arange(len(train)), np.arange(len(score))
    if settings.score == "validation":
        score = train
        if data.n_validation:  # whoever made the data set has chosen them
            trained, scored = np.split(trained, [len(train) - data.n_validation])
        else:
            trained, scored = hold_out(train.labels, min(N_VALIDATION, len(train) // 10), settings.seed)
    trained = trained[take(train.labels[trained], settings.limit_train, settings.seed)]
    return trained, score, scored[take(score.labels[scored], settings.limit_test, settings.seed)]


def _choose(labels: Labels, quota: Indices, seed: int) -> Indices:
    """Choose `quota[i]` images of the i-th class at random; sorted indices."""
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    # Whole classes are shuffled, independently of the quota: so a small subset is part of a larger one.
    shuffled = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    return np.sort(np.concatenate([order[:n] for order, n in zip(shuffled, quota, strict=True)])).astype(np.int64)


def _equal_quota(counts: Indices, n: int) -> Indices:
    quota = np.zeros_like(counts)
    while left := n - int(quota.sum()):
        unfilled = np.flatnonzero(quota < counts)
        share = left // len(unfilled)
        if share:
            quota[unfilled] = np.minimum(quota[unfilled] + share, counts[unfilled])
        else:
            quota[unfilled[:left]] += 1
    return quota


def _proportional_quota(counts: Indices, n: int) -> Indices:
    quota, remainder = np.divmod(counts * n, counts.sum())
    largest = np.argsort(-remainder, kind="stable")[: n - int(quota.sum())]
    quota[largest] += 1
    return quota
