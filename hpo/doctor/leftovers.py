"""Files in a study's folder that do not belong there, and files that are missing.

A repair checks again while it holds the study's lock, because a run that started meanwhile may need a file found before.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from hpo import folders
from hpo.dashboard.server import artifacts_folder
from hpo.doctor.diagnosis import Diagnosis, files, repairing, trials
from hpo.errors import DataError, StorageError
from hpo.scoring import correct
from hpo.store.reading.record import load
from hpo.store.schema import State
from hpo.system import weights
from hpo.system.files import read_sealed
from hpo.system.locks import Lock

if TYPE_CHECKING:
    from hpo.folders import Location
    from hpo.store.reading.record import StudyRecord
    from hpo.store.schema import Trial

    Find = Callable[[StudyRecord], list[Path]]

_TRIAL = re.compile(r"trial-(\d{5,9})")
_HALF_WRITTEN = re.compile(r"\..*\.(\d{1,9})-[0-9a-f]{8}\.tmp")  # as named by files.beside: with the writer's process id
_OVER = {State.PRUNED, State.FAIL}
_LEFT = ("was left half-written by processes that have ended", "were left half-written by processes that have ended")


def checkpoints(record: StudyRecord) -> Iterator[Diagnosis]:
    """Compare trials with checkpoints, and every digest with its file."""
    if orphans := _orphans(record):
        folder = "1 folder" if len(orphans) == 1 else f"{len(orphans):,} folders"
        yield _removable(record, _orphans, f"no trial needs {folder} of checkpoints any more ({_size(orphans):,.0f} MiB).")
    if stray := _stray_answers(record):
        what = files(len(stray), "does", "do")
        yield _removable(record, _stray_answers, f"{what} not belong to a scored trial ({correct.FOLDER}/).")
    yield from _damaged(record)
    yield from _of_the_best(record)
    without = [t.number for t in record.trials if t.state == State.RUNNING and t.intermediate_values and not _files(record, t)]
    if without:
        found = f"study {record.name}: {trials(without, 'is', 'are')} RUNNING without a checkpoint, and will start again."
        yield Diagnosis("checkpoints", "note", found, f"hpo resume {record.name}")


def half_written(record: StudyRecord) -> Iterator[Diagnosis]:
    """Find incomplete files of processes that were killed."""
    if left := _half_written(record):
        found = f"{files(len(left), *_LEFT)} ({_size(left):,.1f} MiB)."
        yield _removable(record, _half_written, found, "half-written files")


def outside(location: Location) -> Iterator[Diagnosis]:
    """Find the same beside the database, among the pictures and in reports/, for a person to remove."""
    folders = [location.folder, artifacts_folder(location), Path("reports"), *([location.path.parent] if location.path else [])]
    there = {path.absolute() for folder in folders for path in folder.glob(".*.tmp")}
    if left := sorted(path for path in there if _is_left(path)):
        found = f"{files(len(left), *_LEFT)}, outside the studies' folders."
        yield Diagnosis("half-written files", "note", found, f"rm -- {shlex.join(map(str, left))}")


def _is_left(path: Path) -> bool:
    name = _HALF_WRITTEN.fullmatch(path.name)
    return name is not None and not psutil.pid_exists(int(name[1]))


def _size(paths: list[Path]) -> float:
    """Return how much files take, and those in folders, MiB."""
    return sum(file.stat().st_size for path in paths for file in (path, *path.rglob("*")) if file.is_file()) / 2**20


def _removable(record: StudyRecord, find: Find, found: str, check: str = "checkpoints") -> Diagnosis:
    return Diagnosis(check, "note", f"study {record.name}: {found}", "hpo doctor --repair", _removing(record, find))


def _damaged(record: StudyRecord) -> Iterator[Diagnosis]:
    """Check the checkpoints from which trials in training would continue; a worker ignores damaged ones."""
    problems = [(trial, path, why) for trial in record.trials for path in _files(record, trial) if (why := _why_damaged(path))]
    for trial, path, why in problems:
        sound = len(_files(record, trial)) > sum(t is trial for t, *_ in problems)
        then = "will continue from the epoch before" if sound else "will start again"
        yield _removable(record, partial(_still_damaged, path), f"{why} Trial {trial.number} {then}.")


def _of_the_best(record: StudyRecord) -> Iterator[Diagnosis]:
    checkpoint = record.checkpoint
    if checkpoint is None:
        return
    mend = f"hpo reproduce {record.name}"
    if not checkpoint.is_file():
        yield Diagnosis("checkpoints", "bad", f"study {record.name}: the best trial's weights are missing ({checkpoint}).", mend)
    elif why := _why_damaged(checkpoint):
        yield Diagnosis("checkpoints", "bad", f"study {record.name}: the best trial's weights are damaged: {why}", mend)
    else:
        yield Diagnosis("checkpoints", "ok", f"study {record.name}: the best trial's weights are complete.")


def _still_damaged(path: Path, _record: StudyRecord) -> list[Path]:
    return [path] if _why_damaged(path) else []


def _why_damaged(path: Path) -> str:
    try:
        if path.name == folders.NETWORK:
            weights.read(path)
        else:
            read_sealed(path)
    except (StorageError, DataError) as error:
        return str(error)
    return ""


def _files(record: StudyRecord, trial: Trial) -> list[Path]:
    """Return the checkpoints of a trial in training."""
    if trial.state != State.RUNNING:
        return []
    return _within(record, folders.trial_folder(record.folder, trial.number).glob("epoch-*.ckpt"))


def _orphans(record: StudyRecord) -> list[Path]:
    needed = {trial.number for trial in record.trials if trial.state not in _OVER}
    named = ((path, _TRIAL.fullmatch(path.name)) for path in record.folder.glob("trial-*") if path.is_dir())
    return _within(record, (path for path, name in named if name and int(name[1]) not in needed))


def _stray_answers(record: StudyRecord) -> list[Path]:
    scored = {correct.name(trial.number) for trial in record.trials if trial.state != State.FAIL}
    return sorted(path for path in (record.folder / correct.FOLDER).glob("*.bits") if path.name not in scored)


def _half_written(record: StudyRecord) -> list[Path]:
    return _within(record, filter(_is_left, record.folder.rglob(".*.tmp")))


def _within(record: StudyRecord, paths: Iterable[Path]) -> list[Path]:
    """Leave out paths that only seem to be in the study's folder because of a link, since the others may be removed."""
    return sorted(path for path in paths if folders.is_within(path, record.folder))


def _removing(record: StudyRecord, find: Find) -> Callable[[], None] | None:
    """Return a function that removes the files and folders that `find` returns; None while the study is being run."""
    with contextlib.suppress(StorageError):  # the check of running trials reports a lock that cannot be used
        return partial(_remove, record, find) if Lock(record.folder / "lock").is_free() else None
    return None


def _remove(record: StudyRecord, find: Find) -> None:
    with repairing(record):
        for path in find(load(record.name, record.location)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
