"""What is wrong with a study, its files and this machine, and the command that mends it.

Each check is a function that looks and yields findings; none changes anything. Findings whose mending is safe (nothing that
anybody needs is lost) carry a `repair`, to be called after a `backup` of the database.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil
from optuna.trial import TrialState

from hpo.errors import HpoError, StorageError
from hpo.files import Lock
from hpo.pools.devices import free_memory, seats
from hpo.search.patience import LOCK_TIMEOUT
from hpo.search.record import load_all
from hpo.search.samplers import distributions
from hpo.search.storage import exists, open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hpo.search.record import StudyRecord
    from hpo.search.storage import Location

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "fuse.sshfs", "glusterfs"}
LOW_SPACE = 2**30  # bytes


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: Its name.
        state: `ok`, `note` (good to know), or `bad`.
        found: A sentence.
        mend: The command or the step that mends it; empty where nothing is to do.
        repair: Does it, where that is safe.
    """

    check: str
    state: Literal["ok", "note", "bad"]
    found: str
    mend: str = ""
    repair: Callable[[], None] | None = None


def examine(location: Location, name: str | None = None) -> list[Finding]:
    """Run all checks: of the machine, of the database, and of one study or of all."""
    findings = [*_versions(), *_device(), *_disk(location)]
    if not exists(location):
        return [*findings, Finding("database", "note", f"there is no database {location} yet.", "hpo run")]
    try:
        records = [r for r in load_all(location) if name in (None, r.name)]
    except StorageError as error:
        return [*findings, Finding("database", "bad", str(error), "restore a copy, or name another with --storage")]
    findings += _integrity(location)
    if name is not None and not records:
        findings.append(Finding("study", "bad", f"there is no study {name!r} in {location}.", "hpo list"))
    for record in records:
        findings += [*_stale(record), *_space(record), *_checkpoints(record), *_clock(record)]
    return findings


def backup(location: Location) -> Path | None:
    """Copy a SQLite database beside itself, consistently, and return the copy's path.

    Raises:
        StorageError: The copy cannot be written.
    """
    if location.path is None:
        return None
    copy = location.path.with_name(f"{location.path.name}.{datetime.now():%Y%m%d-%H%M%S}.bak")  # noqa: DTZ005  # a name for people
    try:
        with (
            contextlib.closing(sqlite3.connect(location.path, timeout=LOCK_TIMEOUT)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise StorageError(f"the backup {copy} cannot be written: {error}. Nothing was repaired.") from None
    return copy


# -- the machine -------------------------------------------------------------------------------------------------------


def _versions() -> Iterator[Finding]:
    versions = {}
    for package in ("torch", "torchvision", "optuna"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            yield Finding("versions", "bad", f"{package} is not installed.", "pip install hpo")
    major, _, rest = versions.get("torch", "").partition(".")
    belonging = f"0.{int(rest.partition('.')[0]) + 15}" if major == "2" else ""  # torch 2.6 came with 0.21, and so on
    if belonging and not versions.get("torchvision", "").startswith(belonging + "."):
        found = f"torch {versions['torch']} and torchvision {versions['torchvision']} do not belong together."
        yield Finding("versions", "bad", found, f"pip install 'torchvision=={belonging}.*'")
    else:
        yield Finding("versions", "ok", ", ".join(f"{k} {v}" for k, v in versions.items()) + ".")


def _device() -> Iterator[Finding]:
    try:
        planned = seats("auto", "auto")
    except HpoError as error:
        yield Finding("device", "bad", str(error))
        return
    devices = ", ".join(dict.fromkeys(seat.device for seat in planned))
    yield Finding("device", "ok", f"{len(planned)} workers on {devices}, {free_memory() / 2**30:.1f} GiB of memory free.")


def _disk(location: Location) -> Iterator[Finding]:
    folder = _existing(location.path.parent if location.path else location.folder)
    free = shutil.disk_usage(folder).free
    state: Literal["ok", "bad"] = "ok" if free >= LOW_SPACE else "bad"
    yield Finding(
        "disk", state, f"{free / 2**30:.1f} GiB free in {folder}.", "" if state == "ok" else "make space, then: hpo resume STUDY"
    )
    if not os.access(folder, os.W_OK):
        yield Finding("disk", "bad", f"{folder} cannot be written.", "name another place: --storage PATH")
    kind = _file_system(folder)
    if location.path and kind in _NETWORK:
        found = f"{folder} is on a network file system ({kind}); SQLite's locks do not hold there."
        yield Finding("file system", "bad", found, "put the database on a local disk: --storage PATH")
    else:
        yield Finding("file system", "ok", f"{kind or 'unknown'}, local.")


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _file_system(folder: Path) -> str:
    mounts = [p for p in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(p.mountpoint)]
    return max(mounts, key=lambda p: len(p.mountpoint)).fstype if mounts else ""


# -- the database and its studies --------------------------------------------------------------------------------------


def _integrity(location: Location) -> Iterator[Finding]:
    if location.path is None:
        yield Finding("database", "ok", f"{location} answers.")
        return
    open_storage(location)  # recognizes, and checks the schema
    with contextlib.closing(
        sqlite3.connect(f"{location.path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_TIMEOUT)
    ) as connection:
        try:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
        except sqlite3.Error as error:
            problems = [str(error)]
    if problems == ["ok"]:
        yield Finding("database", "ok", f"{location} is sound, and of this Optuna's schema.")
    else:
        found = f"{location} is damaged: {'; '.join(problems)}."
        yield Finding("database", "bad", found, f"restore a copy, or: sqlite3 {location.path} .recover | sqlite3 recovered.db")


def _stale(record: StudyRecord) -> Iterator[Finding]:
    running = [t.number for t in record.trials if t.state == TrialState.RUNNING]
    lock = Lock(record.folder / "lock")
    if lock.is_free():
        if running:
            found = f"study {record.name}: trials {_some(running)} are RUNNING, and nobody runs the study."
            yield Finding("running trials", "note", found, f"they go on from their last epoch with: hpo resume {record.name}")
        else:
            yield Finding("running trials", "ok", f"study {record.name}: none is left behind.")
    else:
        yield Finding("running trials", "ok", f"study {record.name} is being run by {lock.held_by()}.")


def _space(record: StudyRecord) -> Iterator[Finding]:
    space = record.space
    if space is None:
        yield Finding("space", "note", f"study {record.name} was not made by hpo, or its space is of another version.")
        return
    expected = distributions(space)
    strangers = [t.number for t in record.trials if t.params and t.distributions != expected]
    if strangers:
        found = f"study {record.name}: trials {_some(strangers)} were drawn from another space than the study's."
        yield Finding("space", "bad", found, f"begin anew beside it: hpo run {record.name}-2")
    else:
        yield Finding("space", "ok", f"study {record.name}: all trials are of its space.")


def _checkpoints(record: StudyRecord) -> Iterator[Finding]:
    numbers = {t.number: t for t in record.trials}
    folders = {p: int(p.name.removeprefix("trial-")) for p in record.folder.glob("trial-[0-9]*") if p.is_dir()}
    done = {TrialState.PRUNED, TrialState.FAIL}
    orphans = [p for p, number in folders.items() if number not in numbers or numbers[number].state in done]
    if orphans:
        size = sum(f.stat().st_size for p in orphans for f in p.rglob("*") if f.is_file()) / 2**20
        found = (
            f"study {record.name}: {len(orphans)} folders of checkpoints belong to no trial that needs them ({size:,.0f} MiB)."
        )
        yield Finding("checkpoints", "note", found, "hpo doctor --repair", partial(_remove, orphans))
    if not record.counts["complete"]:
        return
    checkpoint = record.best.user_attrs.get("checkpoint")
    if checkpoint and not Path(checkpoint).is_file():
        found = f"study {record.name}: the best trial's weights are gone ({checkpoint})."
        yield Finding("checkpoints", "bad", found, f"train it again; its parameters: hpo show {record.name}")
    elif not orphans:
        yield Finding("checkpoints", "ok", f"study {record.name}: the best trial's weights are there, and nothing is left over.")


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _clock(record: StudyRecord) -> Iterator[Finding]:
    now = datetime.now()  # noqa: DTZ005  # Optuna's times are naive and local
    future = [t.number for t in record.trials if t.datetime_start and (t.datetime_start - now).total_seconds() > 60]
    if future:
        found = f"study {record.name}: trials {_some(future)} began in the future; this machine's clock says {time.ctime()}."
        yield Finding("clock", "bad", found, "set the clock; scores are not affected, times in the report are")


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")
