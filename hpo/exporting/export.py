"""An export from beginning to end: the network, its forms, the proof that each computes the same, the card, the folder.

Nothing is left under the final name until every form has been run on scored images and compared with the original.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hpo.data import datasets
from hpo.data.arrays import silent
from hpo.data.sampling import chosen as chosen_images
from hpo.errors import DataError, NoResultError
from hpo.exporting import folder as place
from hpo.exporting import forms
from hpo.exporting.card import card
from hpo.networks import stored
from hpo.networks.device import scoring_batch
from hpo.report.exported import FILE
from hpo.settings import PLACES, data_folder
from hpo.system.failpoints import reach
from hpo.system.files import expanded, read_regular, write_atomically

if TYPE_CHECKING:
    from hpo.exporting.forms import Floats, Pixels, Run
    from hpo.networks.network import Network
    from hpo.store.reading.record import StudyRecord

IMAGES = 1000  # scored images that every form is run on
TOLERANCE = 1e-3  # largest difference of a logit

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proof:
    """How one form compares with the original.

    Attributes:
        form: As in `--as`.
        file: Its main file.
        bytes: Size of its files.
        largest_difference: Of any logit, absolute.
        classes_differ: Images that get another class.
        ms_per_picture: Milliseconds, in batches, on this machine; the mirrored view included.
        opset: Of ONNX; None for other forms.
    """

    form: str
    file: str
    bytes: int
    largest_difference: float
    classes_differ: int
    ms_per_picture: float
    opset: int | None = None


@dataclass(frozen=True)
class Exported:
    """What an export has made.

    Attributes:
        folder: Where it is.
        images: Scored images that every form was run on.
        proofs: Of each form that computes.
        ms_per_picture: Of the original.
        left_out: For each form that was left out because it cannot be made, a sentence.
    """

    folder: Path
    images: int
    proofs: tuple[Proof, ...]
    ms_per_picture: float
    left_out: tuple[str, ...] = ()


def export(
    record: StudyRecord,
    folder: Path | str,
    asked: Sequence[str] | None = None,
    *,
    data_dir: Path | None = None,
    told: Callable[[str, int, int], None] = silent,
) -> Exported:
    """Write the best trial's network into a folder, in forms that run without hpo. Arguments and errors: `hpo.export`."""
    if asked is not None:
        forms.check(asked)
    folder = expanded(folder)
    place.check(folder)
    told("opening the network", 0, 0)
    network = record.network()
    wanted, left_out = forms.chosen(asked, network)
    pixels = _scored_pixels(record, network, data_dir, told)
    original = forms.running(forms.reference(network))
    expected, ms = _computed(original, pixels)
    proofs = []
    with place.replaced(folder) as made:
        for name in wanted:
            if name in forms.PROVEN:
                told(f"writing and checking {forms.PROVEN[name].files[0]}", 0, 0)
                proofs.append(_proven(name, network, made, pixels, expected))
                reach("export.proven")
        equal = _equal(record, network, expected, proofs, ms)
        text = card(record, network.description, equal, wanted, forms.built_by(network))
        if "card" in wanted:
            (made / forms.CARD).write_text(text, "utf-8", errors="replace")
        equal["files"] = sorted(path.name for path in made.iterdir())
        (made / place.EQUAL).write_text(json.dumps(equal, indent=2) + "\n")
    _noted(record, equal, text)
    return Exported(folder, len(pixels), tuple(proofs), ms, tuple(left_out))


def _scored_pixels(record: StudyRecord, network: Network, data_dir: Path | None, told: Callable[[str, int, int], None]) -> Pixels:
    """Return the first scored images, (n, size, size, 3) uint8.

    Raises:
        DataError: The data set is not here, or is another one now.
    """
    settings = record.settings
    assert settings is not None  # noqa: S101  # a study of ours: it has a network
    options = record.attributes.get("options")
    before = options if isinstance(options, dict) else {}
    places = {key: Path(before[key]) for key in PLACES if getattr(settings, key) and isinstance(before.get(key), str)}
    remembered = before.get("data_dir")
    folder = data_folder(data_dir, Path(remembered) if isinstance(remembered, str) else None)
    data = datasets.of(settings.model_copy(update=places), folder, progress=told)
    known = network.description.data.get("digest") or (record.attributes.get("environment") or {}).get("data_digest")
    if known and known != data.digest:
        raise DataError(
            f"the images of study {record.name!r} have changed since it was made (SHA-256 {known[:12]}…, now "
            f"{data.digest[:12]}…): exported files could not be compared on what was scored."
        )
    _, split, scored = chosen_images(data, settings)
    some = np.ascontiguousarray(split.images[scored[:IMAGES]])
    return np.repeat(some, 3, axis=3) if some.shape[3] == 1 else some


def _computed(run: Run, pixels: Pixels) -> tuple[Floats, float]:
    """Return logits, and milliseconds per picture, the median over batches.

    The first picture comes alone: a batch may have any size.
    """
    size = scoring_batch(torch.device("cpu"))
    parts = [pixels[:1], *(pixels[first : first + size] for first in range(1, len(pixels), size))]
    made, each = [run(parts[0])], []
    run(parts[-1])  # a network's first batch also plans memory
    for part in parts[1:]:
        began = time.perf_counter()
        made.append(run(part))
        each.append(1000 * (time.perf_counter() - began) / len(part))
    return np.concatenate(made), float(np.median(each)) if each else math.nan


def _proven(name: str, network: Network, folder: Path, pixels: Pixels, expected: Floats) -> Proof:
    """Write a form, and compare what its files compute with the original.

    Raises:
        NoResultError: It fails, or computes something else; names the form.
    """
    form = forms.PROVEN[name]
    try:
        details = form.write(network, folder)
        reach(f"export.{name}")
        logits, ms = _computed(form.opened(folder, network), pixels)
    except OSError:
        raise
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise _failed(name, f"cannot be made of this network ({type(error).__name__}: {said[0][:300]})") from error
    if logits.shape != expected.shape:
        raise _failed(name, f"computes {logits.shape} instead of {expected.shape}")
    largest = float(np.abs(logits - expected).max())
    differ = int((logits.argmax(1) != expected.argmax(1)).sum())
    if not largest <= TOLERANCE:  # not a number, neither
        raise _failed(
            name,
            f"does not compute what the network does: on {len(pixels):,} scored images logits differ by up to {largest:.2g} "
            f"(at most {TOLERANCE:g} is allowed), and {differ:,} classes",
        )
    size = sum((folder / file).stat().st_size for file in form.files)
    return Proof(name, form.files[0], size, largest, differ, ms, details.get("opset"))


def _failed(name: str, why: str) -> NoResultError:
    rest = ",".join(form for form in forms.FORMS if form != name)
    return NoResultError(f"the form {name} {why}. Nothing was written. Leave it out: --as {rest}")


def _equal(record: StudyRecord, network: Network, expected: Floats, proofs: list[Proof], ms: float) -> dict[str, Any]:
    """Return the content of equal.json."""
    difference, classes = _from_recorded(record, expected)
    precision = network.description.precision or (record.attributes.get("environment") or {}).get("precision", "")
    versions = {name: metadata.version(name) for name in ("torch", *(["onnxruntime"] if any(p.opset for p in proofs) else []))}
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
    return {
        "program": "hpo",
        "hpo": stored.versions()["hpo"],
        "study": record.name,
        "trial": record.best.number,
        "images": len(expected),
        "tolerance": TOLERANCE,
        "machine": ", ".join([machine, *(f"{name} {version}" for name, version in versions.items())]),
        "original": {"precision": "float32", "ms_per_picture": ms},
        "scored": {"precision": precision, "largest_difference": difference, "classes_differ": classes},
        "forms": [{key: value for key, value in asdict(proof).items() if value is not None} for proof in proofs],
    }


def _from_recorded(record: StudyRecord, expected: Floats) -> tuple[float | None, int | None]:
    """Return how far the logits that the trial recorded are from the network's in float32."""
    folder = record.winner_folder
    assert folder is not None  # noqa: S101  # its network lies there
    try:
        with np.load(io.BytesIO(read_regular(folder / "scores.npz", 1 << 29)), allow_pickle=False) as file:
            recorded = np.asarray(file["logits"], np.float32)[: len(expected)]
        return float(np.abs(recorded - expected).max()), int((recorded.argmax(1) != expected.argmax(1)).sum())
    except Exception:  # noqa: BLE001  # whatever is there instead
        return None, None


def _noted(record: StudyRecord, equal: dict[str, Any], text: str) -> None:
    """Leave for the study's page what was exported, beside the trial's other files."""
    folder = record.winner_folder
    try:
        if folder is not None and os.access(folder, os.W_OK):
            write_atomically(folder / FILE, json.dumps({"equal": equal, "card": text}).encode())
    except OSError as error:
        _logger.warning("the study's page will not show this export: %s", error)
