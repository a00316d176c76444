"""Many pictures, decoded into one file; what is decoded is kept when the process is killed."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpo.data.pictures.cores import Row, Work, each
from hpo.data.pictures.listing import Broken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from hpo.data.arrays import OnProgress, Pixels

SAVE = 1.0  # seconds between two notes of what is decoded
PIXELS, JOURNAL = "pixels.bin", "decoded.jsonl"


@dataclass(frozen=True)
class Decoded:
    """Decoded pictures.

    Attributes:
        pixels: (N, size, size, 3) uint8, mapped; zeros where a picture is broken.
        digests: Of each picture's pixels, as it is stored; empty where it is broken.
        broken: What could not be used.
    """

    pixels: Pixels
    digests: list[str]
    broken: list[Broken]


def decode_all(work: Work, names: Sequence[str], folder: Path, progress: OnProgress) -> Decoded:
    """Decode all pictures, continuing what a killed process has begun in `folder`.

    Args:
        work: What to do; its target is chosen here.
        names: Paths below the root.
        folder: For pixels and notes; the caller gives another one for other pictures.
        progress: Called a few times per second.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / PIXELS
    shape = (len(names), work.size, work.size, 3)
    n_bytes = int(np.prod(shape))
    rows: list[Row | None] = [None] * len(names)
    if target.exists() and target.stat().st_size == n_bytes:
        rows = read_journal(folder, len(names))
    else:
        (folder / JOURNAL).unlink(missing_ok=True)
        with target.open("wb") as file:
            file.truncate(n_bytes)
    what = f"decoding images to {work.size}x{work.size}"
    work = replace(work, target=str(target))
    with target.open("r+b") as pixels, (folder / JOURNAL).open("a", encoding="utf-8") as journal:
        notes = ["\n"]  # the last line may be half of one
        saved = time.monotonic()
        for positions in each(work, names, rows, what, progress):
            notes.append(json.dumps([positions, [rows[position] for position in positions]]) + "\n")
            if time.monotonic() - saved > SAVE:
                _save(pixels, journal, notes)
                saved = time.monotonic()
        _save(pixels, journal, notes)
    whole = [row or [None, "was not decoded"] for row in rows]
    broken = [Broken(name, row[1]) for name, row in zip(names, whole, strict=True) if row[0] is None]
    return Decoded(np.memmap(target, np.uint8, "r", shape=shape), [row[0] or "" for row in whole], broken)


def _save(pixels: IO[bytes], journal: IO[str], notes: list[str]) -> None:
    """Note what is decoded, once its pixels are on the disk."""
    os.fsync(pixels.fileno())
    journal.write("".join(notes))
    journal.flush()
    os.fsync(journal.fileno())
    notes.clear()


def read_journal(folder: Path, n: int) -> list[Row | None]:
    """Return what is noted of each of `n` pictures; None of those that are not decoded yet."""
    rows: list[Row | None] = [None] * n
    try:
        lines = (folder / JOURNAL).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return rows
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, LookupError):  # of a process that was killed, the last one may be half
            for position, row in zip(*json.loads(line), strict=True):
                rows[position] = row
    return rows
