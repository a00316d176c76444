"""The formats of published data sets: contents of files become images and labels. Nothing that a pickle names is run."""

from __future__ import annotations

import io
import pickle
import zlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from hpo.data.arrays import SIDE, Labels, Pixels, Split

Contents = Mapping[str, bytes]  # of files, by name
Found = tuple[tuple[str, ...], Split, Split]  # classes, training images, test images

DAMAGED = (  # what the functions here raise over contents that make no sense; a pickle may ask for too large objects
    pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, EOFError,
    OverflowError, RecursionError, MemoryError,
)  # fmt: skip

DIGITS = tuple("0123456789")
GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
STL10_SIDE = 96  # pixels

_reconstruct = np.empty(0).__reduce__()[0]  # in numpy.core before numpy 2, in numpy._core since
_HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def cifar10(contents: Contents) -> Found:
    """Read CIFAR-10's pickled batches; those for training are joined in the order of their names."""
    classes = _names(contents["batches.meta"], b"label_names")
    names = sorted(name for name in contents if name.startswith("data_batch"))
    train = [_batch(contents[name], b"labels", len(classes)) for name in names]
    joined = Split(np.concatenate([b.images for b in train]), np.concatenate([b.labels for b in train]))
    return classes, joined, _batch(contents["test_batch"], b"labels", len(classes))


def cifar100(contents: Contents) -> Found:
    """Read CIFAR-100's two pickled files, with its hundred fine classes."""
    classes = _names(contents["meta"], b"fine_label_names")
    train, test = (_batch(contents[name], b"fine_labels", len(classes)) for name in ("train", "test"))
    return classes, train, test


class _Unpickler(pickle.Unpickler):
    """Creates dicts, lists, numbers, bytes and numpy arrays, and no other objects."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it would load {module}.{name}")
        return _HARMLESS[module, name]


def _unpickle(content: bytes) -> dict[bytes, Any]:
    unpickled = _Unpickler(io.BytesIO(content), encoding="bytes").load()  # pickled by Python 2: its str are bytes
    return cast("dict[bytes, Any]", unpickled)


def _names(content: bytes, key: bytes) -> tuple[str, ...]:
    return tuple(name.decode() for name in _unpickle(content)[key])


def _batch(content: bytes, key: bytes, n_classes: int) -> Split:
    batch = _unpickle(content)
    data: Pixels = batch[b"data"]  # (n, 3072) uint8: a plane of red, one of green, one of blue
    labels: Labels = np.asarray(batch[key], dtype=np.int64)
    if data.dtype != np.uint8 or data.shape != (len(labels), 3 * SIDE * SIDE):
        raise ValueError(f"a batch has {data.dtype} data of shape {data.shape} for {len(labels)} labels")
    return _split(data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels, n_classes)


def idx(contents: Contents, classes: tuple[str, ...]) -> Found:
    """Read the four IDX files of MNIST and of those that took its format (described at yann.lecun.com/exdb/mnist)."""
    pixels, labels = "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"
    train, test = (
        _split(_idx(contents[pixels.format(part)], 3)[..., None], _idx(contents[labels.format(part)], 1), len(classes))
        for part in ("train", "t10k")
    )
    return classes, train, test


def _idx(content: bytes, dimensions: int) -> Pixels:
    """Read bytes that are preceded by a magic number, with their type (8: uint8) and number of dimensions, and by their shape."""
    if content[:4] != bytes((0, 0, 8, dimensions)):
        raise ValueError(f"a file begins with {content[:4].hex()}, not as IDX of bytes in {dimensions} dimensions does")
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).astype(np.int64)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def svhn(contents: Contents) -> Found:
    """Read SVHN's two MATLAB files; in them, label 10 is the digit 0."""
    train, test = (_matlab(contents[f"{part}_32x32.mat"]) for part in ("train", "test"))
    return DIGITS, train, test


def _matlab(content: bytes) -> Split:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found = loadmat(io.BytesIO(content), variable_names=("X", "y"))
    except (MatReadError, NotImplementedError, zlib.error) as error:  # the second of a file of MATLAB 7.3
        raise ValueError(str(error)) from error
    labels = found["y"].astype(np.int64).ravel() % 10
    return _split(found["X"].transpose(3, 0, 1, 2), labels, 10)  # X: (32, 32, 3, n)


def stl10(contents: Contents) -> Found:
    """Read STL-10's labelled images: planes of red, green and blue, each column by column; labels from 1."""
    train, test = (
        _split(
            np.frombuffer(contents[f"{part}_X.bin"], np.uint8).reshape(-1, 3, STL10_SIDE, STL10_SIDE).transpose(0, 3, 2, 1),
            np.frombuffer(contents[f"{part}_y.bin"], np.uint8).astype(np.int64) - 1,
            len(STL10),
        )
        for part in ("train", "test")
    )
    return STL10, train, test


def _split(images: Pixels, labels: np.ndarray, n_classes: int) -> Split:
    """Return images (N, edge, edge, channels) in C order with their labels, both checked."""
    n, *edges, channels = images.shape
    if images.dtype != np.uint8 or (n, len(edges), channels in (1, 3)) != (len(labels), 2, True) or edges[0] != edges[1]:
        raise ValueError(f"there are {images.dtype} images of shape {images.shape} for {len(labels)} labels")
    if n and not 0 <= labels.min() <= labels.max() < n_classes:
        raise ValueError(f"there are labels outside the {n_classes} classes")
    return Split(np.ascontiguousarray(images), labels.astype(np.int64))
