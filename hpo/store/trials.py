"""A study's trials as columns: one table, one of parameters, one of learning curves.

Optuna builds an object for every trial, which takes 8 s for 10,000 of them. Where the study lies in a relational
database, this module asks for each table once instead (0.6 s) and never builds the objects; any other storage is
read through Optuna. Both ways give the same columns, whatever strangers wrote into the attributes. Times are UTC.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.trial import TrialState

from hpo.store.own import state_of
from hpo.store.schema import MEASURED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import optuna
    from optuna.distributions import BaseDistribution
    from sqlalchemy.engine import Connection, Engine

Distribution = FloatDistribution | IntDistribution | CategoricalDistribution

NUMBERS = (*MEASURED, "worker")
OTHERS = ("reason", "checkpoint", "train_loss", "score_loss", "stints")
LARGEST = 1e300  # numbers beyond are taken for infinite: sums and differences of them would be
MOST_WORKERS = 1024  # as RunOptions allows
LATEST = 1e11  # Unix time, seconds
MAX_STEPS = 200  # columns of the curves; a stranger's study may have reported a million steps

_QUERIES = {
    "trials": "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials WHERE study_id = :study "
    "ORDER BY number",
    "values": "SELECT trial_id, value, value_type FROM trial_values JOIN trials USING (trial_id) "
    "WHERE study_id = :study AND objective = 0",
    "params": "SELECT trial_id, param_name, param_value, distribution_json FROM trial_params "
    "JOIN trials USING (trial_id) WHERE study_id = :study ORDER BY number, param_id",
    "steps": "SELECT trial_id, step, intermediate_value FROM trial_intermediate_values "
    "JOIN trials USING (trial_id) WHERE study_id = :study AND intermediate_value_type = 'FINITE'",
    "attributes": "SELECT trial_id, key, value_json FROM trial_user_attributes JOIN trials USING (trial_id) "
    "WHERE study_id = :study AND key IN :keys",
}


@dataclass(frozen=True)
class Trials:
    """The trials of a study; every table has the trial number as its index, in rising order.

    Attributes:
        table: state (FOREIGN for what is not hpo's), value (NaN without one), epochs, last (the last reported value), start and
            complete (UTC), and the attributes `NUMBERS` (floats, NaN where missing) and `OTHERS` (None where missing).
        params: One column per parameter that some trial varied, NaN where a trial did not.
        curves: Reported values; one column per step.
        distributions: Of each parameter: what hpo varies, or in a study that hpo did not make as the latest trial had it.
    """

    table: pd.DataFrame
    params: pd.DataFrame
    curves: pd.DataFrame
    distributions: dict[str, Distribution]


@dataclass(slots=True)
class _Record:
    number: int
    state: TrialState
    start: datetime | str | None
    complete: datetime | str | None
    value: float | None = None
    params: dict[str, Any] = field(default_factory=dict)
    intermediate_values: dict[int, float] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)  # not read: they tell of failures alone whose they are


def read_trials(study: optuna.Study, varied: Mapping[str, BaseDistribution] | None = None) -> Trials:
    """Read all trials of `study`, from a relational database with one query per table.

    Args:
        study: Of one objective.
        varied: What hpo varies in it; None in a study that hpo did not make (see `hpo.store.own.is_ours`).
    """
    storage: Any = study._storage  # noqa: SLF001 - Optuna has no public way from a study to its engine
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    study_id = study._study_id  # noqa: SLF001 - as above
    return _columns(list(_ask_optuna(study)) if engine is None else _ask_database(engine, study_id), varied)


def _ask_database(engine: Engine, study_id: int) -> list[_Record]:
    with engine.connect() as connection:
        rows = {name: _all(connection, query, study_id) for name, query in _QUERIES.items()}
    records = {row[0]: _Record(row[1], TrialState[row[2]], row[3], row[4]) for row in rows["trials"]}
    known: dict[str, Distribution] = {}
    # A run may add rows between two queries: those of trials that we have not seen are left out.
    for trial, name, value, as_json in rows["params"]:
        if trial in records:
            if as_json not in known:
                known[as_json] = cast("Distribution", json_to_distribution(as_json))
            records[trial].distributions[name] = known[as_json]
            records[trial].params[name] = known[as_json].to_external_repr(value)
    for trial, step, value in rows["steps"]:
        if trial in records and abs(value) < LARGEST:
            records[trial].intermediate_values[step] = value
    for trial, key, as_json in rows["attributes"]:
        if trial in records:
            records[trial].user_attrs[key] = json.loads(as_json)
    infinite = {"INF_POS": np.inf, "INF_NEG": -np.inf}
    for trial, value, kind in rows["values"]:
        if trial in records:
            records[trial].value = infinite.get(kind, value)
    return list(records.values())


def _all(connection: Connection, query: str, study_id: int) -> list[Any]:
    from sqlalchemy import bindparam, text

    values: dict[str, Any] = {"study": study_id}
    statement = text(query)
    if ":keys" in query:  # a stranger's attributes may be large
        values["keys"] = NUMBERS + OTHERS
        statement = statement.bindparams(bindparam("keys", expanding=True))
    return list(connection.execute(statement, values).all())


def _ask_optuna(study: optuna.Study) -> Iterator[_Record]:
    for trial in study.get_trials(deepcopy=False):
        yield _Record(
            trial.number,
            trial.state,
            _utc(trial.datetime_start),
            _utc(trial.datetime_complete),
            trial.values[0] if trial.values else None,
            trial.params,
            {step: value for step, value in trial.intermediate_values.items() if abs(value) < LARGEST},
            trial.distributions,
            {key: trial.user_attrs[key] for key in NUMBERS + OTHERS if key in trial.user_attrs},
        )


def _utc(time: datetime | None) -> datetime | None:
    """Optuna hands out local times without a zone."""
    return time.astimezone(UTC).replace(tzinfo=None) if time else None


def _columns(records: list[_Record], varied: Mapping[str, BaseDistribution] | None) -> Trials:
    distributions = _distributions(records, varied)
    index = pd.Index([record.number for record in records], name="number", dtype="int64")
    columns: dict[str, Any] = {
        "state": [state_of(record, varied).upper() for record in records],
        "value": np.array([_value(record.value) for record in records], dtype=float),
        "epochs": np.array([len(record.intermediate_values) for record in records], dtype=int),
        "last": np.array(
            [
                record.intermediate_values[max(record.intermediate_values)] if record.intermediate_values else np.nan
                for record in records
            ]
        ),
        "start": pd.to_datetime(pd.Series([r.start for r in records], dtype=object), format="ISO8601").to_numpy(),
        "complete": pd.to_datetime(pd.Series([r.complete for r in records], dtype=object), format="ISO8601").to_numpy(),
    }
    for name in NUMBERS:
        columns[name] = np.array([_number(record.user_attrs.get(name)) for record in records], dtype=float)
    for name in OTHERS:
        columns[name] = pd.Series([record.user_attrs.get(name) for record in records], index=index, dtype=object)
    params = {
        name: pd.Series([record.params.get(name, np.nan) for record in records], index=index, dtype=object)
        for name in sorted(distributions.keys() | {name for record in records for name in record.params})
    }
    return Trials(
        pd.DataFrame(columns, index=index),
        pd.DataFrame(params, index=index),
        _curves(records, index),
        distributions,
    )


def _distributions(records: list[_Record], varied: Mapping[str, BaseDistribution] | None) -> dict[str, Distribution]:
    found: dict[str, BaseDistribution] = {}
    for record in records if varied is None else ():
        found |= record.distributions
    return {name: cast("Distribution", one) for name, one in sorted((found | dict(varied or {})).items())}


def _curves(records: list[_Record], index: pd.Index) -> pd.DataFrame:
    steps = _thinned(sorted({step for record in records for step in record.intermediate_values}))
    place = {step: column for column, step in enumerate(steps)}
    values = np.full((len(records), len(steps)), np.nan)
    for row, record in enumerate(records):
        for step, value in record.intermediate_values.items():
            if step in place:
                values[row, place[step]] = value
    return pd.DataFrame(values, index=index, columns=pd.Index(steps, name="step", dtype="int64"))


def _thinned(steps: list[int]) -> list[int]:
    if len(steps) <= MAX_STEPS:
        return steps
    return [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, MAX_STEPS).astype(int))]


def _value(value: float | None) -> float:
    if value is None:
        return np.nan
    return value if abs(value) < LARGEST else math.copysign(np.inf, value)


def _number(value: object) -> float:
    """Attributes may hold anything; what is no finite number is missing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return np.nan
    return float(value) if abs(value) < LARGEST else np.nan


def texts(values: Iterable[object]) -> list[str | None]:
    """Return each value as one line of text, None where there is nothing."""
    return [None if value is None else " ".join(str(value).split()) for value in values]


def stints(stored: object) -> list[tuple[int, float, float]]:
    """Return worker, begin and end in Unix time of each stint of an attribute, which may hold anything."""
    rows = stored if isinstance(stored, list) else []
    return [tuple(row) for row in rows if isinstance(row, list) and len(row) == 3 and type(row[0]) is int and _sound(*row)]


def _sound(worker: int, *times: object) -> bool:
    return 0 <= worker < MOST_WORKERS and all(type(at) in (int, float) and abs(at) < LATEST for at in times)  # type: ignore[arg-type]
