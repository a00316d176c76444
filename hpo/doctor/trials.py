"""Checks of a study's trials: left unfinished, made by another program, or started in the future."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from hpo.doctor.diagnosis import Diagnosis, repairing, trials
from hpo.errors import StorageError
from hpo.store.database import guarded, open_database
from hpo.store.own import FOREIGN
from hpo.store.reading.record import load
from hpo.store.schema import State
from hpo.system.locks import Lock

if TYPE_CHECKING:
    from hpo.store.reading.record import StudyRecord

ENDED = "started by another program, ended by hpo doctor --repair"


def running(record: StudyRecord) -> Iterator[Diagnosis]:
    """Find trials that are RUNNING although no process runs the study."""
    left = [t.number for t in record.own if t.state == State.RUNNING]
    lock = Lock(record.folder / "lock")
    try:
        free = lock.is_free()
    except StorageError as error:
        yield Diagnosis("lock", "bad", f"study {record.name}: {error}")
        return
    if not free:
        yield Diagnosis("running trials", "ok", f"study {record.name} is being run by {lock.held_by()}.")
    elif left:
        found = f"study {record.name}: {trials(left, 'is', 'are')} RUNNING, but no process runs the study."
        yield Diagnosis("running trials", "note", found, f"to continue from the last epoch: hpo resume {record.name}")
    else:
        yield Diagnosis("running trials", "ok", f"study {record.name}: no trial was left unfinished.")


def foreign(record: StudyRecord) -> Iterator[Diagnosis]:
    """Find trials of other programs. hpo shows them, but neither trains nor counts them."""
    if record.space is None:
        yield Diagnosis("space", "note", f"study {record.name} was not made by hpo, or its space is of another version.")
        return
    foreign = [t for t in record.trials if record.state(t) == FOREIGN]
    begun = [t.number for t in foreign if t.state == State.RUNNING]
    drawn = [t.number for t in foreign if t.number not in begun and t.params.keys() == record.space.varied.keys()]
    added = [t.number for t in foreign if t.number not in (*begun, *drawn)]
    if begun:
        found = f"study {record.name}: {trials(begun, 'was', 'were')} started by another program; hpo does not train such trials."
        mend = f"if that program has ended, mark them as failed: hpo doctor {record.name} --repair"
        yield Diagnosis("space", "note", found, mend, partial(_end, record))
    if drawn:
        what = trials(drawn, "is", "are")
        found = f"study {record.name}: {what} from another search space, or scored by another program, and not counted."
        yield Diagnosis("space", "bad", found, f"to start a new study: hpo run {record.name}-2")
    if added:
        found = f"study {record.name}: {trials(added, 'is', 'are')} another program's, and not counted."
        yield Diagnosis("space", "note", found)
    if not foreign:
        yield Diagnosis("space", "ok", f"study {record.name}: all trials are hpo's.")


def _end(record: StudyRecord) -> None:
    """Mark the trials that another program has started as failed."""
    from optuna.trial import TrialState

    with repairing(record), guarded(record.location):
        found, storage = load(record.name, record.location), open_database(record.location).storage
        for trial in (t for t in found.trials if t.state == State.RUNNING and found.state(t) == FOREIGN):
            storage.set_trial_user_attr(trial.trial_id, "reason", ENDED)
            storage.set_trial_state_values(trial.trial_id, TrialState.FAIL)


def in_the_future(record: StudyRecord) -> Iterator[Diagnosis]:
    """Find trials whose start lies in the future."""
    now = datetime.now(UTC)
    future = [t.number for t in record.trials if t.datetime_start and (t.datetime_start - now).total_seconds() > 60]
    if future:
        what = f"{trials(future, 'began', 'began')} in the future"
        found = f"study {record.name}: {what}; this machine's clock says {time.ctime()}."
        yield Diagnosis("clock", "bad", found, "set the clock. Scores are not affected, but times in the report are")
