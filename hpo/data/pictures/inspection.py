"""What a folder of pictures holds, without training: counts, sizes, what is broken, which pictures are equal or nearly so.

Nearly equal are pictures with the same outline at 8x8 points (difference hash, 64 bits, at most `NEAR` of them different) and
with the same grey values there, to within `ALIKE`. A copy on the other side makes a test result too good.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpo.data.pictures.decoding import read_journal
from hpo.data.pictures.source import Pictures, broken_of

if TYPE_CHECKING:
    from pathlib import Path

    from hpo.data.arrays import DataSet, Pixels
    from hpo.data.pictures.listing import Broken

NEAR = 10  # of 64 bits: of 2,000 of CIFAR-10's test images 45 have such a twin, each in its own class
ALIKE = 12.0  # grey levels of 255, on average
MOST = 4_000_000_000  # pairs that are compared; of more pictures a part is


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


def inspect(source: Pictures, data: DataSet, entry: Path) -> Inspection:
    """Look at a folder whose pictures are in the cache.

    Args:
        source: The folder.
        data: Its pictures.
        entry: Where the cache has them.
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
        for i, j in near_pairs(data.train.images, data.test.images)
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


def near_pairs(train: Pixels, test: Pixels) -> list[tuple[int, int]]:
    """Return, for each test image that has a near twin among the training images, the positions of both."""
    tested = test[: max(1, MOST // max(1, len(train)))]
    (train_bits, train_grey), (test_bits, test_grey) = _outlines(train), _outlines(tested)
    found = []
    for first in range(0, len(test_bits), 500):
        different = (64 - test_bits[first : first + 500] @ train_bits.T) / 2  # (500, N)
        for row in np.flatnonzero((different <= NEAR).any(1)):
            candidates = np.flatnonzero(different[row] <= NEAR)
            apart = np.abs(train_grey[candidates] - test_grey[first + row]).mean(1)
            if apart.min() <= ALIKE:
                found.append((int(candidates[apart.argmin()]), int(first + row)))
    return found


def _outlines(images: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """Return which of 8x8 points are brighter than their neighbour, (N, 64) of -1 and 1, and 9x8 grey values, (N, 72)."""
    edge = images.shape[1]
    rows, columns = (np.linspace(0, edge, n + 1).astype(int) for n in (8, 9))
    grey = np.empty((len(images), 8, 9), np.float32)
    for first in range(0, len(images), 1000):
        part = images[first : first + 1000].astype(np.float32).mean(3)
        part = np.add.reduceat(part, np.minimum(rows[:-1], edge - 1), axis=1)
        part = np.add.reduceat(part, np.minimum(columns[:-1], edge - 1), axis=2)
        grey[first : first + 1000] = part / np.maximum(1, np.outer(np.diff(rows), np.diff(columns)))
    bits = np.where(grey[:, :, 1:] > grey[:, :, :-1], 1, -1).astype(np.float32).reshape(-1, 64)
    return bits, grey.reshape(-1, 72)
