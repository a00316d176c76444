"""Sources of images: CIFAR-10's archive, a tree of image files, or scikit-learn's digits.

Finding a source takes little time, and it is read once. Its `key` lists the files that it would be read from (paths,
sizes, times), so that the cache can tell without opening an image whether it has them already. CIFAR-10 may also be a
tree of images: `cifar10/{train,test}/<class>/*.{png,jpg,jpeg}`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hpo.data.archive import FILENAME, FOLDER, Archive, PickledBatches, download, official
from hpo.data.arrays import SIDE, DataSet, Labels, OnProgress, Pixels, Split, make_data_set
from hpo.data.sampling import hold_out
from hpo.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

TREE = "cifar10"  # the folder of an image tree, in the data folder
SUFFIXES = (".png", ".jpg", ".jpeg")

ImageFile = tuple[str, int, int]  # path, bytes, time of last change in ns; objects of a class would take 0.1 s more for 60,000


class Source(Protocol):
    """Images that can be read into a data set."""

    @property
    def key(self) -> str:
        """A text that changes whenever the result of `read` may change."""

    def read(self, progress: OnProgress) -> DataSet:
        """Decode all images; a DataError names the file that is at fault."""


def find(name: str, data_dir: Path, archive: Archive | None = None) -> Source | None:
    """Return the source of data set `name` on this machine; None if it has to be downloaded."""
    if name == "digits":
        return Digits()
    try:
        for path in (data_dir / FOLDER, data_dir / FILENAME):
            if path.exists():
                return PickledBatches(path, archive)
        return scan(data_dir / TREE) if (data_dir / TREE).is_dir() else None
    except OSError as error:
        raise DataError(f"{data_dir} cannot be read: {error}.") from error


def fetch(data_dir: Path, archive: Archive | None, progress: OnProgress) -> Source:
    """Download CIFAR-10 into `data_dir`; a DataError lists all ways to get it."""
    archive = archive or official()
    try:
        return PickledBatches(download(archive, data_dir, progress), archive)
    except DataError as error:
        raise DataError(
            f"no CIFAR-10 in {data_dir} ({FOLDER}, {FILENAME} or {TREE}), and downloading {archive.url} failed: {error}.\n"
            f"Connect to a network for the download, or put {FILENAME} into {data_dir}, "
            f"or images into {data_dir / TREE}/{{train,test}}/<class>/."
        ) from error


class Digits:
    """scikit-learn's 1,797 handwritten digits, enlarged to CIFAR-10's shape, for a first run without a download."""

    key = "digits of scikit-learn, split 1"  # the data never change; another way to split or enlarge needs another number

    def read(self, progress: OnProgress) -> DataSet:
        """Return 1,437 training and 360 test images, the same on every machine."""
        from sklearn.datasets import load_digits

        progress("reading digits", 0, 0)
        digits = load_digits()
        grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), values were 0..16
        images = np.repeat(grey.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)[..., None], 3, axis=3)
        labels = digits.target.astype(np.int64)
        train, test = (Split(images[chosen], labels[chosen]) for chosen in hold_out(labels, 360, seed=0))
        classes = tuple(str(digit) for digit in range(10))
        return make_data_set("digits", classes, train, test, "scikit-learn's digits, 8x8 enlarged to 32x32.")


@dataclass(frozen=True)
class Tree:
    """Images in one folder per class, listed but not opened.

    Attributes:
        root: The folder that contains `train` and `test`.
        classes: The names of the class folders, sorted.
        train: The list of files of each class.
        test: The same for the test split.
    """

    root: Path
    classes: tuple[str, ...]
    train: list[list[ImageFile]]
    test: list[list[ImageFile]]

    @property
    def key(self) -> str:
        """The folder's path, and every file's name, size and time."""
        return repr((str(self.root.resolve()), self.train, self.test))

    def read(self, progress: OnProgress) -> DataSet:
        """Decode all images (60,000 JPEGs take 7 seconds if they are in the disk's cache)."""
        paths = [path for files in self.train + self.test for path, _, _ in files]
        images = _decode(paths, progress)
        n_train = sum(map(len, self.train))
        train = Split(images[:n_train], _labels(self.train))
        test = Split(images[n_train:], _labels(self.test))
        return make_data_set("cifar10", self.classes, train, test, f"{len(paths):,} image files in {self.root}.")


def scan(root: Path) -> Tree:
    """List the images under `root`/{train,test}/<class>/, in the order of their names.

    Raises:
        DataError: A split or a class is missing or empty, or train and test have different classes.
    """
    train, test = _class_folders(root / "train"), _class_folders(root / "test")
    if odd := sorted(train.keys() ^ test.keys()):
        raise DataError(f"{root}: train and test must have the same classes; only one of them has {', '.join(odd)}.")
    classes = tuple(sorted(train))
    return Tree(root, classes, [_images(train[name]) for name in classes], [_images(test[name]) for name in classes])


def _class_folders(split: Path) -> dict[str, str]:
    expected = f"An image tree is {split.parent}/{{train,test}}/<class>/*.png."
    if not split.is_dir():
        raise DataError(f"{split} is missing. {expected}")
    with os.scandir(split) as entries:
        folders = {entry.name: entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir()}
    if not folders:
        raise DataError(f"{split} has no class folders. {expected}")
    if odd := [name for name in folders if not _is_text(name)]:
        raise DataError(f"{split} has a class folder whose name is not UTF-8: {odd[0]!r}. Rename it.")
    return folders


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _images(folder: str) -> list[ImageFile]:
    with os.scandir(folder) as entries:
        images = sorted(filter(_is_image, entries), key=attrgetter("name"))
    if not images:
        raise DataError(f"{folder} has no images ({', '.join(SUFFIXES)}).")
    stats = [(image.path, image.stat()) for image in images]
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file()


def _labels(files: list[list[ImageFile]]) -> Labels:
    return np.repeat(np.arange(len(files), dtype=np.int64), [len(of_class) for of_class in files])


def _decode(paths: list[str], progress: OnProgress) -> Pixels:
    """Decode images; return (N, 32, 32, 3) uint8.

    In one thread: at this size Pillow is mostly Python, and 2 or 4 threads took as long as 1 (7.3 s to 7.5 s).
    """
    images = np.empty((len(paths), SIDE, SIDE, 3), np.uint8)
    for i, path in enumerate(paths):
        if i % 500 == 0:
            progress("decoding images", i, len(paths))
        images[i] = _decode_one(path)
    progress("decoding images", len(paths), len(paths))
    return images


def _decode_one(path: str) -> Pixels:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            size = image.size  # known before decoding, so a huge image costs nothing
            if size == (SIDE, SIDE):
                return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise a dozen types of errors on damaged files
        raise DataError(f"{path} cannot be read as an image: {error}.") from error
    raise DataError(f"{path} is {size[0]}x{size[1]} pixels; every image must be {SIDE}x{SIDE}.")
