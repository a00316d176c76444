"""A study's system attributes, where Optuna's dashboard keeps notes and artifacts: read at once, written in one transaction.

Through Optuna each attribute is a transaction of its own, which is a wait for the disk; a note takes several, and a reader
could see half of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hpo.search.storage import guarded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.engine import Engine

    from hpo.search.record import StudyRecord

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


def write(record: StudyRecord, values: Mapping[str, object], removed: Iterable[str] = ()) -> None:
    """Set some and remove others: all of it is there, or nothing.

    Raises:
        StorageError: The database refuses.
    """
    engine, study_id = _where(record)
    given = [{"study": study_id, "name": key, "value": json.dumps(value)} for key, value in values.items()]
    gone = [{"study": study_id, "name": key} for key in removed]
    if not given and not gone:
        return
    this = (_TABLE.c.study_id == sa.bindparam("study")) & (_TABLE.c.key == sa.bindparam("name"))
    insert = sa.insert(_TABLE).values(study_id=sa.bindparam("study"), key=sa.bindparam("name"), value_json=sa.bindparam("value"))
    with guarded(record.location), engine.begin() as connection:
        known = set(connection.scalars(sa.select(_TABLE.c.key).where(_TABLE.c.study_id == study_id)))
        for statement, rows in (
            (insert, [row for row in given if row["name"] not in known]),
            (sa.update(_TABLE).where(this).values(value_json=sa.bindparam("value")), [r for r in given if r["name"] in known]),
            (sa.delete(_TABLE).where(this), gone),
        ):
            if rows:
                connection.execute(statement, rows)


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
