"""What a database says, as far as it can be read: a value that cannot be right is one sentence that names its study.

SQLite keeps any value in any column, and databases are edited by hand, copied half and written by others. Optuna believes what it
reads: each odd value is another exception, or goes on as a text where everybody expects a number. So the types are looked at
first, in one query per table, and what cannot be decoded after that is caught where it is read.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hpo.errors import StorageError
from hpo.store.database import guarded
from hpo.store.tables import STUDIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from hpo.folders import Location

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, RecursionError)
_CLIPPED = 160  # characters of what an exception says


def _finite(value: str, kind: str, others: str) -> str:
    """A number where its kind says so, nothing where it is one of the others."""
    number = f"(typeof({value}) IN ('real', 'integer') AND abs({value}) < 9e307)"
    return (
        f"typeof({kind}) != 'text' OR {kind} NOT IN ('FINITE', {others}) OR ({kind} = 'FINITE') != {number}"
        f" OR ({kind} != 'FINITE' AND {value} IS NOT NULL)"
    )


def _date(column: str) -> str:
    shape = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]*"
    odd = f"typeof({column}) != 'text' OR {column} NOT GLOB '{shape}' OR substr({column}, 1, 4) NOT BETWEEN '1971' AND '9000'"
    return f"{column} IS NOT NULL AND ({odd})"


_STATES = "'RUNNING', 'COMPLETE', 'PRUNED', 'FAIL', 'WAITING'"
_OF_TRIALS = "WHERE trial_id IN (SELECT trial_id FROM trials WHERE study_id = :study)"
_TEXTS = {"key": "typeof(key) != 'text'", "value_json": "typeof(value_json) != 'text'"}
_ODD: dict[str, tuple[str, dict[str, str]]] = {  # per table: its rows of a study, and what is odd about each column
    "study_directions": (
        "WHERE study_id = :study",
        {
            "direction": "typeof(direction) != 'text' OR direction NOT IN ('NOT_SET', 'MINIMIZE', 'MAXIMIZE')",
            "objective": "typeof(objective) != 'integer'",
        },
    ),
    "study_user_attributes": ("WHERE study_id = :study", _TEXTS),
    "study_system_attributes": ("WHERE study_id = :study", _TEXTS),
    "trials": (
        "WHERE study_id = :study",
        {
            "number": "typeof(number) != 'integer' OR number NOT BETWEEN 0 AND 999999999",
            "state": f"typeof(state) != 'text' OR state NOT IN ({_STATES})",
            "datetime_start": _date("datetime_start"),
            "datetime_complete": _date("datetime_complete"),
        },
    ),
    "trial_params": (
        _OF_TRIALS,
        {
            "param_name": "typeof(param_name) != 'text'",
            "param_value": "typeof(param_value) NOT IN ('real', 'integer') OR abs(param_value) >= 9e307",
            "distribution_json": "typeof(distribution_json) != 'text'",
        },
    ),
    "trial_values": (
        _OF_TRIALS,
        {"objective": "typeof(objective) != 'integer'", "value": _finite("value", "value_type", "'INF_POS', 'INF_NEG'")},
    ),
    "trial_intermediate_values": (
        _OF_TRIALS,
        {
            "step": "typeof(step) != 'integer' OR abs(step) > 9007199254740992",
            "intermediate_value": _finite("intermediate_value", "intermediate_value_type", "'INF_POS', 'INF_NEG', 'NAN'"),
        },
    ),
    "trial_user_attributes": (_OF_TRIALS, _TEXTS),
    "trial_system_attributes": (_OF_TRIALS, _TEXTS),
}


@contextlib.contextmanager
def legible(location: Location, name: str) -> Iterator[None]:
    """Turn what reading a study raises into a sentence that names the study.

    Raises:
        StorageError: The database refuses, or holds a value that cannot be decoded.
    """
    try:
        with guarded(location):
            yield
    except _UNREADABLE as error:
        said = " ".join(str(error).split())[:_CLIPPED]
        raise unreadable(location, name, f"{type(error).__name__}{': ' if said else ''}{said}") from None


def unreadable(location: Location, name: object, why: str) -> StorageError:
    """Return the error about a study that cannot be read."""
    shown = repr(name) if len(repr(name)) <= _CLIPPED else f"{repr(name)[:_CLIPPED]}…"
    return StorageError(f"study {shown} in {location} cannot be read: {why}. Restore a copy of the database; others: hpo list")


def check(engine: Engine, location: Location, name: str) -> None:
    """Make sure that every value of a study is of a type that its column may have.

    Raises:
        StorageError: One is not; says table, column and value.
    """
    if engine.dialect.name != "sqlite":  # servers keep their columns' types themselves
        return
    with legible(location, name), engine.connect() as connection:
        study = connection.scalar(sa.text("SELECT study_id FROM studies WHERE study_name = :name"), {"name": name})
        for table, (rows, odd) in _ODD.items():
            kinds = " ".join(f"WHEN {condition} THEN '{column}'" for column, condition in odd.items())
            query = f"SELECT CASE {kinds} END AS odd, {', '.join(odd)} FROM {table} {rows} AND odd IS NOT NULL LIMIT 1"  # noqa: S608  # our own words
            if (found := connection.execute(sa.text(query), {"study": study}).mappings().first()) is not None:
                shown = repr(found[found["odd"]])
                shown = shown if len(shown) <= 40 else f"{shown[:40]}…"
                raise unreadable(location, name, f"{found['odd']} = {shown} in table {table}")
        twice = "SELECT number FROM trials WHERE study_id = :study GROUP BY number HAVING count(*) > 1 LIMIT 1"
        if (number := connection.scalar(sa.text(twice), {"study": study})) is not None:
            raise unreadable(location, name, f"there are two trials {number}")


def study_names(engine: Engine) -> list[str | bytes]:
    """Return the names of all studies; those that are no text as bytes."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            return list(connection.scalars(sa.select(STUDIES.c.study_name).order_by(STUDIES.c.study_id)))
        query = "SELECT typeof(study_name), CAST(study_name AS BLOB) FROM studies ORDER BY study_id"
        rows = connection.execute(sa.text(query)).all()
    return [_text(raw) if kind == "text" else raw or b"" for kind, raw in rows]


def names(engine: Engine) -> list[str]:
    """Return the names of all studies."""
    return [name for name in study_names(engine) if isinstance(name, str)]


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
