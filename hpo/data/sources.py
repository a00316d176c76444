"""Sources of images: what authors publish under a name, CIFAR-10 as a tree of image files, or scikit-learn's digits.

Finding a source takes little time, and it is read once. Its `key` lists the files that it would be read from (paths,
sizes, times), so that the cache can tell without opening an image whether it has them already. CIFAR-10 may also be a
tree of images, `cifar10/{train,test}/<class>/*`, which is read like anybody's folder of pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from hpo.data.arrays import SIDE, DataSet, OnProgress, Split, make_data_set
from hpo.data.pictures.listing import Listing, listed
from hpo.data.pictures.source import Wanted
from hpo.data.published import PUBLISHED, Files, Published
from hpo.data.sampling import hold_out
from hpo.errors import DataError

TREE = "cifar10"  # the folder of an image tree, in the data folder
IN_TREE = Wanted("cifar10", SIDE, exact=True, fewest=1)  # each image has its size already


class Source(Protocol):
    """Images that can be read into a data set."""

    @property
    def key(self) -> str:
        """A text that changes whenever the result of `read` may change."""

    def read(self, progress: OnProgress) -> DataSet:
        """Decode all images; a DataError names the file that is at fault."""


def find(name: str, data_dir: Path, published: Published | None = None) -> Source | Listing | None:
    """Return the source of data set `name` on this machine, or its tree of images; None if it has to be downloaded.

    Args:
        name: One of `settings.DATASETS`.
        data_dir: Where to look.
        published: Another one than is known by this name.
    """
    if name == "digits":
        return Digits()
    published = published or PUBLISHED[name]
    try:
        if not published.missing(data_dir):
            return Files(name, published, data_dir)
        return tree(data_dir / TREE) if name == TREE and (data_dir / TREE).is_dir() else None
    except OSError as error:
        raise DataError(f"{data_dir} cannot be read: {error}.") from error


def tree(root: Path) -> Listing:
    """List CIFAR-10 as image files under `root`/{train,test}/<class>/.

    Raises:
        DataError: A split is missing, or train and test have different classes.
    """
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise DataError(f"{root / split} is missing. An image tree is {root}/{{train,test}}/<class>/*.png.")
    return listed(root)


def fetch(name: str, data_dir: Path, published: Published | None, progress: OnProgress) -> Source:
    """Download what a data set lacks in `data_dir`; a DataError lists all ways to get it."""
    published = published or PUBLISHED[name]
    try:
        published.fetch(data_dir, progress)
    except DataError as error:
        missing = published.missing(data_dir)
        places = [place for file in missing[:1] for place in file.places] + [TREE] * (name == TREE)
        folders = sorted({str((data_dir / file.path).parent) for file in missing})
        images = f", or images into {data_dir / TREE}/{{train,test}}/<class>/" if name == TREE else ""
        raise DataError(
            f"no {published.title} in {data_dir} ({', '.join(places)}{' …' if len(missing) > 1 else ''}), and {error}.\n"
            "Connect to a network for the download, or put "
            f"{', '.join(Path(file.path).name for file in missing)} into {', '.join(folders)}{images}."
        ) from error
    return Files(name, published, data_dir)


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
