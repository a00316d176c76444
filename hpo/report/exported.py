"""What `hpo export` has left in the winner's folder: how each form compares with the original, and the model card's text.

The file may be missing, or another of the same name: then the page shows neither.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

from hpo.report.words import clipped, count, number
from hpo.system.files import read_regular

FILE = "export.json"  # in a trial's folder

_LARGEST = 1 << 22  # bytes
_MOST_FORMS, _LONGEST_CARD = 20, 100_000


class Row(NamedTuple):
    """A form, as text: its file, size, largest difference of logits, images of another class, milliseconds per picture."""

    file: str
    size: str
    difference: str
    differ: str
    milliseconds: str


class Export(NamedTuple):
    """An export as the page shows it.

    Attributes:
        rows: The original first.
        said: What was compared, in a sentence.
        card: README.md.
    """

    rows: list[Row]
    said: str
    card: str


def read_exported(folder: Path | None) -> Export | None:
    """Read what an export has left in a trial's folder; None if there is nothing that can be shown."""
    if folder is None:
        return None
    try:
        told = json.loads(read_regular(folder / FILE, _LARGEST))
        equal, card = told["equal"], told["card"]
        rows = [Row("the original, float32", "", "", "", number(float(equal["original"]["ms_per_picture"])))]
        rows += [_row(form) for form in equal["forms"][:_MOST_FORMS]]
        images = count(int(equal["images"]), "scored image")
        said = f"Each form was run on {images} and compared with the network in float32 ({clipped(str(equal['machine']))})."
        return Export(rows, said, clipped(str(card), _LONGEST_CARD))
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def _row(form: dict[str, object]) -> Row:
    largest = float(str(form["largest_difference"]))
    shown = f"{largest:.1g}" if math.isfinite(largest) else number(largest)
    values = (int(str(form["bytes"])), int(str(form["classes_differ"])), float(str(form["ms_per_picture"])))
    return Row(clipped(str(form["file"]), 60), f"{values[0] / 2**20:.2f}", shown, f"{values[1]:,}", number(values[2]))
