"""Where pixels come from: CIFAR-10's archive, a tree of image files, or scikit-learn's digits.

A source is found cheaply and read once. Its `key` says what it would be read from (places, sizes, times), so that
the cache can tell whether it has that already without opening an image. CIFAR-10 as a tree is read like any other
tree: `cifar10/{train,test}/<class>/*.{png,jpg,jpeg}`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from hpo.errors import DataError
from hpo.training.archive import FILENAME, FOLDER, Archive, Batches, download, official
from hpo.training.arrays import SIDE, DataSet, Pixels, Progress, Split, make_data_set

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TREE = "cifar10"  # the folder of an image tree, in the data folder
SUFFIXES = (".png", ".jpg", ".jpeg")
THREADS = 4  # Pillow decodes outside the interpreter's lock


class Source(Protocol):
    """Something that can be read into a data set."""

    @property
    def key(self) -> str:
        """Changes when what `read` returns may have changed."""

    def read(self, progress: Progress) -> DataSet:
        """Decode everything; raises DataError naming the file that is wrong."""


def find(name: str, data_dir: Path, archive: Archive | None = None) -> Source | None:
    """Return the source of data set `name` that is already on this machine, or None."""
    if name == "digits":
        return Digits()
    try:
        for path in (data_dir / FOLDER, data_dir / FILENAME):
            if path.exists():
                return Batches(path, archive)
        return scan(data_dir / TREE) if (data_dir / TREE).is_dir() else None
    except OSError as error:
        raise DataError(f"{data_dir} cannot be read: {error}.") from error


def fetch(data_dir: Path, archive: Archive | None, progress: Progress) -> Source:
    """Download CIFAR-10 into `data_dir`; a DataError says all the ways to get it."""
    archive = archive or official()
    try:
        return Batches(download(archive, data_dir, progress), archive)
    except DataError as error:
        raise DataError(
            f"No CIFAR-10 in {data_dir} ({FOLDER}, {FILENAME} or {TREE}), and {archive.url} failed: {error}.\n"
            f"Let hpo download it with a network, or put {FILENAME} into {data_dir}, "
            f"or images into {data_dir / TREE}/{{train,test}}/<class>/."
        ) from error


class Digits:
    """scikit-learn's 1,797 handwritten digits, enlarged to CIFAR-10's shape: a first run without a download."""

    key = "digits of scikit-learn, split 1"  # the data never change; a new way to split or enlarge gets a new number

    def read(self, progress: Progress) -> DataSet:
        """Return 1,437 training and 360 test images, the same on every machine."""
        from sklearn.datasets import load_digits

        from hpo.training.sampling import hold_out

        progress("reading digits", 0, 0)
        digits = load_digits()
        grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), values were 0..16
        images = np.repeat(grey.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)[..., None], 3, axis=3)
        labels = digits.target.astype(np.int64)
        train, test = (Split(images[chosen], labels[chosen]) for chosen in hold_out(labels, 360, seed=0))
        classes = tuple(str(digit) for digit in range(10))
        return make_data_set("digits", classes, train, test, "scikit-learn's digits, 8x8 enlarged to 32x32.")


class ImageFile(NamedTuple):
    """One image of a tree, with what tells it from an earlier state of itself."""

    path: str
    label: int
    size: int  # bytes
    mtime: int  # nanoseconds


@dataclass(frozen=True)
class Tree:
    """Images in folders by class, listed and not yet opened."""

    root: Path
    classes: tuple[str, ...]
    train: list[ImageFile]
    test: list[ImageFile]

    @property
    def key(self) -> str:
        """The place, and every file's name, size and time."""
        return repr((str(self.root.resolve()), self.train, self.test))

    def read(self, progress: Progress) -> DataSet:
        """Decode all images (60,000 take about ten seconds)."""
        images = _decode([file.path for file in self.train + self.test], progress)
        labels = np.array([file.label for file in self.train + self.test], dtype=np.int64)
        n = len(self.train)
        train, test = Split(images[:n], labels[:n]), Split(images[n:], labels[n:])
        return make_data_set("cifar10", self.classes, train, test, f"{len(labels):,} image files in {self.root}.")


def scan(root: Path) -> Tree:
    """List the images under `root`/{train,test}/<class>/, in the order of their names.

    Raises:
        DataError: A split is missing or empty, or train and test have other classes.
    """
    folders = {split: _class_folders(root / split) for split in ("train", "test")}
    classes = sorted(folders["train"])
    if odd := folders["train"].keys() ^ folders["test"].keys():
        raise DataError(f"{root}: train and test must have the same classes; only one of them has {sorted(odd)}.")
    files = {
        split: [f for i, c in enumerate(classes) for f in _images(paths[c], i)] for split, paths in folders.items()
    }
    return Tree(root, tuple(classes), files["train"], files["test"])


def _class_folders(split: Path) -> dict[str, str]:
    if not split.is_dir():
        raise DataError(f"{split} is missing. An image tree is {split.parent}/{{train,test}}/<class>/*.png.")
    with os.scandir(split) as entries:
        folders = {entry.name: entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir()}
    if not folders:
        raise DataError(f"{split} has no class folders. An image tree is {split.parent}/{{train,test}}/<class>/*.png.")
    return folders


def _images(folder: str, label: int) -> Iterator[ImageFile]:
    with os.scandir(folder) as entries:
        names = sorted((entry.name, entry) for entry in entries if _is_image(entry))
    if not names:
        raise DataError(f"{folder} has no images ({', '.join(SUFFIXES)}).")
    for _, entry in names:
        stat = entry.stat()
        yield ImageFile(entry.path, label, stat.st_size, stat.st_mtime_ns)


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file()


def _decode(paths: list[str], progress: Progress) -> Pixels:
    """Decode images in parallel; return (N, 32, 32, 3) uint8."""
    images = np.empty((len(paths), SIDE, SIDE, 3), np.uint8)
    chunk = 500  # images: a task per image would cost as much as the image

    def decode_from(start: int) -> None:
        for i in range(start, min(start + chunk, len(paths))):
            images[i] = _decode_one(paths[i])

    progress("decoding images", 0, len(paths))
    with ThreadPoolExecutor(THREADS) as threads:
        try:
            for i, _ in enumerate(threads.map(decode_from, range(0, len(paths), chunk)), start=1):
                progress("decoding images", min(i * chunk, len(paths)), len(paths))
        except BaseException:
            threads.shutdown(cancel_futures=True)  # the first bad image, or Ctrl-C, ends it
            raise
    return images


def _decode_one(path: str) -> Pixels:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            size = image.size
            if size == (SIDE, SIDE):
                return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged files
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    raise DataError(f"{path} is {size[0]}x{size[1]} pixels; every image must be {SIDE}x{SIDE}.")
