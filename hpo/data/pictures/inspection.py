"""What a folder of pictures holds, without training: counts, sizes, what is broken, which pictures are equal or nearly so.

A copy on the other side makes a test result too good.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpo.data.pictures.decoding import read_journal
from hpo.data.pictures.source import Pictures, broken_of
from hpo.data.pictures.twins import near_pairs

if TYPE_CHECKING:
    from pathlib import Path

    from hpo.data.arrays import DataSet, OnProgress
    from hpo.data.pictures.listing import Broken


class Pair(NamedTuple):
    """Two pictures that are equal, or nearly: paths, and positions in the training and in the test split."""

    train: str
    test: str
    at: tuple[int, int]


@dataclass(frozen=True)
class Inspection:
    """What a folder holds.

    Attributes:
        counts: By class: pictures for training, for validation, for tests.
        sides: (N, 2) widths and heights of the pictures that can be used.
        broken: Pictures that cannot.
        passed_over: Files and folders that are no pictures.
        equal: Pictures for tests that are for training too, pixel by pixel.
        near: Those that have a nearly equal one there.
        repeated: How many pictures are copies of others on their own side.
        torn: How many different pictures belong to several classes.
    """

    counts: dict[str, tuple[int, int, int]]
    sides: np.ndarray
    broken: list[Broken]
    passed_over: list[str]
    equal: list[Pair]
    near: list[Pair]
    repeated: int
    torn: int

    @property
    def twins(self) -> list[tuple[int, int]]:
        """Positions in training and tests of pictures that are equal or nearly so."""
        return [pair.at for pair in (*self.equal, *self.near)]


def inspect(source: Pictures, data: DataSet, entry: Path, progress: OnProgress) -> Inspection:
    """Look at a folder whose pictures are in the cache.

    Args:
        source: The folder.
        data: Its pictures.
        entry: Where the cache has them.
        progress: Called while they are compared.
    """
    listing = source.listing
    rows = read_journal(entry, len(listing.files))
    digests = [str(row[0] or "") if row else "" for row in rows]
    train, test, n_validation = source.sides(digests)
    n_train = len(train) - n_validation
    labels = [data.train.labels[:n_train], data.train.labels[n_train:], data.test.labels]
    by_class = np.stack([np.bincount(part, minlength=len(data.classes)) for part in labels], 1)
    of_digest: dict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        if digest:
            of_digest[digest].append(position)
    place = {int(position): at for at, position in enumerate(train)}
    names = [name for name, _, _ in listing.files]
    equal = [
        Pair(names[twins[0]], names[position], (place[twins[0]], at))
        for at, position in enumerate(test)
        if (twins := [other for other in of_digest[digests[position]] if other in place])
    ]
    known = {pair.at[1] for pair in equal}
    near = [
        Pair(names[train[i]], names[test[j]], (i, j))
        for i, j in near_pairs(data.train.images, data.test.images, progress)
        if j not in known
    ]
    return Inspection(
        counts={name: (int(a), int(b), int(c)) for name, (a, b, c) in zip(data.classes, by_class, strict=True)},
        sides=np.array([row[1:] for row in rows if row and row[0]], np.int64),
        broken=broken_of(entry),
        passed_over=listing.passed_over,
        equal=equal,
        near=near,
        repeated=sum(len(twins) - 1 for twins in of_digest.values()) - len(equal),
        torn=sum(len({int(listing.labels[position]) for position in twins}) > 1 for twins in of_digest.values()),
    )
