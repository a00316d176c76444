"""A folder of pictures as a data set: decoded, split, and put into the cache.

Where nobody has split the pictures, hpo does: a fifth of each class is for tests, chosen by the seed and by the pixels.
Names and order do not matter, so that a renamed or moved folder is split in the same way; equal pictures are on the same side.
"""

from __future__ import annotations

import functools
import hashlib
import json
import statistics
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hpo.data.arrays import DataSet, Split, make_data_set
from hpo.data.pictures.contents import FILES, Content, keep, take_over
from hpo.data.pictures.cores import Work
from hpo.data.pictures.decoding import JOURNAL, decode_all
from hpo.data.pictures.listing import TEST, TRAIN, VALIDATION, Broken, Listing
from hpo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hpo.data.arrays import Indices, Labels, OnProgress, Pixels

TEST_SHARE = 5  # a fifth of each class
MIN_PICTURES = 8  # pictures of a class
MAX_EDGE, MIN_EDGE = 224, 32  # pixels: what is chosen as an image's edge
AN_EPOCH = 50_000 * 32 * 32  # pixels: CIFAR-10's, which a laptop trains in a minute or two
NAMED = 10  # broken pictures that a message names
BROKEN = "broken.json"  # beside the arrays, in the work folder and in the cache
KEPT = (BROKEN, FILES, JOURNAL)  # files of a work folder that an entry of the cache keeps
ROOT = "{root}"  # stands for the folder in what the cache keeps
COPIED = 256  # pictures at a time, so that memory stays flat


@dataclass(frozen=True)
class Wanted:
    """What is asked of the pictures.

    Attributes:
        name: Of the data set.
        size: Edge of the images, pixels; None: chosen.
        fit: As in picture.py.
        skip_broken: Go on without pictures that cannot be used.
        seed: Of the split, where hpo makes it.
        exact: Pictures must have this size already.
        fewest: Pictures that each class needs.
    """

    name: str
    size: int | None = None
    fit: str = "crop"
    skip_broken: bool = False
    seed: int = 0
    exact: bool = False
    fewest: int = MIN_PICTURES


@dataclass(frozen=True)
class Pictures:
    """A listed folder whose files were looked at, and what is asked of it."""

    listing: Listing
    wanted: Wanted
    contents: list[Content]

    @property
    def key(self) -> str:
        """Identifies the result in the cache, wherever the folder is and whenever its files were written."""
        seed = self.wanted.seed if self.listing.splits is None else 0
        return repr((self.work_key, self.wanted.size, seed, self.wanted.fewest))

    @property
    def work_key(self) -> str:
        """Identifies what is decoded, whoever asks for it."""
        listing = self.listing
        files = [(name, content.digest) for (name, _, _), content in zip(listing.files, self.contents, strict=True)]
        splits = None if listing.splits is None else listing.splits.tolist()
        return repr((listing.classes, files, listing.labels.tolist(), splits, listing.missing, self.how))

    @functools.cached_property
    def size(self) -> tuple[int, str]:
        """The edge of the images, pixels, and why where it was chosen."""
        short = [min(content[1:]) for content in self.contents if content.width]
        return (self.wanted.size, "") if self.wanted.size else chosen_size(short)

    @property
    def how(self) -> tuple[int, str, bool]:
        """How pictures are decoded."""
        return self.size[0], self.wanted.fit, self.wanted.exact

    def here(self, data: DataSet, entry: Path) -> DataSet:
        """Return a data set of the cache with this folder's name and place: it may have been moved since.

        Raises:
            DataError: It was made without pictures that are broken, and nobody said to skip them now.
        """
        if not self.wanted.skip_broken and (broken := broken_of(entry)):
            raise DataError(_refused(self.listing, broken))
        return replace(data, name=self.wanted.name, source=data.source.replace(ROOT, str(self.listing.root)))

    def read(self, progress: OnProgress, work: Path, entries: Sequence[Path] = ()) -> DataSet:
        """Decode all pictures.

        Args:
            progress: Called during the steps that take time.
            work: A folder that is kept if this process is killed.
            entries: Of the cache, with pictures that need not be decoded again.

        Raises:
            DataError: Pictures cannot be used and nobody said to skip them, or too few of a class are left.
        """
        listing, wanted, (size, why) = self.listing, self.wanted, self.size
        take_over(work, size, self.how, self.contents, entries)
        names = [name for name, _, _ in listing.files]
        decoded = decode_all(Work(str(listing.root), *self.how), names, work, progress)
        broken = [*listing.missing, *decoded.broken]
        if broken and not wanted.skip_broken:
            raise DataError(_refused(listing, broken))
        whole = np.array([bool(digest) for digest in decoded.digests], bool)
        _check_counts(listing, whole, wanted.fewest)
        train, test, n_validation = self.sides(decoded.digests)
        (work / BROKEN).write_text(json.dumps(broken))
        keep(work, self.how, self.contents, train, test)
        progress("writing decoded images", 0, 0)
        splits = [
            _written(work / f"{name}-images.npy", decoded.pixels, order) for name, order in (("train", train), ("test", test))
        ]
        labels = [listing.labels[order] for order in (train, test)]
        said = self._said(size, why, broken, len(train), len(test))
        data = make_data_set(wanted.name, listing.classes, Split(splits[0], labels[0]), Split(splits[1], labels[1]), said)
        return replace(data, n_validation=n_validation)

    def sides(self, digests: list[str]) -> tuple[Indices, Indices, int]:
        """Return the positions of training images, those for validation last; of test images; and the number for validation."""
        given, whole = self.listing.splits, np.array([bool(digest) for digest in digests], bool)
        if given is not None:
            train, validation, test = (np.flatnonzero((given == side) & whole) for side in (TRAIN, VALIDATION, TEST))
            return np.concatenate((train, validation)), test, len(validation)
        train, test = split(digests, self.listing.labels, self.wanted.seed)
        return train, test, 0

    def _said(self, size: int, why: str, broken: list[Broken], n_train: int, n_test: int) -> str:
        listing = self.listing
        if self.wanted.exact:
            return f"{n_train + n_test:,} image files in {ROOT}."
        made = f", {n_test:,} of them split off for tests by content and seed" if listing.splits is None else ""
        without = f", {len(broken):,} broken ones left out" if broken else ""
        return f"{n_train + n_test:,} pictures, {listing.layout}, {size}x{size} pixels{why}{made}{without}, in {ROOT}."


def broken_of(entry: Path) -> list[Broken]:
    """Return the broken pictures that an entry of the cache was made without."""
    try:
        return [Broken(path, why) for path, why in json.loads((entry / BROKEN).read_bytes())]
    except (OSError, ValueError):
        return []


def chosen_size(short: list[int]) -> tuple[int, str]:
    """Return the edge that images get, and why: the pictures' median short side, as far as an epoch stays affordable."""
    if not short:
        return MIN_EDGE, ""
    median = round(statistics.median(short))
    affordable = int((AN_EPOCH / len(short)) ** 0.5)
    size = min(median, MAX_EDGE, max(MIN_EDGE, affordable))
    size = max(MIN_EDGE, size // 8 * 8) if size > MIN_EDGE else max(8, size)
    limit = "" if size >= median // 8 * 8 else ", at most 224" if size == MAX_EDGE else ", and an epoch like CIFAR-10's"
    return size, f" (chosen: median short side {median}{limit}; --image-size N sets it)"


def split(digests: list[str], labels: Labels, seed: int) -> tuple[Indices, Indices]:
    """Divide pictures into training and test images, a fifth of each class for tests.

    The order within a class is that of the pixels' digests, mixed with the seed. Equal pictures are all on the same side; those
    of several classes are for training.

    Args:
        digests: Of each picture; empty for one that is left out.
        labels: Their classes.
        seed: Of the choice.

    Returns:
        Positions of training and of test images, each by class, then by digest.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        if digest:
            groups[digest].append(position)
    by_class: dict[int, list[str]] = defaultdict(list)
    counts: dict[int, int] = defaultdict(int)
    torn = set()
    for digest in sorted(groups):
        classes = {int(labels[position]) for position in groups[digest]}
        for label in classes:
            by_class[label].append(digest)
        for position in groups[digest]:
            counts[int(labels[position])] += 1
        if len(classes) > 1:
            torn.add(digest)
    for_tests: set[str] = set()
    for label, members in by_class.items():
        left = max(1, round(counts[label] / TEST_SHARE))
        for digest in sorted(members, key=lambda digest: _mixed(seed, digest)):
            if digest not in torn and len(groups[digest]) <= left:
                for_tests.add(digest)
                left -= len(groups[digest])
    order = sorted((int(labels[position]), digest, position) for digest, members in groups.items() for position in members)
    sides: tuple[list[int], list[int]] = ([], [])
    for _, digest, position in order:
        sides[digest in for_tests].append(position)
    return np.array(sides[0], np.int64), np.array(sides[1], np.int64)


def _mixed(seed: int, digest: str) -> bytes:
    return hashlib.sha256(f"{seed} {digest}".encode()).digest()


def _refused(listing: Listing, broken: list[Broken]) -> str:
    named = "; ".join(f"{path.encode(errors='backslashreplace').decode()} {why}" for path, why in broken[:NAMED])
    n, more = len(broken), f"; and {len(broken) - NAMED:,} more" if len(broken) > NAMED else ""
    return (
        f"{n:,} of {len(listing.files) + len(listing.missing):,} pictures in {listing.root} cannot be used: {named}{more}.\n"
        f"Repair or remove {'it' if n == 1 else 'them'}, or go on without: --skip-broken"
    )


def _check_counts(listing: Listing, whole: np.ndarray, fewest: int) -> None:
    counts = np.bincount(listing.labels[whole], minlength=len(listing.classes))
    small = [f"{listing.classes[label]} ({counts[label]})" for label in np.flatnonzero(counts < fewest)]
    if small:
        raise DataError(
            f"{listing.root} has classes with fewer than {fewest} pictures: {', '.join(small[:NAMED])}"
            f"{' …' if len(small) > NAMED else ''}. Add pictures to {'it' if len(small) == 1 else 'them'}, or leave "
            f"{'the class' if len(small) == 1 else 'these classes'} out."
        )
    if listing.splits is not None:
        for side, name in ((TRAIN, "training"), (TEST, "test")):
            there = np.bincount(listing.labels[whole & (listing.splits == side)], minlength=len(listing.classes))
            if empty := [listing.classes[label] for label in np.flatnonzero(there == 0)]:
                raise DataError(f"{listing.root} has no readable {name} pictures of {', '.join(empty[:NAMED])}. Add some.")


def _written(path: Path, pixels: Pixels, order: Indices) -> Pixels:
    """Write pictures in this order as an array's file, and return it mapped."""
    made = np.lib.format.open_memmap(path, "w+", np.uint8, (len(order), *pixels.shape[1:]))
    for first in range(0, len(order), COPIED):
        made[first : first + COPIED] = pixels[order[first : first + COPIED]]
    made.flush()
    return made
