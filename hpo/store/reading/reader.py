"""The one reader: a study as its database has it, read by columns, once; a value that cannot be right is a sentence.

Importing Optuna or SQLAlchemy takes longer than reading a study, and each makes an object per row: 6 s for 10,000 trials. So this
is plain SQL, which any of Optuna's databases understands, and one light value per trial.

SQLite keeps any value in any column, and databases are edited by hand, copied half and written by others. So every column is
looked at before it is believed, and what cannot be decoded after that is caught where it is read.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, groupby, pairwise
from operator import itemgetter
from sys import intern
from typing import TYPE_CHECKING, Any, NamedTuple

from hpo.errors import StorageError
from hpo.store import schema
from hpo.store.database import guarded, open_database
from hpo.store.schema import State, Trial

if TYPE_CHECKING:
    from hpo.folders import Location
    from hpo.store.database import Ask, Database
    from hpo.store.reading.record import StudyRecord
    from hpo.store.schema import Distribution

    Sound = Callable[[Sequence[Any]], bool]  # whether a column may hold these values

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, RecursionError)
_CLIPPED = 160  # characters of what an exception says
_AT_ONCE = 10_000  # rows
_YEARS = range(1971, 9001)  # whose times can be told in any zone
_LAST = """trials o JOIN trial_intermediate_values t ON t.trial_id = o.trial_id AND o.study_id = :study
    AND t.step = (SELECT MAX(s.step) FROM trial_intermediate_values s WHERE s.trial_id = o.trial_id)"""
_scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # undocumented since Python 2.7
_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}


class Stored(NamedTuple):
    """A study as it is stored."""

    study_id: int
    directions: list[str]  # of each objective: MAXIMIZE, MINIMIZE or NOT_SET
    attributes: dict[str, Any]
    trials: list[Trial]  # by number; empty where there are several objectives


def read(database: Database, name: str, *, whole: bool = True) -> Stored:
    """Read a study.

    Args:
        database: Where it is.
        name: The study's.
        whole: Whether to read all of each trial; else without what programs noted of it, and of its learning curve only the
            last step: two thirds of everything.

    Raises:
        StorageError: The database refuses, has no such study any more, or holds a value of it that cannot be right.
    """
    with legible(database.location, name), database.reading() as ask:
        study = ask("SELECT study_id FROM studies WHERE study_name = :name", {"name": name}).fetchone()
        if study is None:
            raise KeyError(schema.NOT_FOUND)
        stored = _Study(ask, study[0])
        directions = [direction for _, direction in stored.rows("study_directions", "t.objective")]
        attributes = {key: json.loads(text) for key, text in stored.rows("study_user_attributes", "t.study_user_attribute_id")}
        return Stored(study[0], directions, attributes, stored.trials(whole=whole) if len(directions) == 1 else [])


def rest(record: StudyRecord, trial_id: int) -> tuple[dict[str, Any], dict[int, float]]:
    """Return what programs noted of one trial, and its learning curve.

    Raises:
        StorageError: The database refuses, or holds a value that cannot be right.
    """
    with legible(record.location, record.name), open_database(record.location).reading() as ask:
        study = _Study(ask, record.study_id)
        steps = study.rows("trial_intermediate_values", "t.step", trial_id)
        curve = {step: _number(value, kind) for _, step, value, kind in steps}
        return {key: _value(text) for _, key, text in study.rows("trial_user_attributes", "t.key", trial_id)}, curve


def published(record: StudyRecord) -> dict[str, Any]:
    """Return a study's system attributes, where Optuna's dashboard keeps notes and artifacts.

    Raises:
        StorageError: The database refuses, or holds one that cannot be right.
    """
    with legible(record.location, record.name), open_database(record.location).reading() as ask:
        rows = _Study(ask, record.study_id).rows("study_system_attributes", "t.study_system_attribute_id")
        return {key: json.loads(text) for key, text in rows}


def study_names(database: Database) -> list[str | bytes]:
    """Return the names of all studies; those that are no text as bytes."""
    with database.reading() as ask:
        if database.location.path is None:
            return [name for (name,) in ask("SELECT study_name FROM studies ORDER BY study_id", {})]
        query = "SELECT typeof(study_name), CAST(study_name AS BLOB) FROM studies ORDER BY study_id"
        return [_text(raw) if kind == "text" else raw or b"" for kind, raw in ask(query, {})]


def names(database: Database) -> list[str]:
    """Return the names of all studies."""
    return [name for name in study_names(database) if isinstance(name, str)]


@contextlib.contextmanager
def legible(location: Location, name: str) -> Iterator[None]:
    """Turn what reading a study raises into a sentence that names the study.

    Raises:
        StorageError: The database refuses, or holds a value that cannot be decoded.
    """
    try:
        with guarded(location):
            yield
    except _OddError as error:
        raise unreadable(location, name, str(error)) from None
    except _UNREADABLE as error:
        said = " ".join(str(error).split())[:_CLIPPED]
        raise unreadable(location, name, f"{type(error).__name__}{': ' if said else ''}{said}") from None


def unreadable(location: Location, name: object, why: str) -> StorageError:
    """Return the error about a study that cannot be read."""
    shown = repr(name) if len(repr(name)) <= _CLIPPED else f"{repr(name)[:_CLIPPED]}…"
    return StorageError(f"study {shown} in {location} cannot be read: {why}. Restore a copy of the database; others: hpo list")


class _OddError(ValueError):
    """A value that its column cannot have."""


def _texts(column: Sequence[object]) -> bool:
    return {*map(type, column)} <= {str}


def _whole(least: int, most: int) -> Sound:
    return lambda column: {*map(type, column)} <= {int} and min(column) >= least and max(column) <= most


def _numbers(column: Sequence[Any]) -> bool:
    return {*map(type, column)} <= {float, int} and max(map(abs, column)) < 9e307


def _numbers_or_none(column: Sequence[Any]) -> bool:
    return _numbers([value for value in column if value is not None] or (0,))


def _one_of(*words: str) -> Sound:
    return lambda column: {*column} <= {*words}


def _times(column: Sequence[object]) -> bool:
    return {*map(type, column)} <= {str, datetime, type(None)}


_TRIAL: dict[str, Sound] = {"trial_id": lambda _: True}  # which is looked for among the trials
_TEXTS: dict[str, Sound] = {"key": _texts, "value_json": _texts}
_OBJECTIVE = {"objective": _whole(0, 2**53)}
_COLUMNS: dict[str, dict[str, Sound]] = {  # what is read of each table, and what may be there
    "study_directions": _OBJECTIVE | {"direction": _one_of("NOT_SET", "MINIMIZE", "MAXIMIZE")},
    "study_user_attributes": _TEXTS,
    "study_system_attributes": _TEXTS,
    "trials": _TRIAL
    | {
        "number": _whole(0, 999_999_999),
        "state": _one_of(*State.__members__),
        "datetime_start": _times,
        "datetime_complete": _times,
    },
    "trial_values": _TRIAL | _OBJECTIVE | {"value": _numbers_or_none, "value_type": _one_of("FINITE", "INF_POS", "INF_NEG")},
    "trial_params": _TRIAL | {"param_name": _texts, "param_value": _numbers, "distribution_json": _texts},
    "trial_intermediate_values": _TRIAL
    | {
        "step": _whole(-(2**53), 2**53),
        "intermediate_value": _numbers_or_none,
        "intermediate_value_type": _one_of("FINITE", *_NOT_FINITE),
    },
    "trial_user_attributes": _TRIAL | _TEXTS,
    "trial_system_attributes": _TRIAL | _TEXTS,
}


class _Study(NamedTuple):
    """A study's rows, each looked at before it is believed."""

    ask: Ask
    study_id: int

    def rows(self, table: str, order: str, trial_id: int | None = None, source: str = "") -> Iterator[Any]:
        """Go through the rows that a table has of the study, of its trials, or of one trial; or those of a `source` of them."""
        return chain.from_iterable(self._rows(table, order, trial_id, source))

    def _rows(self, table: str, order: str, trial_id: int | None, source: str) -> Iterator[list[Any]]:
        columns = _COLUMNS[table]
        selected = ", ".join(f"t.{name}" for name in columns)  # behind a dot, no name is a word of MySQL's
        whose = "t.study_id = :study"
        if table.startswith("trial_"):
            whose = (
                "t.trial_id IN (SELECT trial_id FROM trials WHERE study_id = :study)"
                if trial_id is None
                else "t.trial_id = :trial"
            )
        query = f"SELECT {selected} FROM {source or f'{table} t WHERE {whose}'} ORDER BY {order}"  # noqa: S608  # our own words
        found = self.ask(query, {"study": self.study_id} if trial_id is None else {"trial": trial_id})
        while rows := found.fetchmany(_AT_ONCE):
            for (name, is_sound), column in zip(columns.items(), zip(*rows, strict=True), strict=True):
                if not is_sound(column):
                    odd = repr(next(value for value in column if not is_sound([value])))
                    raise _OddError(f"{name} = {odd if len(odd) <= 40 else f'{odd[:40]}…'} in table {table}")
            yield rows

    def by_trial(self, table: str, order: str, source: str = "") -> Iterator[tuple[int, Iterator[Any]]]:
        """Go through a table trial by trial; each row begins with the trial's id."""
        return groupby(self.rows(table, f"t.trial_id, t.{order}", source=source), itemgetter(0))

    def _attributes(self, table: str) -> dict[int, dict[str, Any]]:
        return {trial: {intern(key): _value(text) for _, key, text in rows} for trial, rows in self.by_trial(table, "key")}

    def trials(self, *, whole: bool) -> list[Trial]:
        """Read the trials; what a run adds meanwhile to trials that it begins meanwhile is left out."""
        begun = list(self.rows("trials", "t.number"))
        for (_, number, *_), (_, following, *_) in pairwise(begun):
            if number == following:
                raise _OddError(f"there are two trials {number}")
        results = self.rows("trial_values", "t.trial_id")  # after the states: what is complete has its value
        values = {trial: _number(value, kind) for trial, objective, value, kind in results if objective == 0}
        params: dict[int, dict[str, Any]] = {}
        drawn: dict[int, dict[str, Distribution]] = {}
        spaces: dict[object, dict[str, Distribution]] = {}  # most trials share one
        for trial, rows in self.by_trial("trial_params", "param_id"):
            _, names, numbers, texts = zip(*rows, strict=True)
            if (names, texts) not in spaces:
                spaces[names, texts] = {n: schema.distribution(text) for n, text in zip(names, texts, strict=True)}
            space = drawn[trial] = spaces[names, texts]
            params[trial] = {n: one.to_external_repr(x) for (n, one), x in zip(space.items(), numbers, strict=True)}
        steps = self.by_trial("trial_intermediate_values", "step", source="" if whole else _LAST)
        curves = {trial: {step: _number(value, kind) for _, step, value, kind in rows} for trial, rows in steps}
        user = self._attributes("trial_user_attributes") if whole else {}
        system = self._attributes("trial_system_attributes")
        return [
            Trial(
                number,
                State[state],
                values.get(i),
                _utc(start),
                _utc(end),
                i,
                params.get(i) or {},
                drawn.get(i) or {},
                curves.get(i) or {},
                user.get(i) or {},
                system.get(i) or {},
            )
            for i, number, state, start, end in begun
        ]


def _number(value: float | None, kind: str) -> float:
    """Return a number as a table has it: its value if it is finite, else its kind alone."""
    if (kind == "FINITE") != (value is not None):
        raise _OddError(f"a number of kind {kind} is {value}")
    return _NOT_FINITE[kind] if value is None else value


def _value(text: str) -> Any:  # noqa: ANN401  # whatever was noted
    """As `json.loads`, three times as fast for the short texts that attributes are."""
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


def _utc(stored: str | datetime | None) -> datetime | None:
    """Return a time that lies in a table, where it is in UTC without saying so."""
    if stored is None:
        return None
    time = datetime.fromisoformat(f"{stored}+00:00") if isinstance(stored, str) else stored.replace(tzinfo=UTC)
    if time.year not in _YEARS:
        raise _OddError(f"a time is {time}")
    return time


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
