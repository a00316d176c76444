"""Checks of this machine: packages, device, disk, file system."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hpo.data.cache import UNUSED, default_folder, unused
from hpo.doctor.diagnosis import Diagnosis
from hpo.errors import HpoError, StorageError
from hpo.pools.devices import described, free_memory, seats
from hpo.store import place

if TYPE_CHECKING:
    from hpo.folders import Location

LOW_SPACE = 2**30  # bytes


def versions() -> Iterator[Diagnosis]:
    """Check the versions of the most important packages."""
    installed = {}
    for package in ("torch", "torchvision", "optuna"):
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            yield Diagnosis("versions", "bad", f"{package} is not installed.", f"pip install {package}")
    release = re.match(r"2\.(\d+)", installed.get("torch", ""))
    matching = f"0.{int(release[1]) + 15}" if release else ""  # torch 2.6 was released with torchvision 0.21, and so on
    if matching and not installed.get("torchvision", matching + ".").startswith(matching + "."):
        found = f"torch {installed['torch']} and torchvision {installed['torchvision']} do not match."
        yield Diagnosis("versions", "bad", found, f"pip install 'torchvision=={matching}.*'")
    else:
        yield Diagnosis("versions", "ok", ", ".join(f"{k} {v}" for k, v in installed.items()) + ".")


def device() -> Iterator[Diagnosis]:
    """Check the devices that would train."""
    try:
        planned = seats("auto", "auto", lanes=True)
    except HpoError as error:
        yield Diagnosis("device", "bad", str(error))
        return
    device = ", ".join(dict.fromkeys(seat.device for seat in planned))
    trains = described(planned, "auto")
    where = trains if device in trains else f"{trains} on {device}"
    yield Diagnosis("device", "ok", f"{where}, {free_memory() / 2**30:.1f} GiB of memory free.")


def disk(location: Location) -> Iterator[Diagnosis]:
    """Check the folder of the database."""
    folder = place.existing(location.path.parent if location.path else location.folder)
    free = shutil.disk_usage(folder).free
    state: Literal["ok", "bad"] = "ok" if free >= LOW_SPACE else "bad"
    yield Diagnosis(
        "disk",
        state,
        f"{free / 2**30:.1f} GiB free in {folder}.",
        "" if state == "ok" else "free some space, then: hpo resume STUDY",
    )
    if not place.may_write(folder):
        yield Diagnosis("disk", "bad", f"{folder} cannot be written.", f"use another folder: {place.ELSEWHERE}")
    else:
        yield from _locks(folder)
    if location.path and (risk := place.risk(location.path)):
        yield Diagnosis("file system", "bad", risk, f"put the database on a local disk: {place.ELSEWHERE}")
    else:
        kind = place.file_system(folder)
        yield Diagnosis("file system", "ok", f"{kind}, local." if kind else "of unknown type, assumed to be local.")


def cache() -> Iterator[Diagnosis]:
    """Find decoded images that nobody has used for long."""
    try:
        folder = default_folder()
    except StorageError:
        return
    if old := unused(folder):
        size = sum(file.stat().st_size for path in old for file in path.iterdir() if file.is_file()) / 2**20
        sets = "1 data set that was" if len(old) == 1 else f"{len(old):,} data sets that were"
        found = f"{folder} holds decoded images of {sets} not used for {UNUSED // 86400} days ({size:,.0f} MiB)."
        yield Diagnosis("cache", "note", found, "hpo doctor --repair", lambda: _remove(folder))


def _remove(folder: Path) -> None:
    for path in unused(folder):  # some may have been used meanwhile
        shutil.rmtree(path, ignore_errors=True)


def _locks(folder: Path) -> Iterator[Diagnosis]:
    try:
        why = place.no_locks(folder)
    except OSError as error:
        yield Diagnosis(
            "disk", "bad", f"no file can be created in {folder}: {error.strerror}.", f"free some space, or: {place.ELSEWHERE}"
        )
        return
    if why:
        found = f"files in {folder} cannot be locked: its file system has no locks ({why})."
        yield Diagnosis("locks", "bad", found, f"put the database on another file system: {place.ELSEWHERE}")
