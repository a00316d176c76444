"""Files that a worker leaves beside the best checkpoint: class scores, pictures, and the table of layers.

They may be missing, incomplete, or another file of the same name. For each file that cannot be used, `missing` has a
sentence, and the page omits that part. Nothing is unpickled.
"""

from __future__ import annotations

import io
import json
import lzma
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpo.report.words import amount, clipped
from hpo.system.files import read_regular

if TYPE_CHECKING:
    from hpo.report.statistics.stats import Floats

MAX_EDGE = 128  # pixels along a picture's edge; larger pictures would make the page too large
MAX_PICTURES = 200
MAX_CLASSES = 10_000
MAX_LAYERS = 1_000
MAX_LAYERS_BYTES = 2**20
_MAX_SCORES_BYTES, _MAX_UNPACKED_BYTES = 2**27, 2**29  # checked before anything is read
_DAMAGE = (OSError, ValueError, LookupError, TypeError, ArithmeticError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile)
_UNPACKABLE = (zlib.error, lzma.LZMAError)

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """The winner's answers to all scored images.

    Attributes:
        confidence: (N, C) probabilities by softmax.
        labels: (N,) true classes.
        predicted: (N,) classes of the largest probability.
        pictures: (K, H, W, 3) uint8, as the worker chose and ordered them.
        shown: (K,) index of each picture among the N images.
    """

    confidence: Floats
    labels: Integers
    predicted: Integers
    pictures: npt.NDArray[np.uint8]
    shown: Integers


LayerRow = tuple[str, str, str, str, str]  # name, kind, shape, parameters and multiply-adds, as text


@dataclass(frozen=True)
class Artifacts:
    """The contents of the winner's folder, and a sentence for each file that could not be read."""

    scores: Scores | None = None
    layers: list[LayerRow] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def read_artifacts(folder: Path | None) -> Artifacts:
    """Read the winner's files from `folder`; None if the study has no folder for them."""
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
    packed = io.BytesIO(read_regular(path, _MAX_SCORES_BYTES))
    with zipfile.ZipFile(packed) as archive:
        if (unpacked := sum(member.file_size for member in archive.infolist())) > _MAX_UNPACKED_BYTES:
            raise ValueError(f"it would take {unpacked:,} bytes")
    packed.seek(0)
    with np.load(packed, allow_pickle=False) as file:
        logits, labels, pictures, shown = (file[name] for name in ("logits", "labels", "pictures", "picture_indices"))
    if logits.ndim == 2 and not 1 <= logits.shape[1] <= MAX_CLASSES:
        raise ValueError(f"it has {logits.shape[1]:,} classes; at most {MAX_CLASSES} can be shown")
    if logits.dtype.kind != "f":
        raise TypeError(f"logits are {logits.dtype}")
    logits = logits.astype(np.float64)  # (N, C)
    if logits.ndim != 2 or labels.shape != (len(logits),) or not len(logits) or not np.isfinite(logits).all():
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} do not match, or are not finite")
    labels, shown = _indices(labels, logits.shape[1], "labels"), _indices(shown, len(logits), "picture_indices")
    small = pictures.ndim == 4 and len(pictures) <= MAX_PICTURES and all(1 <= edge <= MAX_EDGE for edge in pictures.shape[1:3])
    if not small or len(pictures) != len(shown) or pictures.dtype != np.uint8:
        raise ValueError(f"pictures {pictures.shape} of {pictures.dtype} are not small pictures in colour")
    if pictures.shape[3] == 1:
        pictures = np.repeat(pictures, 3, axis=3)
    if pictures.shape[3] != 3:
        raise ValueError(f"pictures have {pictures.shape[3]} channels")
    with np.errstate(over="ignore"):  # from logits that no network returns
        exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = exponential / exponential.sum(axis=1, keepdims=True)
    return Scores(confidence, labels, confidence.argmax(axis=1), pictures, shown)


def _indices(values: npt.NDArray[Any], end: int, name: str) -> Integers:
    if values.ndim != 1 or values.dtype.kind not in "iu" or (len(values) and not 0 <= values.min() <= values.max() < end):
        raise ValueError(f"{name} are not whole numbers from 0 to {end - 1}")
    return values.astype(np.int64)


def _layers(path: Path) -> list[LayerRow]:
    rows = json.loads(read_regular(path, MAX_LAYERS_BYTES))
    if not isinstance(rows, list) or len(rows) > MAX_LAYERS:
        raise TypeError(f"not a list of at most {MAX_LAYERS:,} layers")
    return [
        (
            clipped(str(row["name"])),
            clipped(str(row["kind"])),
            " x ".join(clipped(str(int(edge))) for edge in row["output_shape"][:8]),
            amount(float(row["parameters"])),
            amount(float(row["macs"])),
        )
        for row in rows
    ]
