"""Optuna's tables for those who write: declared, as a test compares with Optuna's own, and how attributes are put into them."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from optuna.distributions import distribution_to_json

from hpo.store.schema import LONGEST_NAME, State

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from sqlalchemy.engine import Connection

    _Kind = sa.types.TypeEngine[Any]

_METADATA = sa.MetaData()


def _table(name: str, own_id: str, /, **columns: _Kind) -> sa.Table:
    own = (sa.Column(column, kind) for column, kind in columns.items())
    return sa.Table(name, _METADATA, sa.Column(own_id, sa.Integer, primary_key=True), *own)


def _attributes(whose: str, owner: str) -> sa.Table:
    name = f"{whose}_attribute"
    return _table(f"{name}s", f"{name}_id", **{owner: sa.Integer()}, key=sa.String(LONGEST_NAME), value_json=sa.Text())


def _numbers(of: str, value: str, place: str, kind: str, *more: str) -> sa.Table:
    kinds = sa.Enum("FINITE", "INF_POS", "INF_NEG", *more, name=kind)
    columns: dict[str, _Kind] = {"trial_id": sa.Integer(), place: sa.Integer(), value: sa.Float(53), f"{value}_type": kinds}
    return _table(f"{of}s", f"{of}_id", **columns)


STUDIES = _table("studies", "study_id", study_name=sa.String(LONGEST_NAME))
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
VALUES = _numbers("trial_value", "value", "objective", "trialvaluetype")
STEPS = _numbers("trial_intermediate_value", "intermediate_value", "step", "trialintermediatevaluetype", "NAN")
OF_TRIAL, OF_TRIAL_BY_SYSTEM = _attributes("trial_user", "trial_id"), _attributes("trial_system", "trial_id")
OF_STUDY, OF_STUDY_BY_SYSTEM = _attributes("study_user", "study_id"), _attributes("study_system", "study_id")


def stored(value: float) -> tuple[float | None, str]:
    """Return a value as it lies in a table: a number that is finite, and of which kind it is."""
    if math.isfinite(value):
        return value, "FINITE"
    return None, "NAN" if math.isnan(value) else "INF_POS" if value > 0 else "INF_NEG"


def parameter(trial_id: int, name: str, value: object, distribution: BaseDistribution) -> dict[str, object]:
    """Return a trial's parameter as a row."""
    return {
        "trial_id": trial_id,
        "param_name": name,
        "param_value": distribution.to_internal_repr(value),
        "distribution_json": distribution_to_json(distribution),
    }


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
