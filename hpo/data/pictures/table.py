"""Pictures by a table beside them: a CSV or a TSV with the columns path and label, and split if it says so."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np

from hpo.data.pictures.listing import Broken, Listing, PictureFile, given, split_named
from hpo.errors import DataError
from hpo.system.files import read_regular

SEPARATORS = {".csv": (",", ";"), ".tsv": ("\t",)}
COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "image", "picture"),
    "label": ("label", "class", "category"),
    "split": ("split", "subset"),
}
MAX_BYTES = 1 << 28


def find(root: Path) -> Path | None:
    """Return the one table in a folder that has columns of paths and labels; None where there is none.

    Raises:
        DataError: There are several.
    """
    found = []
    for path in sorted(root.iterdir()):
        if path.suffix.lower() in SEPARATORS and path.is_file() and not path.name.startswith("."):
            with path.open("rb") as file:
                first = file.readline(4096)
            if {"path", "label"} <= _columns(_separated(first, path)).keys():
                found.append(path)
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"{root} has several tables of pictures: {names}. Name one of them: --data {found[0]}")
    return found[0] if found else None


def read(path: Path) -> Listing:
    """Read a table.

    Raises:
        DataError: It has no such columns, or a row makes no sense; names the row.
    """
    try:
        text = read_regular(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}. Save it as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    columns = _columns(_separated(text.partition("\n")[0].encode(), path))
    if not {"path", "label"} <= columns.keys():
        raise DataError(f"{path} has no columns path and label in its first line. Write them there: path,label[,split]")
    seen: dict[str, tuple[str, int | None]] = {}
    for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=_separator(text, path)), 1):
        if number > 1 and any(cell.strip() for cell in row):
            name, label, split = _row(path, number, row, columns)
            if seen.setdefault(name, (label, split)) != (label, split):
                raise DataError(f"{path}, line {number}: {name} has two labels or is on two sides. Keep one of its lines.")
    return _listing(path, seen)


def _row(path: Path, number: int, row: list[str], columns: dict[str, int]) -> tuple[str, str, int | None]:
    cells = {name: row[index].strip() if index < len(row) else "" for name, index in columns.items()}
    if not cells["path"] or not cells["label"]:
        raise DataError(f"{path}, line {number} lacks a path or a label. Complete or remove it.")
    if "split" not in cells:
        return cells["path"], cells["label"], None
    split = split_named(cells["split"])
    if split is None:
        raise DataError(f"{path}, line {number}: split is {cells['split']!r}; write train, validation or test.")
    return cells["path"], cells["label"], split


def _listing(path: Path, rows: dict[str, tuple[str, int | None]]) -> Listing:
    classes = tuple(sorted({label for label, _ in rows.values()}))
    index = {name: label for label, name in enumerate(classes)}
    missing: list[Broken] = []
    found: list[tuple[int, int | None, PictureFile]] = []
    for name, (label, split) in rows.items():
        try:
            stat = os.stat(path.parent / name)  # noqa: PTH116  # 60,000 of them
        except (OSError, ValueError) as error:
            missing.append(Broken(name, f"is missing ({getattr(error, 'strerror', None) or error})"))
        else:
            found.append((index[label], split, (name, stat.st_size, stat.st_mtime_ns)))
    found.sort(key=lambda one: (one[0], one[1] or 0, one[2][0]))
    return Listing(
        root=path.parent,
        layout=f"labels of {path.name}",
        classes=classes,
        files=[file for _, _, file in found],
        labels=np.array([label for label, _, _ in found], np.int64),
        splits=given([split for _, split, _ in found]),
        missing=missing,
        passed_over=[],
    )


def _columns(header: list[str]) -> dict[str, int]:
    names = [cell.strip().lower() for cell in header]
    return {kind: names.index(name) for kind, known in COLUMNS.items() for name in reversed(known) if name in names}


def _separated(first: bytes, path: Path) -> list[str]:
    text = first.decode("utf-8-sig", "replace")
    return next(csv.reader([text.rstrip("\r\n")], delimiter=_separator(text, path)), [])


def _separator(text: str, path: Path) -> str:
    first = text.partition("\n")[0]
    return max(SEPARATORS[path.suffix.lower()], key=first.count)
