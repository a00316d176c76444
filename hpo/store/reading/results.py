"""Where the networks of a study's trials are, and why one is not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpo import folders
from hpo.errors import DataError, UsageError
from hpo.settings import derived_seed
from hpo.store.schema import SEED, State

if TYPE_CHECKING:
    from hpo.store.reading.record import StudyRecord
    from hpo.store.schema import Trial


def path(record: StudyRecord, number: int | None = None) -> Path:
    """Return the file of a trial's network, the best trial's by default.

    Raises:
        NoResultError: No trial is complete.
        UsageError: No such trial, or none that has a network.
        DataError: The file is gone; says how to train it again.
    """
    name = record.name
    if not record.ours:
        raise UsageError(f"study {name!r} was not made by hpo: there is no network that it could open.")
    if not record.objective.is_network:
        raise UsageError(
            f"study {name!r} is trained by {record.objective.source or record.objective.name}, of which hpo knows the scores "
            "and no network. Networks are left by hpo's own training: --dataset, --data and --model."
        )
    trial = record.best if number is None else chosen(record, number)
    if trial.state != State.COMPLETE:
        state = record.state(trial)
        raise UsageError(f"trial {trial.number} of study {name!r} is {state}: only complete trials leave a network.")
    found = left(record, trial)
    if found is not None and found.is_file():
        return found
    where = found.parent if found else record.folder
    raise DataError(
        f"the network of trial {trial.number} of study {name!r} is not in {where}: the best trials' are kept, as many as "
        f"--keep-checkpoints says. Train it again: hpo reproduce {name} {trial.number}"
    )


def chosen(record: StudyRecord, number: int) -> Trial:
    """Return a trial by its number.

    Raises:
        UsageError: There is none.
    """
    if not 0 <= number < len(record.trials):
        raise UsageError(f"study {record.name!r} has no trial {number}; it has {len(record.trials)}, from 0.")
    return record.trials[number]


def left(record: StudyRecord, trial: Trial) -> Path | None:
    """Return what a complete trial has left to go on from, there or not: its network, or its last checkpoint; None: nothing."""
    stored = folders.checkpoint(record.location, record.name, record.notes(trial).get("checkpoint"))
    if stored is None or stored.is_file():
        return stored
    again = stored.with_name(folders.NETWORK)  # an older hpo left a checkpoint, and the trial was trained again
    return again if again.is_file() else stored


def seed(record: StudyRecord, trial: Trial) -> int:
    """Return the seed that a trial was trained with; one that an older hpo has not stored is what that derived."""
    stored = record.notes(trial).get(SEED)
    if type(stored) is int:
        return stored
    settings = record.settings
    return derived_seed(settings.seed if settings else 0, "trial", trial.number)
