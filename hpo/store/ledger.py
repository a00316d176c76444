"""What a run writes about its trials: rows in Optuna's tables, one transaction per start, epoch and end of a trial.

Through Optuna's storage each parameter, value and attribute is looked up, checked and committed by itself, and a commit is four
waits for the disk (journal, its folder, journal, file). Tables and encodings are Optuna's own, so that whatever reads its
databases reads these rows; what a transaction did not finish, nobody sees.

SQLite gives the ids of removed studies and trials to the next ones. So a run marks its study and its trials with a token, and
every transaction makes sure that what it wrote to still has it.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hpo.errors import StorageError
from hpo.store.database import guarded, open_database
from hpo.store.schema import REFUSED, RUN, SEED, State
from hpo.store.tables import (
    OF_STUDY,
    OF_STUDY_BY_SYSTEM,
    OF_TRIAL,
    OF_TRIAL_BY_SYSTEM,
    PARAMS,
    STEPS,
    STUDIES,
    TRIALS,
    VALUES,
    parameter,
    put,
    stored,
)
from hpo.system.failpoints import reach

if TYPE_CHECKING:
    from enum import IntEnum

    from optuna.distributions import BaseDistribution
    from sqlalchemy.engine import Connection

    from hpo.store.database import Database
    from hpo.store.reading.record import StudyRecord

_STATE = (  # built once: it is asked every epoch
    sa.select(TRIALS.c.state)
    .join(OF_TRIAL_BY_SYSTEM, OF_TRIAL_BY_SYSTEM.c.trial_id == TRIALS.c.trial_id)
    .where(TRIALS.c.trial_id == sa.bindparam("trial"), TRIALS.c.study_id == sa.bindparam("study"))
    .where(OF_TRIAL_BY_SYSTEM.c.key == RUN, OF_TRIAL_BY_SYSTEM.c.value_json == sa.bindparam("token"))
)


class Ledger:
    """The writing side of one study.

    Args:
        database: Where it is.
        study_id: The study's id.
        name: Its name.
    """

    def __init__(self, database: Database, study_id: int, name: str) -> None:
        self._engine = database.storage.engine  # which keeps a connection open: an epoch is a transaction
        self._location, self._study_id, self._name = database.location, study_id, name
        self._token, self._begun = secrets.token_hex(8), False
        attributes = OF_STUDY_BY_SYSTEM.c
        self._mark = sa.select(attributes.value_json).where(attributes.study_id == study_id, attributes.key == RUN)

    def claim(self, going_on: Mapping[int, int]) -> None:
        """Mark trials of earlier runs as this run's, which goes on with them.

        Args:
            going_on: Their ids by number.

        Raises:
            StorageError: The database refuses, or another program has removed the study or ended one of them.
        """
        of_study = TRIALS.c.study_id == self._study_id
        running = sa.select(TRIALS.c.number, TRIALS.c.trial_id).where(of_study, TRIALS.c.state == State.RUNNING)
        with self._transaction() as connection:
            if not going_on.items() <= {row.number: row.trial_id for row in connection.execute(running)}.items():
                raise self._interfered("ended")
            for trial_id in going_on.values():
                put(connection, OF_TRIAL_BY_SYSTEM, {"trial_id": trial_id}, {RUN: self._token})

    def begin(
        self,
        number: int,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        notes: Mapping[str, Any],
        seed: int,
        enqueued: int | None = None,
    ) -> int:
        """Record a trial as RUNNING, its seed, and what its sampler noted about the study; return the trial's id.

        `enqueued` is the id of a trial that another program has enqueued; None for a new one.

        Raises:
            StorageError: The database refuses, or another program has added trials or removed the study.
        """
        with self._transaction() as connection:
            trial_id = self._insert(connection, number) if enqueued is None else self._take(connection, enqueued)
            rows = [parameter(trial_id, name, value, distributions[name]) for name, value in params.items()]
            if rows:
                connection.execute(sa.insert(PARAMS), rows)
            mark = {"trial_id": trial_id, "key": RUN, "value_json": json.dumps(self._token)}
            connection.execute(sa.insert(OF_TRIAL_BY_SYSTEM), mark)
            put(connection, OF_TRIAL, {"trial_id": trial_id}, {SEED: seed})
            put(connection, OF_STUDY_BY_SYSTEM, {"study_id": self._study_id}, notes)
        return trial_id

    def _insert(self, connection: Connection, number: int) -> int:
        row = {"number": number, "study_id": self._study_id, "state": State.RUNNING, "datetime_start": _now()}
        [trial_id] = connection.execute(sa.insert(TRIALS), row).inserted_primary_key or [-1]
        before = (TRIALS.c.study_id == self._study_id) & (TRIALS.c.trial_id < trial_id)
        latest = sa.select(TRIALS.c.number).where(before).order_by(TRIALS.c.trial_id.desc()).limit(1)
        if connection.scalar(latest) != (number - 1 if number else None):
            raise self.added_by_another()
        return int(trial_id)

    def _take(self, connection: Connection, trial_id: int, **values: object) -> int:
        """Begin a trial that is enqueued, or end it: whatever `values` says of it."""
        of_study = (TRIALS.c.trial_id == trial_id) & (TRIALS.c.study_id == self._study_id)
        changed = {"state": State.RUNNING, "datetime_start": _now()} | values
        if connection.execute(sa.update(TRIALS).where(of_study, TRIALS.c.state == State.WAITING).values(changed)).rowcount != 1:
            raise StorageError(
                f"another program has begun or removed an enqueued trial of study {self._name!r} in {self._location}. "
                f"Continue with what is there: hpo resume {self._name}"
            )
        return trial_id

    def added(self, number: int) -> list[int]:
        """Return the ids of the trials from `number` on: another program has added them."""
        later = (TRIALS.c.study_id == self._study_id) & (TRIALS.c.number >= number)
        with guarded(self._location), self._engine.begin() as connection:
            return [int(i) for i in connection.scalars(sa.select(TRIALS.c.trial_id).where(later).order_by(TRIALS.c.number))]

    def added_by_another(self) -> StorageError:
        """Return the error that another process runs this study too."""
        return StorageError(
            f"another program has added trials to study {self._name!r} in {self._location} while it was run. "
            f"Continue with what is there: hpo resume {self._name}"
        )

    def refuse(self, trial_id: int, reason: str) -> None:
        """Record that an enqueued trial cannot be tried.

        Raises:
            StorageError: The database refuses, or another program has begun the trial.
        """
        with self._transaction() as connection:
            self._take(connection, trial_id, state=State.FAIL, datetime_complete=_now())
            put(connection, OF_TRIAL, {"trial_id": trial_id}, {"reason": reason})
            put(connection, OF_TRIAL_BY_SYSTEM, {"trial_id": trial_id}, {REFUSED: True})

    def suggest(
        self,
        trial_id: int,
        name: str,
        value: object,
        distribution: BaseDistribution,
        of_trial: Mapping[str, Any],
        of_study: Mapping[str, Any],
    ) -> None:
        """Record a parameter that a running trial has asked for, and what the sampler noted about the trial and the study.

        Raises:
            StorageError: The database refuses, or another program has ended the trial or removed the study.
        """
        with self._transaction() as connection:
            self._check_running(connection, trial_id)
            connection.execute(sa.insert(PARAMS), parameter(trial_id, name, value, distribution))
            put(connection, OF_TRIAL_BY_SYSTEM, {"trial_id": trial_id}, of_trial)
            put(connection, OF_STUDY_BY_SYSTEM, {"study_id": self._study_id}, of_study)

    def report(
        self,
        trial_id: int,
        scores: Mapping[int, float],
        notes: Mapping[str, Any],
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Record scores by epoch that are not known yet, what the pruner notes about the trial, and attributes.

        Raises:
            StorageError: The database refuses, or another program has ended the trial.
        """
        rows = [
            {"trial_id": trial_id, "step": epoch, "intermediate_value": value, "intermediate_value_type": kind}
            for epoch, (value, kind) in ((epoch, stored(score)) for epoch, score in scores.items())
        ]
        with guarded(self._location):
            with self._engine.begin() as connection:
                reach("epoch.reporting")
                if rows:
                    connection.execute(sa.insert(STEPS), rows)
                put(connection, OF_TRIAL_BY_SYSTEM, {"trial_id": trial_id}, notes)
                put(connection, OF_TRIAL, {"trial_id": trial_id}, attributes or {})
                self._check_running(connection, trial_id)
            reach("epoch.reported")

    def end(
        self, trial_id: int, state: IntEnum, value: float | None, attributes: Mapping[str, Any], notes: Mapping[str, Any]
    ) -> None:
        """Record a trial's end with all that is known of it.

        Raises:
            StorageError: The database refuses, or another program has ended the trial.
        """
        with guarded(self._location), self._engine.begin() as connection:
            put(connection, OF_TRIAL, {"trial_id": trial_id}, attributes)
            put(connection, OF_TRIAL_BY_SYSTEM, {"trial_id": trial_id}, notes)
            reach("trial.described")
            self._check_running(connection, trial_id)
            if value is not None:
                number, kind = stored(value)
                row = {"trial_id": trial_id, "objective": 0, "value": number, "value_type": kind}
                connection.execute(sa.insert(VALUES), row)
            ended = {"state": state, "datetime_complete": _now()}
            connection.execute(sa.update(TRIALS).where(TRIALS.c.trial_id == trial_id).values(ended))

    def note(self, key: str, value: object) -> None:
        """Set an attribute of the study.

        Raises:
            StorageError: The database refuses, or another program has removed the study.
        """
        with self._transaction() as connection:
            put(connection, OF_STUDY, {"study_id": self._study_id}, {key: value})

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Begin a transaction on this run's study, in which nobody else can write it: numbers of trials are unique."""
        with guarded(self._location), self._engine.begin() as connection:
            hold = sa.update(STUDIES).values(study_id=self._study_id)
            own = (STUDIES.c.study_id == self._study_id) & (STUDIES.c.study_name == self._name)
            there = connection.execute(hold.where(own)).rowcount == 1
            if not there or (self._begun and not self._is_marked(connection)):
                raise self._removed()
            if not self._begun:
                put(connection, OF_STUDY_BY_SYSTEM, {"study_id": self._study_id}, {RUN: self._token})
            yield connection
        self._begun = True

    def _check_running(self, connection: Connection, trial_id: int) -> None:
        state = connection.scalar(_STATE, {"trial": trial_id, "study": self._study_id, "token": json.dumps(self._token)})
        if state is None and not self._is_marked(connection):
            raise self._removed()
        if state != State.RUNNING:
            raise self._interfered("removed" if state is None else "ended")

    def _is_marked(self, connection: Connection) -> bool:
        return bool(connection.scalar(self._mark) == json.dumps(self._token))

    def _removed(self) -> StorageError:
        return StorageError(
            f"another program has removed or taken over study {self._name!r} in {self._location} while it was run; "
            "nothing more was written. See what is there: hpo list"
        )

    def _interfered(self, deed: str) -> StorageError:
        return StorageError(
            f"another program has {deed} a trial of study {self._name!r} in {self._location} while it was trained. "
            f"Continue with what is there: hpo resume {self._name}"
        )


def _now() -> datetime:
    """Return the time as Optuna stores it: UTC, without saying so."""
    return datetime.now(UTC).replace(tzinfo=None)


def publish(record: StudyRecord, values: Mapping[str, object], removed: Collection[str] = ()) -> None:
    """Set some of them and remove others, for the dashboard: all of it is there, or nothing.

    Raises:
        StorageError: The database refuses, or another program has removed the study.
    """
    if not values and not removed:
        return
    study_id, engine = record.study_id, open_database(record.location).engine
    with guarded(record.location), engine.begin() as connection:
        own = (STUDIES.c.study_id == study_id) & (STUDIES.c.study_name == record.name)  # ids are given again
        if not connection.execute(sa.update(STUDIES).values(study_id=study_id).where(own)).rowcount:
            raise StorageError(f"another program has removed study {record.name!r} from {record.location}.")
        put(connection, OF_STUDY_BY_SYSTEM, {"study_id": study_id}, values, removed)
