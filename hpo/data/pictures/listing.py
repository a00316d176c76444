"""Which pictures a folder has, of which classes, and on which side: listed, not opened.

    DIR/<class>/*                              hpo splits them
    DIR/{train,test}/<class>/*                 and `val`, `valid` or `validation`, if there is one
    DIR/labels.csv: path,label[,split]         or .tsv, beside the pictures (table.py)

Hidden files, those that systems leave in folders, empty folders and files that are no pictures by their names are passed over.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpo.errors import DataError

if TYPE_CHECKING:
    from hpo.data.arrays import Labels

TRAIN, VALIDATION, TEST = 0, 1, 2
SPLITS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
MAX_CLASSES = 1000
SYSTEM = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}
# Pillow knows these only by name, or needs another program for them: EPS would be run by Ghostscript.
_NOT_READ = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EPS"}
SHAPES = "Expected is DIR/<class>/*, DIR/{train,test}/<class>/*, or a table DIR/labels.csv with the columns path,label"

PictureFile = tuple[
    str, int, int
]  # path below the root, bytes, time of last change in ns; objects would take 0.1 s more for 60,000


class Broken(NamedTuple):
    """A picture that cannot be used."""

    path: str
    why: str


@dataclass(frozen=True)
class Listing:
    """Pictures with their classes, in the order of class and name.

    Attributes:
        root: The folder that all paths are relative to.
        layout: How it was read, as a part of a sentence.
        classes: Names, sorted.
        files: The pictures.
        labels: (N,) as many: indices into `classes`.
        splits: (N,) TRAIN, VALIDATION or TEST of each; None where nobody has split them.
        missing: Pictures that a table names, or a link points to, and that are not there.
        passed_over: Names of files that are no pictures, and of folders without any.
    """

    root: Path
    layout: str
    classes: tuple[str, ...]
    files: list[PictureFile]
    labels: Labels
    splits: Labels | None
    missing: list[Broken]
    passed_over: list[str]


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the endings of all formats that Pillow reads, in lower case, with their dots."""
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in Image.OPEN and name not in _NOT_READ)


@functools.cache
def formats() -> tuple[str, ...]:
    """Return the names of all formats that are read."""
    from PIL import Image

    Image.init()
    return tuple(name for name in Image.OPEN if name not in _NOT_READ)


def listed(root: Path) -> Listing:
    """List the pictures in a folder, or of a table.

    Raises:
        DataError: There are none, or of a single class, or the splits have different classes; says what to do.
    """
    from hpo.data.pictures import table

    if root.is_file() and root.suffix.lower() in table.SEPARATORS:
        return _checked(table.read(root))
    if not root.is_dir():
        raise DataError(f"{root} is {'no folder' if root.exists() else 'missing'}. {SHAPES}.")
    try:
        if found := table.find(root):
            return _checked(table.read(found))
        return _checked(_of_folders(root))
    except OSError as error:
        raise DataError(f"{error.filename or root} cannot be read: {error.strerror}.") from error


def _of_folders(root: Path) -> Listing:
    folders, passed_over = _folders(str(root))
    if not folders:
        raise DataError(f"{root} has no folders of pictures. {SHAPES}.")
    parts = _splits(root, folders)
    found: dict[str, list[tuple[int, str, str]]] = {}  # by class: split, folder, its path below the root
    for split, prefix, inside in parts or [(TRAIN, "", folders)]:
        for name, path in inside.items():
            if not _is_text(name):
                raise DataError(f"{root / prefix} has a class folder whose name is not UTF-8: {name!r}. Rename it.")
            found.setdefault(name, []).append((split, path, f"{prefix}{name}/"))
    missing: list[Broken] = []
    pictures: dict[str, list[tuple[int, PictureFile]]] = {}
    for name, places in found.items():
        inside_class = [(split, file) for split, path, prefix in places for file in below(path, prefix, missing, passed_over)]
        if inside_class:
            pictures[name] = inside_class
        else:
            passed_over.append(f"{name}/ (no pictures)")
    classes = tuple(sorted(pictures))
    files, labels, splits = [], [], []
    for label, name in enumerate(classes):
        for split, file in sorted(pictures[name]):
            files.append(file)
            labels.append(label)
            splits.append(split)
    layout = f"{', '.join(prefix for _, prefix, _ in parts)}, a folder per class" if parts else "a folder per class"
    return Listing(root, layout, classes, files, np.array(labels, np.int64), given(splits), missing, passed_over)


def given(splits: Sequence[int | None]) -> Labels | None:
    """Return the sides that somebody chose; where there is no test side, the validation side is that. None: nobody chose."""
    if TEST not in splits and VALIDATION not in splits:
        return None
    return np.array([TEST if split == VALIDATION and TEST not in splits else split for split in splits], np.int64)


def _splits(root: Path, folders: Mapping[str, str]) -> list[tuple[int, str, dict[str, str]]]:
    """Return the split folders with the class folders in each; none where the folders are classes."""
    parts = []
    for name, path in folders.items():
        if (side := split_named(name)) is not None:
            inside, loose = _folders(path)
            if not inside or any(_is_picture(file) for file in loose):  # pictures of a class that is called `train`
                return []
            parts.append((side, f"{name}/", inside))
    if parts and TRAIN not in (side for side, _, _ in parts):
        name = parts[0][1]
        raise DataError(f"{root} has a folder {name} of class folders, and no train/ beside it. {SHAPES}.")
    return parts


def split_named(name: str) -> int | None:
    """Return the side that a word means, such as `train`, `Validation` or `test_set`; None if it means none."""
    return SPLITS.get(re.sub(r"[ _-]?(set|data|images)$", "", name.strip().lower()))


def _folders(path: str) -> tuple[dict[str, str], list[str]]:
    """Return the visible folders in a folder, by name, and the names of visible files."""
    with os.scandir(path) as entries:
        visible = sorted((entry for entry in entries if not _is_hidden(entry.name)), key=lambda entry: entry.name)
    return {e.name: e.path for e in visible if e.is_dir()}, [e.name for e in visible if not e.is_dir()]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes()  # noqa: PTH122  # a Path per file would take a second for 60,000


def below(folder: str, prefix: str, missing: list[Broken], passed_over: list[str]) -> Iterator[PictureFile]:
    """Yield the pictures in a folder and in folders inside it; links to folders are not followed there.

    Args:
        folder: Its path.
        prefix: What stands before the names that are yielded.
        missing: Gets links to nothing.
        passed_over: Gets the names of files that are no pictures.
    """
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not _is_hidden(entry.name)]
    for entry in visible:
        name = prefix + entry.name
        if entry.is_dir():
            if not entry.is_symlink():
                yield from below(entry.path, f"{name}/", missing, passed_over)
        elif not _is_picture(entry.name):
            passed_over.append(name)
        elif entry.is_file():
            stat = entry.stat()
            yield name, stat.st_size, stat.st_mtime_ns
        else:
            missing.append(Broken(name, "is a link to nothing" if entry.is_symlink() else "is not a regular file"))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked(listing: Listing) -> Listing:
    root, classes = listing.root, listing.classes
    if not listing.files:
        raise DataError(f"{root} has no pictures in its folders. {SHAPES}.")
    if len(classes) == 1:
        raise DataError(f"{root} has pictures of a single class, {classes[0]!r}: there is nothing to tell apart. {SHAPES}.")
    if len(classes) > MAX_CLASSES:
        raise DataError(f"{root} has {len(classes):,} classes; at most {MAX_CLASSES:,} are possible. {SHAPES}.")
    if listing.splits is not None:
        train, test, validation = ({*listing.labels[listing.splits == part].tolist()} for part in (TRAIN, TEST, VALIDATION))
        if odd := (train ^ test) | (validation - train):
            names = ", ".join(classes[label] for label in sorted(odd)[:10])
            raise DataError(
                f"{root}: train and test must have the same classes; only one of them has {names}. "
                "Add pictures of these classes, or remove their folders."
            )
    return listing
