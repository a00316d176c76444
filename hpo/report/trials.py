"""A study's trials as columns: one table, one of parameters, one of learning curves.

Optuna builds an object for every trial, which takes 8 s for 10,000 of them. Where the study lies in a relational
database, this module asks for each table once instead (0.6 s) and never builds the objects; any other storage is
read through Optuna. Both ways give the same columns, whatever strangers wrote into the attributes. Times are UTC.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import optuna
    from sqlalchemy.engine import Connection, Engine

Distribution = FloatDistribution | IntDistribution | CategoricalDistribution

NUMBERS = ("seconds", "images_per_second", "n_parameters", "macs", "worker")
OTHERS = ("reason", "checkpoint", "train_loss", "score_loss", "stints")
LARGEST = 1e300  # numbers beyond are taken for infinite: sums and differences of them would be
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
        table: state, value (NaN without one), epochs, last (the last reported value), start and complete (UTC),
            and the attributes `NUMBERS` (floats, NaN where missing) and `OTHERS` (None where missing).
        params: One column a parameter that some trial varied, NaN where a trial did not.
        curves: Reported values; one column a step.
        distributions: Of each parameter, as the latest trial had it.
    """

    table: pd.DataFrame
    params: pd.DataFrame
    curves: pd.DataFrame
    distributions: dict[str, Distribution]


class _Record(NamedTuple):
    number: int
    state: str
    value: float | None
    start: datetime | str | None
    complete: datetime | str | None
    params: dict[str, Any]
    steps: dict[int, float]
    attributes: dict[str, Any]


def read_trials(study: optuna.Study) -> Trials:
    """Read all trials of `study`, from a relational database with one query a table."""
    storage: Any = study._storage  # noqa: SLF001 - Optuna has no public way from a study to its engine
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    distributions: dict[str, Distribution] = {}
    if engine is None:
        return _columns(list(_ask_optuna(study, distributions)), distributions)
    study_id = study._study_id  # noqa: SLF001 - as above
    return _columns(_ask_database(engine, study_id, distributions), distributions)


def _ask_database(engine: Engine, study_id: int, distributions: dict[str, Distribution]) -> list[_Record]:
    with engine.connect() as connection:
        rows = {name: _all(connection, query, study_id) for name, query in _QUERIES.items()}
    records = {row[0]: _Record(row[1], row[2], None, row[3], row[4], {}, {}, {}) for row in rows["trials"]}
    known: dict[str, Distribution] = {}
    # A run may add rows between two queries: those of trials that we have not seen are left out.
    for trial, name, value, as_json in rows["params"]:
        if trial in records:
            if as_json not in known:
                known[as_json] = cast("Distribution", json_to_distribution(as_json))
            distributions[name] = known[as_json]
            records[trial].params[name] = known[as_json].to_external_repr(value)
    for trial, step, value in rows["steps"]:
        if trial in records and abs(value) < LARGEST:
            records[trial].steps[step] = value
    for trial, key, as_json in rows["attributes"]:
        if trial in records:
            records[trial].attributes[key] = json.loads(as_json)
    infinite = {"INF_POS": np.inf, "INF_NEG": -np.inf}
    values = {trial: infinite.get(kind, value) for trial, value, kind in rows["values"]}
    return [record._replace(value=values.get(trial)) for trial, record in records.items()]


def _all(connection: Connection, query: str, study_id: int) -> list[Any]:
    from sqlalchemy import bindparam, text

    values: dict[str, Any] = {"study": study_id}
    statement = text(query)
    if ":keys" in query:  # a stranger's attributes may be large
        values["keys"] = NUMBERS + OTHERS
        statement = statement.bindparams(bindparam("keys", expanding=True))
    return list(connection.execute(statement, values).all())


def _ask_optuna(study: optuna.Study, distributions: dict[str, Distribution]) -> Iterator[_Record]:
    for trial in study.get_trials(deepcopy=False):
        distributions.update(cast("dict[str, Distribution]", trial.distributions))
        yield _Record(
            trial.number,
            trial.state.name,
            trial.values[0] if trial.values else None,
            _utc(trial.datetime_start),
            _utc(trial.datetime_complete),
            trial.params,
            {step: value for step, value in trial.intermediate_values.items() if abs(value) < LARGEST},
            {key: trial.user_attrs[key] for key in NUMBERS + OTHERS if key in trial.user_attrs},
        )


def _utc(time: datetime | None) -> datetime | None:
    """Optuna hands out local times without a zone."""
    return time.astimezone(UTC).replace(tzinfo=None) if time else None


def _columns(records: list[_Record], distributions: dict[str, Distribution]) -> Trials:
    index = pd.Index([record.number for record in records], name="number", dtype="int64")
    columns: dict[str, Any] = {
        "state": [record.state for record in records],
        "value": np.array([_value(record.value) for record in records], dtype=float),
        "epochs": np.array([len(record.steps) for record in records], dtype=int),
        "last": np.array([record.steps[max(record.steps)] if record.steps else np.nan for record in records]),
        "start": pd.to_datetime(pd.Series([r.start for r in records], dtype=object), format="ISO8601").to_numpy(),
        "complete": pd.to_datetime(pd.Series([r.complete for r in records], dtype=object), format="ISO8601").to_numpy(),
    }
    for name in NUMBERS:
        columns[name] = np.array([_number(record.attributes.get(name)) for record in records], dtype=float)
    for name in OTHERS:
        columns[name] = pd.Series([record.attributes.get(name) for record in records], index=index, dtype=object)
    params = {
        name: pd.Series([record.params.get(name, np.nan) for record in records], index=index, dtype=object)
        for name in sorted(distributions)
    }
    return Trials(
        pd.DataFrame(columns, index=index),
        pd.DataFrame(params, index=index),
        _curves(records, index),
        {name: distributions[name] for name in sorted(distributions)},
    )


def _curves(records: list[_Record], index: pd.Index) -> pd.DataFrame:
    steps = _thinned(sorted({step for record in records for step in record.steps}))
    place = {step: column for column, step in enumerate(steps)}
    values = np.full((len(records), len(steps)), np.nan)
    for row, record in enumerate(records):
        for step, value in record.steps.items():
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
