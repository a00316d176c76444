"""What is known of files: a digest of their content, and their sides. A folder that was moved or copied is not decoded again.

An index per folder, in the cache, keeps what was found of each file. A file is looked at again when its size or its time has
changed. Decoded pictures are kept under their contents; so are those of an older state of the folder, which are taken over.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpo.data.pictures.cores import Row, Work, each
from hpo.data.pictures.decoding import JOURNAL, PIXELS, read_journal
from hpo.system.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hpo.data.arrays import OnProgress
    from hpo.data.pictures.listing import Listing

SAVE = 10.0  # seconds between two notes of what was found
FILES = "files.json"  # of an entry of the cache: which file's content became which picture


class Content(NamedTuple):
    """What a file holds: its digest, empty where it cannot be read, and the picture's sides as they are stored, 0 if unknown."""

    digest: str
    width: int
    height: int


def known(listing: Listing, folder: Path) -> list[Content] | None:
    """Return the contents of a listing's files; None if some have to be looked at.

    Args:
        listing: The files.
        folder: Of the cache, where the index is.
    """
    rows = _indexed(listing, _index(listing, folder))
    return None if None in rows else _contents(rows)


def looked_at(listing: Listing, folder: Path, progress: OnProgress) -> list[Content]:
    """Return the contents of a listing's files, after looking at those that are new or have changed. The caller holds the lock.

    Raises:
        OSError: The index cannot be written.
    """
    index = _index(listing, folder)
    rows = _indexed(listing, index)
    names = [name for name, _, _ in listing.files]
    saved = time.monotonic()
    for _ in each(Work(str(listing.root)), names, rows, "looking at the pictures", progress):
        if time.monotonic() - saved > SAVE:
            _note(listing, rows, index)
            saved = time.monotonic()
    _note(listing, rows, index)
    return _contents(rows)


def _contents(rows: Iterable[Row | None]) -> list[Content]:
    return [Content(*row) if row and row[0] else Content("", 0, 0) for row in rows]


def _index(listing: Listing, folder: Path) -> Path:
    where = hashlib.sha256(str(listing.root.resolve()).encode(errors="surrogateescape")).hexdigest()
    return folder / f"index-{where[:16]}.json"


def _indexed(listing: Listing, index: Path) -> list[Row | None]:
    try:
        found = json.loads(index.read_bytes())
        return [noted[2:] if (noted := found.get(name)) and noted[:2] == [*stats] else None for name, *stats in listing.files]
    except (OSError, ValueError, TypeError, AttributeError):
        return [None] * len(listing.files)


def _note(listing: Listing, rows: Sequence[Row | None], index: Path) -> None:
    files = zip(listing.files, rows, strict=True)
    told = {name: [size, changed, *row] for (name, size, changed), row in files if row and row[0]}
    write_atomically(index, json.dumps(told).encode())


def keep(work: Path, how: Sequence[object], contents: Sequence[Content], train: np.ndarray, test: np.ndarray) -> None:
    """Note in a work folder which content became which picture, for the entry of the cache that is made of it.

    Args:
        work: The folder.
        how: How pictures were decoded.
        contents: Of all files.
        train: Positions of training pictures.
        test: Likewise, for tests.
    """
    told = {"how": how, "files": [content.digest for content in contents], "train": train.tolist(), "test": test.tolist()}
    (work / FILES).write_text(json.dumps(told))


def take_over(work: Path, size: int, how: Sequence[object], contents: Sequence[Content], entries: Iterable[Path]) -> None:
    """Begin a work folder with the pictures that entries of the cache have already; one that was begun stays as it is."""
    target = work / PIXELS
    if target.exists():
        return
    left: dict[str, list[int]] = {}
    for position, content in enumerate(contents):
        left.setdefault(content.digest, []).append(position)
    left.pop("", None)
    notes = []
    shape = (len(contents), size, size, 3)
    pixels = np.memmap(target, np.uint8, "w+", shape=shape)
    for entry in entries:
        try:
            told = json.loads((entry / FILES).read_bytes())
            if told["how"] != [*how]:
                continue
            rows = read_journal(entry, len(told["files"]))
            for split in ("train", "test"):
                images = np.load(entry / f"{split}-images.npy", mmap_mode="r")
                for image, source in zip(images, told[split], strict=True):
                    for position in left.pop(told["files"][source], []):
                        pixels[position] = image
                        notes.append((position, rows[source]))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # a damaged entry has nothing to give
    pixels.flush()
    if notes:
        (work / JOURNAL).write_text(json.dumps([*zip(*notes, strict=True)]) + "\n", encoding="utf-8")
