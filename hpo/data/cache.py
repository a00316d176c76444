"""Cache of decoded data sets: raw arrays on disk, memory-mapped by every process that trains.

An entry is a folder, named after a hash of the source's key. It is written under another name, synced and renamed, so
it is complete or absent. Opening it checks sizes and shapes, not the digest, so that 180 MB are mapped in a millisecond.
An entry that fails the check is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.data.arrays import DataSet, OnProgress, Split
from hpo.errors import StorageError, UsageError
from hpo.system.files import expanded, refusal, sync_folder
from hpo.system.locks import Lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMAT = 1  # increase it when entries of older versions of hpo must not be read
ABOUT = "about.json"
UNUSED = 90 * 86400  # seconds after which the doctor may remove an entry
ABANDONED = 7 * 86400  # seconds after which what a killed process has begun is not continued any more


def default_folder() -> Path:
    """Return $HPO_CACHE_DIR, or `hpo` in this system's folder for caches.

    Raises:
        StorageError: No variable names a folder, and this user has no home folder.
    """
    if chosen := os.environ.get("HPO_CACHE_DIR"):
        return expanded(chosen)
    variable, folder = ("LOCALAPPDATA", "~/AppData/Local") if sys.platform == "win32" else ("XDG_CACHE_HOME", "~/.cache")
    try:
        return expanded(os.environ.get(variable) or folder) / "hpo"
    except UsageError:
        raise StorageError(
            "this user has no home folder to keep decoded images in. Name a folder: HPO_CACHE_DIR=FOLDER"
        ) from None


@contextlib.contextmanager
def locked(folder: Path, name: str, progress: OnProgress) -> Iterator[None]:
    """Hold the lock on data set `name`, so that one process downloads and decodes it while others wait."""

    def pause(seconds: float) -> None:
        progress("waiting for another hpo to prepare the data", 0, 0)
        time.sleep(seconds)

    lock = Lock(folder / f"{name}.lock", f"process {os.getpid()}", elsewhere="HPO_CACHE_DIR=FOLDER")
    try:
        lock.wait(pause)
    except OSError as error:
        raise _refused(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def entry(folder: Path, name: str, key: str) -> Path:
    """Return the path of the entry for this source, whether it exists or not."""
    digest = hashlib.sha256(f"{FORMAT} {key}".encode(errors="surrogateescape")).hexdigest()
    return folder / f"{name}-{digest[:16]}"


@contextlib.contextmanager
def work_folder(folder: Path, name: str, key: str) -> Iterator[Path]:
    """Give a source a folder for what it has begun, which is kept until it succeeds; what others left for a week is removed.

    Raises:
        StorageError: The cache cannot be written, or the disk is full.
    """
    work = entry(folder, f".{name}", key)
    with writing(folder):
        for old in folder.glob(f".{name}-*"):
            if old != work and time.time() - old.stat().st_mtime > ABANDONED:
                shutil.rmtree(old, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        yield work
    shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say what to do if the cache cannot be written.

    Raises:
        StorageError: It cannot, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise _refused(folder, error) from error


def open_entry(path: Path) -> DataSet | None:
    """Map an entry into memory, and note in the time of its file that it was used; None if it is missing or damaged."""
    try:
        about = json.loads((path / ABOUT).read_bytes())
        with contextlib.suppress(OSError):  # somebody else's
            os.utime(path / ABOUT)
        train, test = (_open_split(path, split, about["sizes"]) for split in ("train", "test"))
        told = about["digest"], about["source"], int(about.get("n_validation", 0))
        return DataSet(about["name"], tuple(about["classes"]), train, test, *told)
    except (OSError, ValueError, LookupError, TypeError, EOFError):
        return None


def unused(folder: Path) -> list[Path]:
    """Return the entries that nobody has used for `UNUSED` seconds. They can be made again from where the images came from."""
    whole = []
    for about in folder.glob(f"*-{'[0-9a-f]' * 16}/{ABOUT}"):
        with contextlib.suppress(OSError):
            if time.time() - about.stat().st_mtime > UNUSED:
                whole.append(about.parent)
    return sorted(whole)


def store(path: Path, data: DataSet, more: Sequence[Path] = ()) -> DataSet:
    """Write an entry, with `more` files that are moved into it, and return it as `open_entry` does. The caller holds the lock.

    Raises:
        StorageError: The cache cannot be written, or the disk is full.
    """
    aside = path.with_name(f".{path.name}.tmp")
    try:
        for leftover in (aside, path):  # left by a killed process; a damaged entry
            if leftover.exists():
                shutil.rmtree(leftover)
        aside.mkdir(parents=True)
        for file in more:
            file.rename(aside / file.name)
        _write(aside, data)
        aside.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise _refused(path.parent, error) from error
    stored = open_entry(path)
    if stored is None:
        raise StorageError(f"{path} was written and cannot be read back. Check the disk, or set HPO_CACHE_DIR to another folder.")
    return stored


def _write(folder: Path, data: DataSet) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "train-images.npy": data.train.images,
        "train-labels.npy": data.train.labels,
        "test-images.npy": data.test.images,
        "test-labels.npy": data.test.labels,
    }
    for name, array in arrays.items():
        if isinstance(array, np.memmap) and Path(str(array.filename)).name == name:  # a source has written it already
            Path(str(array.filename)).rename(folder / name)
        else:
            with (folder / name).open("xb") as file:
                np.save(file, array, allow_pickle=False)
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    sizes = {name: (folder / name).stat().st_size for name in arrays}
    told = {key: getattr(data, key) for key in ("name", "classes", "digest", "source", "n_validation")}
    about = {**told, "sizes": sizes}
    with (folder / ABOUT).open("x", encoding="utf-8") as text:
        json.dump(about, text, indent=1)
        text.flush()
        os.fsync(text.fileno())
    sync_folder(folder)


def _open_split(folder: Path, split: str, sizes: dict[str, int]) -> Split:
    images, labels = folder / f"{split}-images.npy", folder / f"{split}-labels.npy"
    for file in (images, labels):
        if file.stat().st_size != sizes[file.name]:
            raise ValueError(f"the size of {file} has changed since it was written")
    opened = Split(np.load(images, mmap_mode="c"), np.load(labels))
    n, height, width, channels = opened.images.shape
    if (n, height) != (len(opened.labels), width) or channels not in (1, 3) or opened.images.dtype != np.uint8:
        raise ValueError(f"{images} does not contain images")
    return opened


def _refused(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write decoded images to {folder}: {refusal(error, folder)}\n"
        "Make it writable, or set HPO_CACHE_DIR to another folder."
    )
