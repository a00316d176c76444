"""A data set as plain arrays: what every source makes, what the cache keeps, what training reads.

Pixels stay uint8 and NHWC, as they are stored: 12 KB would become 48 KB an image as float32, and a batch is
converted in a blink on the device that trains it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 32  # pixels: every image is SIDE x SIDE x 3

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Indices = NDArray[np.int64]

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done, total); a total of 0 means unknown."""


def silent(what: str, done: int, total: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and what they show.

    Attributes:
        images: (N, 32, 32, 3) uint8. From the cache it is a copy-on-write memory map: all processes share its pages,
            and `torch.from_numpy` takes it without a warning.
        labels: (N,) int64, indices into the data set's classes.
    """

    images: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class DataSet:
    """A training and a test split over the same classes.

    Attributes:
        name: As in `--dataset`.
        classes: Names, in the order of the labels.
        train: What networks learn from.
        test: What they never learn from.
        digest: SHA-256 over pixels, labels and class names: two studies with the same digest saw the same data.
        source: A sentence that says where the data came from.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    digest: str
    source: str


def make_data_set(name: str, classes: tuple[str, ...], train: Split, test: Split, source: str) -> DataSet:
    """Put freshly read arrays together and compute their digest (half a second for CIFAR-10)."""
    sha = hashlib.sha256(json.dumps([classes, len(train), len(test)]).encode())
    for split in (train, test):
        sha.update(np.ascontiguousarray(split.images).data)
        sha.update(split.labels.astype("<i8").data)  # the same digest on a big-endian machine
    return DataSet(name, classes, train, test, sha.hexdigest(), source)
