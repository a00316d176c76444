"""Checks of a study, its files and this machine; each finding names the command that fixes it.

Each check is a function that looks and yields findings; none changes anything. Findings whose mending is safe (nothing that
anybody needs is lost) carry a `repair`, to be called after a `backup` of the database.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import sys
import time
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from hpo.doctor import leftovers, machine
from hpo.doctor.diagnosis import Diagnosis, some
from hpo.errors import SchemaError, StorageError, StudyLockedError
from hpo.locks import Lock
from hpo.store import recognize
from hpo.store.database import exists, guarded, open_storage
from hpo.store.own import FOREIGN
from hpo.store.patience import LOCK_TIMEOUT
from hpo.store.record import load, load_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hpo.folders import Location
    from hpo.store.record import StudyRecord

_ENDED = "begun by another program, ended by hpo doctor --repair"


def examine(location: Location, name: str | None = None) -> list[Diagnosis]:
    """Run all checks: of the machine, of the database, and of one study or of all."""
    findings = [*machine.versions(), *machine.device(), *machine.disk(location)]
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
        handle = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # a new file, no link that is followed
        if sys.platform != "win32":
            os.fchmod(handle, location.path.stat().st_mode & 0o777)  # no more may read the copy
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
        copy.unlink(missing_ok=True)  # half of a backup is none
        raise StorageError(f"the backup {copy} cannot be written: {error}. Nothing was repaired.") from None
    return copy


# -- the database and its studies --------------------------------------------------------------------------------------


def _integrity(location: Location) -> Iterator[Diagnosis]:
    if location.path is None:
        yield Diagnosis("database", "ok", f"{location} answers.")
        return
    open_storage(location)  # recognizes, and checks the schema
    if not (problems := recognize.problems(location.path, quick=False)):
        yield Diagnosis("database", "ok", f"{location} is sound, and of this Optuna's schema.")
    else:
        found = f"{location} is damaged: {'; '.join(problems)}."
        yield Diagnosis("database", "bad", found, f"restore a copy, or: {recognize.recovery(location.path)}")


def _stale(record: StudyRecord) -> Iterator[Diagnosis]:
    running = [t.number for t in record.own if t.state == TrialState.RUNNING]
    lock = Lock(record.folder / "lock")
    try:
        free = lock.is_free()
    except StorageError as error:
        yield Diagnosis("lock", "bad", f"study {record.name}: {error}")
        return
    if free:
        if running:
            found = f"study {record.name}: trials {some(running)} are RUNNING, and no process runs the study."
            yield Diagnosis("running trials", "note", found, f"continue them from their last epoch: hpo resume {record.name}")
        else:
            yield Diagnosis("running trials", "ok", f"study {record.name}: none is left behind.")
    else:
        yield Diagnosis("running trials", "ok", f"study {record.name} is being run by {lock.held_by()}.")


def _space(record: StudyRecord) -> Iterator[Diagnosis]:
    """Find trials that are not hpo's: it shows them, trains none of them, and counts none of them."""
    if record.space is None:
        yield Diagnosis("space", "note", f"study {record.name} was not made by hpo, or its space is of another version.")
        return
    foreign = [t for t in record.trials if record.state(t) == FOREIGN]
    begun = [t.number for t in foreign if t.state == TrialState.RUNNING]
    drawn = [t.number for t in foreign if t.number not in begun and t.params.keys() == record.space.varied.keys()]
    added = [t.number for t in foreign if t.number not in (*begun, *drawn)]
    if begun:
        found = f"study {record.name}: trials {some(begun)} were begun by another program; hpo does not train them."
        mend = f"if that program has gone, end them as failed: hpo doctor {record.name} --repair"
        lock = Lock(record.folder / "lock", holder="hpo doctor --repair")
        yield Diagnosis("space", "note", found, mend, partial(_end, record, lock))
    if drawn:
        found = f"study {record.name}: trials {some(drawn)} were drawn from another space, or scored by another program."
        yield Diagnosis("space", "bad", found, f"they are not counted; to start a new study: hpo run {record.name}-2")
    if added:
        found = f"study {record.name}: trials {some(added)} are another program's; they are not counted."
        yield Diagnosis("space", "note", found)
    if not foreign:
        yield Diagnosis("space", "ok", f"study {record.name}: all trials are hpo's.")


def _end(record: StudyRecord, lock: Lock) -> None:
    """End the trials that another program has begun."""
    if not lock.acquire():
        raise StudyLockedError(f"study {record.name} is being run by {lock.held_by()}. Repair it when that has ended.")
    try:
        found, storage = load(record.name, record.location), open_storage(record.location)
        with guarded(record.location):
            for trial in (t for t in found.trials if t.state == TrialState.RUNNING and found.state(t) == FOREIGN):
                storage.set_trial_user_attr(trial._trial_id, "reason", _ENDED)  # noqa: SLF001  # storages speak in ids
                storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)  # noqa: SLF001
    finally:
        lock.release()


def _clock(record: StudyRecord) -> Iterator[Diagnosis]:
    now = datetime.now()  # noqa: DTZ005  # Optuna's times are naive and local
    future = [t.number for t in record.trials if t.datetime_start and (t.datetime_start - now).total_seconds() > 60]
    if future:
        found = f"study {record.name}: trials {some(future)} began in the future; this machine's clock says {time.ctime()}."
        yield Diagnosis("clock", "bad", found, "set the clock; scores are not affected, times in the report are")


_OF_A_STUDY = (_stale, _space, _clock)
_OF_OUR_STUDY = (leftovers.checkpoints, leftovers.half_written)  # a folder of checkpoints of hpo's
