"""Data sets by name: where their authors publish them, how they are checked, and what a mirrored image is.

Addresses, MD5s and places in the data folder are torchvision's (a test compares them), so that what somebody has downloaded with
it is found. They are written out because importing torchvision loads torch, which takes two seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpo.data import formats
from hpo.data.archive import REMEDY, Gzipped, Plain, Tar
from hpo.data.arrays import DataSet, OnProgress, make_data_set
from hpo.data.download import download
from hpo.errors import DataError


@dataclass(frozen=True)
class Published:
    """A data set that its authors publish.

    Attributes:
        title: Its usual name.
        files: What it is read from.
        decode: Makes classes, training and test images of their contents.
        mirrorable: Whether a mirrored image is of the same class. A mirrored digit or letter is not.
    """

    title: str
    files: tuple[Plain, ...]
    decode: Callable[[formats.Contents], formats.Found]
    mirrorable: bool

    def missing(self, data_dir: Path) -> list[Plain]:
        """Return the files that are not in a data folder."""
        return [file for file in self.files if file.found(data_dir) is None]

    def fetch(self, data_dir: Path, progress: OnProgress) -> None:
        """Download what is missing; what has arrived is kept when a later file fails.

        Raises:
            DataError: A file cannot be had.
        """
        for file in self.missing(data_dir):
            download(file.urls, file.md5, data_dir / file.path, progress)


@dataclass(frozen=True)
class Files:
    """A published data set in a data folder, where all of its files are."""

    name: str
    published: Published
    data_dir: Path

    @property
    def paths(self) -> list[Path]:
        """The files that are read, or folders that somebody unpacked."""
        return [file.found(self.data_dir) or self.data_dir / file.path for file in self.published.files]

    @property
    def key(self) -> str:
        """Identifies these files in the cache: their paths, sizes and times."""
        try:
            return repr([(str(path.resolve()), _stats(path)) for path in self.paths])
        except OSError as error:
            raise DataError(f"{self.data_dir} cannot be read: {error}.") from error

    def read(self, progress: OnProgress) -> DataSet:
        """Verify and decode all files.

        Raises:
            DataError: A file is missing, damaged or another one; the message names it.
        """
        progress(f"reading {self.published.title}", 0, 0)
        contents: dict[str, bytes] = {}
        for path, file in zip(self.paths, self.published.files, strict=True):
            contents |= file.contents(path)
        place = self.paths[0] if len(self.paths) == 1 else self.paths[0].parent
        try:
            classes, train, test = self.published.decode(contents)
        except formats.DAMAGED as error:
            raise DataError(f"{place} does not contain {self.published.title}: {error}. {REMEDY}") from error
        return make_data_set(self.name, classes, train, test, f"{self.published.title} as published, from {place}.")


def _stats(path: Path) -> list[tuple[str, int, int]]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _cifar(name: str, md5: str, folder: str, members: dict[str, str]) -> tuple[Plain, ...]:
    return (Tar(name, md5, (f"https://www.cs.toronto.edu/~kriz/{name}",), folder=folder, members=members),)


def _idx(folder: str, sites: tuple[str, ...], *md5s: str) -> tuple[Plain, ...]:
    names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    return tuple(
        Gzipped(f"{folder}/raw/{name}", md5, tuple(site + name for site in sites)) for name, md5 in zip(names, md5s, strict=True)
    )


PUBLISHED = {
    "cifar10": Published(
        "CIFAR-10",
        _cifar(
            "cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            "cifar-10-batches-py",
            {
                "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
                "test_batch": "40351d587109b95175f43aff81a1287e",
            },
        ),
        formats.cifar10,
        mirrorable=True,
    ),
    "cifar100": Published(
        "CIFAR-100",
        _cifar(
            "cifar-100-python.tar.gz",
            "eb9058c3a382ffc7106e4002c42a8d85",
            "cifar-100-python",
            {
                "meta": "7973b15100ade9c7d40fb424638fde48",
                "train": "16019d7e3df5f24257cddd939b257f8d",
                "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            },
        ),
        formats.cifar100,
        mirrorable=True,
    ),
    "mnist": Published(
        "MNIST",
        _idx(
            "MNIST",
            ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        functools.partial(formats.idx, classes=formats.DIGITS),
        mirrorable=False,
    ),
    "fashion-mnist": Published(
        "Fashion-MNIST",
        _idx(
            "FashionMNIST",
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        functools.partial(formats.idx, classes=formats.GARMENTS),
        mirrorable=True,
    ),
    "kmnist": Published(
        "Kuzushiji-MNIST",
        _idx(
            "KMNIST",
            ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        functools.partial(formats.idx, classes=formats.KANA),
        mirrorable=False,
    ),
    "svhn": Published(
        "SVHN",
        tuple(
            Plain(name, md5, (f"http://ufldl.stanford.edu/housenumbers/{name}",))
            for name, md5 in {
                "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
                "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
            }.items()
        ),
        formats.svhn,
        mirrorable=False,
    ),
    "stl10": Published(
        "STL-10",
        (
            Tar(
                "stl10_binary.tar.gz",
                "91f7769df0f17e558f3565bffb0c7dfb",
                ("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",),
                folder="stl10_binary",
                members={
                    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
                    "train_y.bin": "5a34089d4802c674881badbb80307741",
                    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
                    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
                },
                unpacked=1 << 32,  # it also holds 100,000 images without labels, 2.8 GB, which are passed over
            ),
        ),
        formats.stl10,
        mirrorable=True,
    ),
}
