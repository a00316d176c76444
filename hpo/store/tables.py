"""Optuna's tables: declared, read by columns, and how attributes are written into them. No other module knows them.

Importing Optuna takes longer than reading a study, and it makes several objects per row: 6 s for 10,000 trials. So the tables are
declared here (a test compares them with Optuna's own), and each row is read once, into one light value per trial.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from hpo.store import schema
from hpo.store.schema import LONGEST_NAME, State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from sqlalchemy.engine import Connection

    from hpo.store.schema import Distribution

_scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # undocumented since Python 2.7
_METADATA = sa.MetaData()
_KINDS = ("FINITE", "INF_POS", "INF_NEG")
_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}


def _table(name: str, own_id: str, /, **columns: sa.types.TypeEngine[Any]) -> sa.Table:
    own = (sa.Column(column, kind) for column, kind in columns.items())
    return sa.Table(name, _METADATA, sa.Column(own_id, sa.Integer, primary_key=True), *own)


def _attributes(whose: str, owner: str) -> sa.Table:
    name = f"{whose}_attribute"
    return _table(f"{name}s", f"{name}_id", **{owner: sa.Integer()}, key=sa.String(LONGEST_NAME), value_json=sa.Text())


STUDIES = _table("studies", "study_id", study_name=sa.String(LONGEST_NAME))
DIRECTIONS = _table(
    "study_directions",
    "study_direction_id",
    study_id=sa.Integer(),
    direction=sa.Enum("NOT_SET", "MINIMIZE", "MAXIMIZE", name="studydirection"),
    objective=sa.Integer(),
)
TRIALS = _table(
    "trials",
    "trial_id",
    study_id=sa.Integer(),
    number=sa.Integer(),
    state=sa.Enum(State, name="trialstate"),
    datetime_start=sa.DateTime(),  # UTC, without saying so
    datetime_complete=sa.DateTime(),
)
PARAMS = _table(
    "trial_params",
    "param_id",
    trial_id=sa.Integer(),
    param_name=sa.String(LONGEST_NAME),
    param_value=sa.Float(53),
    distribution_json=sa.Text(),
)
VALUES = _table(
    "trial_values",
    "trial_value_id",
    trial_id=sa.Integer(),
    objective=sa.Integer(),
    value=sa.Float(53),
    value_type=sa.Enum(*_KINDS, name="trialvaluetype"),
)
STEPS = _table(
    "trial_intermediate_values",
    "trial_intermediate_value_id",
    trial_id=sa.Integer(),
    step=sa.Integer(),
    intermediate_value=sa.Float(53),
    intermediate_value_type=sa.Enum(*_KINDS, "NAN", name="trialintermediatevaluetype"),
)
OF_TRIAL, OF_TRIAL_BY_SYSTEM = _attributes("trial_user", "trial_id"), _attributes("trial_system", "trial_id")
OF_STUDY, OF_STUDY_BY_SYSTEM = _attributes("study_user", "study_id"), _attributes("study_system", "study_id")
ALEMBIC = sa.table("alembic_version", sa.column("version_num"))


def stored(value: float) -> tuple[float | None, str]:
    """Return a value as it lies in a table: a number that is finite, and of which kind it is."""
    if math.isfinite(value):
        return value, "FINITE"
    return None, "NAN" if math.isnan(value) else "INF_POS" if value > 0 else "INF_NEG"


def value_of(value: float, kind: str) -> float:
    """Return a value of a table as a number."""
    return value if kind == "FINITE" else _NOT_FINITE[kind]


def put(
    connection: Connection,
    table: sa.Table,
    owner: Mapping[str, int],
    values: Mapping[str, object],
    removed: Collection[str] = (),
) -> None:
    """Set some of an owner's attributes and remove others, within a transaction.

    Args:
        connection: In a transaction.
        table: One of the tables of attributes.
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


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        number: From 0, in the order that they began.
        state: RUNNING, COMPLETE, PRUNED, FAIL or WAITING.
        value: Its result; None without one.
        datetime_start, datetime_complete: UTC.
        params: Value by parameter.
        distributions: What each was drawn from.
        intermediate_values: Value by step: the learning curve.
        user_attrs, system_attrs: What programs noted of it.
        trial_id: The database's own.
    """

    number: int
    state: State
    value: float | None
    datetime_start: datetime | None
    datetime_complete: datetime | None
    trial_id: int
    params: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, Distribution] = field(default_factory=dict)
    intermediate_values: dict[int, float] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def last_step(self) -> int | None:
        """The last step that was reported."""
        return max(self.intermediate_values, default=None)


class Stored(NamedTuple):
    """A study as it is stored."""

    study_id: int
    directions: list[str]  # of each objective: MAXIMIZE, MINIMIZE or NOT_SET
    attributes: dict[str, Any]
    trials: list[Trial]  # by number; empty where there are several objectives


def read(connection: Connection, name: str) -> Stored:
    """Read a study.

    Raises:
        KeyError: There is none, as Optuna says it.
        ValueError, TypeError, LookupError: A value cannot be decoded.
    """
    study = connection.scalar(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_name == name))
    if study is None:
        raise KeyError(schema.NOT_FOUND)
    objectives = sa.select(DIRECTIONS.c.direction).where(DIRECTIONS.c.study_id == study).order_by(DIRECTIONS.c.objective)
    directions = list(connection.scalars(objectives))
    attributes = sa.select(OF_STUDY.c.key, OF_STUDY.c.value_json).where(OF_STUDY.c.study_id == study)
    described = {key: json.loads(value) for key, value in connection.execute(attributes)}
    return Stored(study, directions, described, _trials(connection, study) if len(directions) == 1 else [])


def _trials(connection: Connection, study: int) -> list[Trial]:
    """Read the trials; what a run adds meanwhile to trials that it begins meanwhile is left out."""
    c = TRIALS.c
    columns = (c.trial_id, c.number, c.state, c.datetime_start, c.datetime_complete)
    begun = connection.execute(sa.select(*columns).where(c.study_id == study).order_by(c.number)).all()
    results = _of(connection, study, VALUES, "value", "value_type")  # after the states: what is complete has its value
    values = {trial: value_of(*value) for _, rows in results for trial, *value in rows}
    found = {i: Trial(number, state, values.get(i), _utc(start), _utc(end), i) for i, number, state, start, end in begun}
    known: dict[str, Distribution] = {}
    for trial, rows in _of(connection, study, PARAMS, "param_name", "param_value", "distribution_json"):
        if trial in found:
            drawn, params = found[trial].distributions, found[trial].params
            for _, name, value, text in rows:
                one = drawn[name] = known[text] if text in known else known.setdefault(text, schema.distribution(text))
                params[name] = one.to_external_repr(value)
    for trial, rows in _of(connection, study, STEPS, "step", "intermediate_value", "intermediate_value_type"):
        if trial in found:
            curve = found[trial].intermediate_values
            curve.update((step, value if kind == "FINITE" else value_of(value, kind)) for _, step, value, kind in rows)
    for table, which in ((OF_TRIAL, "user_attrs"), (OF_TRIAL_BY_SYSTEM, "system_attrs")):
        for trial, rows in _of(connection, study, table, "key", "value_json"):
            if trial in found:
                getattr(found[trial], which).update((key, _value(text)) for _, key, text in rows)
    return list(found.values())


def _of(connection: Connection, study: int, table: sa.Table, *columns: str) -> Iterator[tuple[int, Iterable[Any]]]:
    """Go through the rows that a table has of a study's trials, trial by trial; each row begins with the trial's id."""
    kept = (sa.type_coerce(table.c[name], sa.String) if "type" in name else table.c[name] for name in columns)
    of_study = table.c.trial_id.in_(sa.select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study))
    order = table.primary_key if table is PARAMS else (table.c.trial_id, table.c[columns[0]])  # the latter is an index
    rows = sa.select(table.c.trial_id, *kept).where(of_study).order_by(*order)
    found = connection.execute(rows.where(VALUES.c.objective == 0) if table is VALUES else rows)
    return groupby(found, itemgetter(0))


def _value(text: str) -> Any:  # noqa: ANN401  # whatever was noted
    """As `json.loads`, three times as fast for the short texts that attributes are."""
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


def _utc(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time else None
