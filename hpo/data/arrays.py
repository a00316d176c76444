"""A data set as plain arrays: made by every source, kept by the cache, read by training.

Pixels stay uint8 and NHWC, as they are stored: as float32, an image would take 12 KB instead of 3 KB. Converting a
batch on the device that trains it takes little time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 32  # pixels: the edge of CIFAR-10's images, and of the digits

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Indices = NDArray[np.int64]

OnProgress = Callable[[str, int, int], None]
"""Called with (name of the step, done, total); a total of 0 means unknown."""


def silent(what: str, done: int, total: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
        images: (N, edge, edge, channels) uint8; 3 channels, or 1 where all images are grey. From the cache it is a copy-on-write
            memory map: all processes share its pages, and `torch.from_numpy` takes it without a warning.
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
        name: As in `--dataset`, or the name of a person's folder.
        classes: Names, in the order of the labels.
        train: Images that networks are trained on.
        test: Images that networks are never trained on.
        digest: SHA-256 over pixels, labels and class names: two studies with the same digest used the same data.
        source: A sentence about where the data came from.
        n_validation: How many of the training images, the last ones, were separated for validation by whoever made the data set.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    digest: str
    source: str
    n_validation: int = 0


def make_data_set(name: str, classes: tuple[str, ...], train: Split, test: Split, source: str) -> DataSet:
    """Make a data set of arrays and compute its digest (half a second for CIFAR-10)."""
    sha = hashlib.sha256(json.dumps([classes, len(train), len(test)]).encode())
    for split in (train, test):
        sha.update(np.ascontiguousarray(split.images).data)
        sha.update(split.labels.astype("<i8").data)  # the same digest on a big-endian machine
    return DataSet(name, classes, train, test, sha.hexdigest(), source)
