"""Files in a study's folder that do not belong there, and files that are missing.

A repair checks again while holding the study's lock: a run that started meanwhile may need what was left over before.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from optuna.trial import TrialState

from hpo import correct, folders
from hpo.dashboard.server import artifacts_folder
from hpo.doctor.diagnosis import Diagnosis, some
from hpo.errors import StorageError, StudyLockedError
from hpo.files import read_sealed
from hpo.locks import Lock
from hpo.store.record import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from optuna.trial import FrozenTrial

    from hpo.folders import Location
    from hpo.store.record import StudyRecord

_TRIAL = re.compile(r"trial-(\d{5,9})")
_HALF_WRITTEN = re.compile(r"\..*\.(\d{1,9})-[0-9a-f]{8}\.tmp")  # as files.beside names them: with the writer's process id
_OVER = {TrialState.PRUNED, TrialState.FAIL}


def checkpoints(record: StudyRecord) -> Iterator[Diagnosis]:
    """Hold trials and checkpoints against each other, and every digest against its file."""
    yield from _of_no_trial(record)
    yield from _answers_of_no_trial(record)
    yield from _damaged(record)
    yield from _of_the_best(record)
    without = [
        t.number for t in record.trials if t.state == TrialState.RUNNING and t.intermediate_values and not _files(record, t)
    ]
    if without:
        found = f"study {record.name}: trials {some(without)} are RUNNING, and their checkpoints are gone; they will begin anew."
        yield Diagnosis("checkpoints", "note", found, f"hpo resume {record.name}")


def half_written(record: StudyRecord) -> Iterator[Diagnosis]:
    """Find what writers that were killed left behind."""
    files = _half_written(record)
    if files:
        size = sum(path.stat().st_size for path in files) / 2**20
        found = f"study {record.name}: {len(files)} files were left half written by processes that are gone ({size:,.1f} MiB)."
        yield Diagnosis("half-written files", "note", found, "hpo doctor --repair", _removing(record, _half_written))


def outside(location: Location) -> Iterator[Diagnosis]:
    """Find the same beside the database, among the pictures and in reports/; a person removes those."""
    folders = [location.folder, artifacts_folder(location), Path("reports"), *([location.path.parent] if location.path else [])]
    there = {path.absolute() for folder in folders for path in folder.glob(".*.tmp")}
    if files := sorted(path for path in there if _is_left(path)):
        found = f"{len(files)} files were left half written by processes that are gone, outside of the studies' folders."
        yield Diagnosis("half-written files", "note", found, f"rm -- {shlex.join(map(str, files))}")


def _is_left(path: Path) -> bool:
    name = _HALF_WRITTEN.fullmatch(path.name)
    return name is not None and not psutil.pid_exists(int(name[1]))


def _of_no_trial(record: StudyRecord) -> Iterator[Diagnosis]:
    folders = _orphans(record)
    if folders:
        size = sum(f.stat().st_size for p in folders for f in p.rglob("*") if f.is_file()) / 2**20
        found = (
            f"study {record.name}: {len(folders)} folders of checkpoints belong to no trial that needs them ({size:,.0f} MiB)."
        )
        yield Diagnosis("checkpoints", "note", found, "hpo doctor --repair", _removing(record, _orphans))


def _answers_of_no_trial(record: StudyRecord) -> Iterator[Diagnosis]:
    files = _stray_answers(record)
    if files:
        found = f"study {record.name}: {len(files)} files in {correct.FOLDER}/ belong to no trial that was scored."
        yield Diagnosis("checkpoints", "note", found, "hpo doctor --repair", _removing(record, _stray_answers))


def _damaged(record: StudyRecord) -> Iterator[Diagnosis]:
    """Look at the checkpoints that trials in training would go on from; a worker passes over those that are damaged."""
    problems = [(trial, path, why) for trial in record.trials for path in _files(record, trial) if (why := _why_damaged(path))]
    for trial, path, why in problems:
        sound = len(_files(record, trial)) > sum(t is trial for t, *_ in problems)
        goes_on = "goes on from the epoch before" if sound else "begins anew"
        found = f"study {record.name}: {why} Trial {trial.number} {goes_on}."
        yield Diagnosis("checkpoints", "note", found, "hpo doctor --repair", _removing(record, partial(_still_damaged, path)))


def _of_the_best(record: StudyRecord) -> Iterator[Diagnosis]:
    checkpoint = record.checkpoint
    if checkpoint is None:
        return
    mend = f"train it again; its parameters: hpo show {record.name}"
    if not checkpoint.is_file():
        yield Diagnosis("checkpoints", "bad", f"study {record.name}: the best trial's weights are gone ({checkpoint}).", mend)
    elif why := _why_damaged(checkpoint):
        yield Diagnosis("checkpoints", "bad", f"study {record.name}: the best trial's weights are lost: {why}", mend)
    else:
        yield Diagnosis("checkpoints", "ok", f"study {record.name}: the best trial's weights are there and whole.")


def _still_damaged(path: Path, _record: StudyRecord) -> list[Path]:
    return [path] if _why_damaged(path) else []


def _why_damaged(path: Path) -> str:
    try:
        read_sealed(path)
    except StorageError as error:
        return str(error)
    return ""


def _files(record: StudyRecord, trial: FrozenTrial) -> list[Path]:
    """Return the checkpoints of a trial in training."""
    if trial.state != TrialState.RUNNING:
        return []
    return _within(record, folders.trial_folder(record.folder, trial.number).glob("epoch-*.ckpt"))


def _orphans(record: StudyRecord) -> list[Path]:
    needed = {trial.number for trial in record.trials if trial.state not in _OVER}
    named = ((path, _TRIAL.fullmatch(path.name)) for path in record.folder.glob("trial-*") if path.is_dir())
    return _within(record, (path for path, name in named if name and int(name[1]) not in needed))


def _stray_answers(record: StudyRecord) -> list[Path]:
    scored = {correct.name(trial.number) for trial in record.trials if trial.state != TrialState.FAIL}
    return sorted(path for path in (record.folder / correct.FOLDER).glob("*.bits") if path.name not in scored)


def _half_written(record: StudyRecord) -> list[Path]:
    return _within(record, filter(_is_left, record.folder.rglob(".*.tmp")))


def _within(record: StudyRecord, paths: Iterable[Path]) -> list[Path]:
    """Leave out what a link makes look as if it were in the study's folder: what is found here may be removed."""
    return sorted(path for path in paths if folders.is_within(path, record.folder))


def _removing(record: StudyRecord, find: Callable[[StudyRecord], list[Path]]) -> Callable[[], None] | None:
    """Return what removes the files and folders that `find` finds, or None while the study is being run."""
    lock = Lock(record.folder / "lock", holder="hpo doctor --repair")
    with contextlib.suppress(StorageError):  # of a lock that cannot be had, the check of running trials speaks
        return partial(_remove, record, find, lock) if lock.is_free() else None
    return None


def _remove(record: StudyRecord, find: Callable[[StudyRecord], list[Path]], lock: Lock) -> None:
    if not lock.acquire():
        raise StudyLockedError(f"study {record.name} is being run by {lock.held_by()}. Repair it when that has ended.")
    try:
        for path in find(load(record.name, record.location)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    finally:
        lock.release()
