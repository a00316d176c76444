"""The files that a worker leaves beside the best checkpoint: class scores, pictures, and the table of layers.

They may be missing, half a file, or something else under that name; whatever cannot be used becomes a sentence in
`missing`, and the page appears without it. Nothing is unpickled.
"""

from __future__ import annotations

import io
import json
import lzma
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hpo.files import read_regular
from hpo.report.words import amount, clipped

if TYPE_CHECKING:
    from pathlib import Path

    from hpo.report.stats import Floats

LARGEST = 64  # pixels along a picture's edge; more would make the page heavy
MOST_PICTURES = 200
MOST_CLASSES = 256  # a confusion matrix of more is no picture any more
MOST_LAYERS = 1_000
_LARGEST_SCORES, _LARGEST_UNPACKED, _LARGEST_LAYERS = 2**27, 2**29, 2**20  # bytes, known before anything is read
_DAMAGE = (OSError, ValueError, LookupError, TypeError, ArithmeticError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile)
_UNPACKABLE = (zlib.error, lzma.LZMAError)


Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """What the winner answered for every scored image.

    Attributes:
        confidence: (N, C) probabilities by softmax.
        labels: (N,) true classes.
        predicted: (N,) classes of the largest probability.
        pictures: (K, H, W, 3) uint8.
        shown: (K,) which of the N each picture is.
    """

    confidence: Floats
    labels: Integers
    predicted: Integers
    pictures: npt.NDArray[np.uint8]
    shown: Integers


class Layer(NamedTuple):
    """One row of the network's table, as text."""

    name: str
    kind: str
    shape: str
    parameters: str
    macs: str


@dataclass(frozen=True)
class Artifacts:
    """What could be read of the winner's folder, and what could not."""

    scores: Scores | None = None
    layers: list[Layer] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def read_artifacts(folder: Path | None) -> Artifacts:
    """Read the winner's files from `folder`; None if there is no such folder."""
    if folder is None:
        return Artifacts(missing=["The winner's files were not found: its network and its answers cannot be shown."])
    missing: list[str] = []
    scores, layers = None, []
    try:
        scores = _scores(folder / "scores.npz")
    except (*_DAMAGE, *_UNPACKABLE) as error:
        what = "its confusion matrix, classes, calibration and pictures"
        missing.append(_sentence("scores.npz", what, error))
    try:
        layers = _layers(folder / "layers.json")
    except _DAMAGE as error:
        missing.append(_sentence("layers.json", "its table of layers", error))
    return Artifacts(scores, layers, missing)


def _sentence(name: str, what: str, error: BaseException) -> str:
    why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be used ({clipped(str(error), 120)})"
    return f"The winner's file {name} {why}, so {what} cannot be shown."


def _scores(path: Path) -> Scores:
    packed = io.BytesIO(read_regular(path, _LARGEST_SCORES))
    with zipfile.ZipFile(packed) as archive:
        if (unpacked := sum(member.file_size for member in archive.infolist())) > _LARGEST_UNPACKED:
            raise ValueError(f"it would take {unpacked:,} bytes")
    packed.seek(0)
    with np.load(packed, allow_pickle=False) as file:
        logits, labels, pictures, shown = (file[name] for name in ("logits", "labels", "pictures", "picture_indices"))
    if logits.ndim == 2 and not 1 <= logits.shape[1] <= MOST_CLASSES:
        raise ValueError(f"it has {logits.shape[1]:,} classes, and {MOST_CLASSES} can be shown")
    if logits.dtype.kind != "f":
        raise TypeError(f"logits are {logits.dtype}")
    logits = logits.astype(np.float64)  # (N, C)
    if logits.ndim != 2 or labels.shape != (len(logits),) or not len(logits) or not np.isfinite(logits).all():
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} do not fit together, or are not finite")
    labels, shown = _indices(labels, logits.shape[1], "labels"), _indices(shown, len(logits), "picture_indices")
    small = pictures.ndim == 4 and len(pictures) <= MOST_PICTURES and all(1 <= edge <= LARGEST for edge in pictures.shape[1:3])
    if not small or len(pictures) != len(shown) or pictures.dtype != np.uint8:
        raise ValueError(f"pictures {pictures.shape} of {pictures.dtype} are not some small colour pictures")
    if pictures.shape[3] == 1:
        pictures = np.repeat(pictures, 3, axis=3)
    if pictures.shape[3] != 3:
        raise ValueError(f"pictures have {pictures.shape[3]} channels")
    with np.errstate(over="ignore"):  # of numbers that no network answers with
        exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = exponential / exponential.sum(axis=1, keepdims=True)
    return Scores(confidence, labels, confidence.argmax(axis=1), pictures, shown)


def _indices(values: npt.NDArray[Any], end: int, name: str) -> Integers:
    if values.ndim != 1 or values.dtype.kind not in "iu" or (len(values) and not 0 <= values.min() <= values.max() < end):
        raise ValueError(f"{name} are not whole numbers from 0 to {end - 1}")
    return values.astype(np.int64)


def _layers(path: Path) -> list[Layer]:
    rows = json.loads(read_regular(path, _LARGEST_LAYERS))
    if not isinstance(rows, list) or len(rows) > MOST_LAYERS:
        raise TypeError(f"not a list of at most {MOST_LAYERS:,} layers")
    return [
        Layer(
            clipped(str(row["name"])),
            clipped(str(row["kind"])),
            " x ".join(clipped(str(int(edge))) for edge in row["output_shape"][:8]),
            amount(float(row["parameters"])),
            amount(float(row["macs"])),
        )
        for row in rows
    ]
