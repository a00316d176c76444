"""Checks of a study, its files and this machine; each finding names the command that fixes it.

Each check is a function that yields findings and changes nothing. A finding that can be fixed safely (nothing that anybody needs
is lost) has a `repair`, to be called after a `backup` of the database.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.doctor import leftovers, machine, trials
from hpo.doctor.diagnosis import Diagnosis
from hpo.errors import SchemaError, StorageError
from hpo.store import sqlite
from hpo.store.database import exists, open_database
from hpo.store.reading.record import load_all
from hpo.store.sqlite import LOCK_TIMEOUT

if TYPE_CHECKING:
    from hpo.folders import Location


def examine(location: Location, name: str | None = None) -> list[Diagnosis]:
    """Run all checks: of the machine, of the database, and of one study or all studies."""
    findings = [*machine.versions(), *machine.device(), *machine.disk(location), *machine.cache()]
    if not exists(location):
        return [*findings, Diagnosis("database", "note", f"there is no database {location} yet.", "hpo run")]
    try:
        problems: dict[str | bytes, StorageError] = {}
        records = [r for r in load_all(location, problems) if name in (None, r.name)]
    except SchemaError as error:
        return [*findings, Diagnosis("database", "bad", error.found, error.mend)]
    except StorageError as error:
        return [*findings, Diagnosis("database", "bad", str(error), "restore a copy, or name another with --storage")]
    findings += [*_integrity(location), *leftovers.outside(location)]
    told = [problem for of, problem in problems.items() if name in (None, of)]
    findings += [Diagnosis("study", "bad", str(problem), "restore a copy of the database") for problem in told]
    if name is not None and not records and not told:
        findings.append(Diagnosis("study", "bad", f"there is no study {name!r} in {location}.", "hpo list"))
    for record in records:
        try:
            checks = _OF_A_STUDY if record.settings is None else (*_OF_A_STUDY, *_OF_OUR_STUDY)
            findings += [finding for check in checks for finding in check(record)]
        except StorageError as error:
            findings.append(Diagnosis("study", "bad", f"study {record.name}: {error}", "restore a copy of the database"))
    return findings


def backup(location: Location) -> Path | None:
    """Copy a SQLite database beside itself, consistently, and return the copy's path.

    Raises:
        StorageError: The copy cannot be written.
    """
    if location.path is None:
        return None
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}"  # noqa: DTZ005  # a name for people
    copy = location.path.with_name(f"{location.path.name}.{stamp}-{secrets.token_hex(2)}.bak")
    try:
        handle = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # a new file, never the target of a link
        if sys.platform != "win32":
            os.fchmod(handle, location.path.stat().st_mode & 0o777)  # the copy has the same readers
        os.close(handle)
    except OSError as error:
        raise StorageError(f"the backup {copy} cannot be written: {error.strerror}. Nothing was repaired.") from None
    try:
        with (
            contextlib.closing(sqlite3.connect(location.path, timeout=LOCK_TIMEOUT)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        copy.unlink(missing_ok=True)  # an incomplete backup is useless
        raise StorageError(f"the backup {copy} cannot be written: {error}. Nothing was repaired.") from None
    return copy


def _integrity(location: Location) -> Iterator[Diagnosis]:
    if location.path is None:
        yield Diagnosis("database", "ok", f"{location} answers.")
        return
    open_database(location)  # recognizes the file and checks the schema
    if not (problems := sqlite.problems(location.path, quick=False)):
        yield Diagnosis("database", "ok", f"{location} is intact, with the schema of this Optuna.")
    else:
        found = f"{location} is damaged: {'; '.join(problems)}."
        yield Diagnosis("database", "bad", found, f"restore a copy, or: {sqlite.recovery(location.path)}")


_OF_A_STUDY = (trials.running, trials.foreign, trials.in_the_future)
_OF_OUR_STUDY = (leftovers.checkpoints, leftovers.half_written)  # of studies that hpo made
