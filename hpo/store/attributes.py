"""A study's system attributes, where Optuna's dashboard keeps notes and artifacts: read in one query, written in one transaction.

Through Optuna each attribute is a transaction of its own, which is a wait for the disk; a note takes several, and a reader
could see half of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hpo.errors import StorageError
from hpo.store.database import guarded

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy.engine import Connection, Engine

    from hpo.store.record import StudyRecord

_STUDIES = sa.table("studies", sa.column("study_id"), sa.column("study_name"))
_TABLE = sa.table("study_system_attributes", sa.column("study_id"), sa.column("key"), sa.column("value_json"))


def read(record: StudyRecord) -> dict[str, Any]:
    """Return all of them.

    Raises:
        StorageError: The database refuses.
    """
    engine, study_id = _where(record)
    query = sa.select(_TABLE.c.key, _TABLE.c.value_json).where(_TABLE.c.study_id == study_id)
    with guarded(record.location), engine.connect() as connection:
        return {key: json.loads(value) for key, value in connection.execute(query)}


def write(record: StudyRecord, values: Mapping[str, object], removed: Collection[str] = ()) -> None:
    """Set some and remove others: all of it is there, or nothing.

    Raises:
        StorageError: The database refuses, or another program has removed the study.
    """
    engine, study_id = _where(record)
    if values or removed:
        with guarded(record.location), engine.begin() as connection:
            own = (_STUDIES.c.study_id == study_id) & (_STUDIES.c.study_name == record.name)  # ids are given again
            if not connection.execute(sa.update(_STUDIES).values(study_id=study_id).where(own)).rowcount:
                raise StorageError(f"another program has removed study {record.name!r} from {record.location}.")
            put(connection, _TABLE, {"study_id": study_id}, values, removed)


def put(
    connection: Connection,
    table: sa.TableClause,
    owner: Mapping[str, int],
    values: Mapping[str, object],
    removed: Collection[str] = (),
) -> None:
    """Set some of an owner's attributes and remove others, within a transaction.

    Args:
        connection: In a transaction.
        table: One of Optuna's tables of attributes.
        owner: Whose they are: {"study_id": 1} or {"trial_id": 1}.
        values: By key; written as JSON.
        removed: Keys.
    """
    if not values and not removed:
        return
    [(column, identifier)] = owner.items()
    own = table.c[column] == identifier
    if values:
        known = set(connection.scalars(sa.select(table.c.key).where(own)))
        new = [
            {column: identifier, "key": key, "value_json": json.dumps(value)} for key, value in values.items() if key not in known
        ]
        if new:
            connection.execute(sa.insert(table), new)
        for key in values.keys() & known:
            connection.execute(sa.update(table).where(own & (table.c.key == key)).values(value_json=json.dumps(values[key])))
    for key in removed:
        connection.execute(sa.delete(table).where(own & (table.c.key == key)))


def trial_ids(record: StudyRecord) -> dict[int, int]:
    """Return the database's id of every trial by its number.

    Raises:
        StorageError: The database refuses.
    """
    engine, study_id = _where(record)
    trials = sa.table("trials", sa.column("study_id"), sa.column("trial_id"), sa.column("number"))
    with guarded(record.location), engine.connect() as connection:
        found = connection.execute(sa.select(trials.c.number, trials.c.trial_id).where(trials.c.study_id == study_id))
        return {row.number: row.trial_id for row in found}


def _where(record: StudyRecord) -> tuple[Engine, int]:
    storage: Any = record.study._storage  # noqa: SLF001  # Optuna has no public way from a study to its engine
    return getattr(storage, "_backend", storage).engine, record.study._study_id  # noqa: SLF001  # as above
