"""A study's trials as columns: one table, one of parameters, one of learning curves, whatever strangers wrote. Times are UTC."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo.store.own import is_ours, state_of
from hpo.store.schema import MAX_NUMBER, MEASURED, ByRun, CategoricalDistribution

if TYPE_CHECKING:
    from hpo.store.schema import Distribution, Trial

NUMBERS = (*MEASURED, "worker")
OTHERS = ("reason", "checkpoint", "stints")
MAX_WORKERS = 1024  # as RunOptions allows
LATEST = 1e11  # Unix time, seconds
MAX_STEPS = 200  # columns of the curves; a stranger's study may have reported a million steps


@dataclass(frozen=True)
class Trials:
    """The trials of a study; every table has the trial number as its index, in rising order.

    Attributes:
        table: state (FOREIGN for what is not hpo's), value (NaN without one), epochs, last (the last reported value), start and
            complete (UTC), and the attributes `NUMBERS` (floats, NaN where missing) and `OTHERS` (None where missing).
        params: One column per parameter that some trial varied, NaN where a trial did not; choices that are no plain values
            as text.
        curves: Reported values; one column per step.
        distributions: Of each parameter: what hpo varies, or in a study that hpo did not make as the latest trial had it.
    """

    table: pd.DataFrame
    params: pd.DataFrame
    curves: pd.DataFrame
    distributions: dict[str, Distribution]


def as_columns(trials: Sequence[Trial], varied: Mapping[str, Distribution] | None = None) -> Trials:
    """Return trials as columns.

    Args:
        trials: By number.
        varied: What hpo varies in their study; None in a study that hpo did not make (see `hpo.store.own.is_ours`).
    """
    distributions = _distributions(trials, varied)
    index = pd.Index([trial.number for trial in trials], name="number", dtype="int64")
    curves = [{step: value for step, value in t.intermediate_values.items() if abs(value) < MAX_NUMBER} for t in trials]
    columns: dict[str, Any] = {
        "state": [state_of(trial, varied).upper() for trial in trials],
        "value": np.array([_value(trial.value) for trial in trials], dtype=float),
        "epochs": np.array([len(curve) for curve in curves], dtype=int),
        "last": np.array([curve[max(curve)] if curve else np.nan for curve in curves]),
        "start": _times(trial.datetime_start for trial in trials),
        "complete": _times(trial.datetime_complete for trial in trials),
    }
    for name in NUMBERS:
        columns[name] = np.array([_number(trial.user_attrs.get(name)) for trial in trials], dtype=float)
    for name in OTHERS:
        columns[name] = pd.Series([trial.user_attrs.get(name) for trial in trials], index=index, dtype=object)
    names = sorted(distributions.keys() | {name for trial in trials for name in trial.params})
    params = {name: pd.Series(_values(trials, name), index=index, dtype=object) for name in names}
    return Trials(pd.DataFrame(columns, index=index), pd.DataFrame(params, index=index), _curves(curves, index), distributions)


def _times(times: Iterable[datetime | None]) -> Any:  # noqa: ANN401  # numpy's type depends on pandas' version
    """Return times as pandas has them, in UTC without saying so."""
    return pd.to_datetime(pd.Series([time and time.replace(tzinfo=None) for time in times], dtype=object)).to_numpy()


def _distributions(trials: Sequence[Trial], varied: Mapping[str, Distribution] | None) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    for trial in trials if varied is None or isinstance(varied, ByRun) else ():
        found |= trial.distributions if is_ours(trial, varied) else {}
    return {name: _as_plain(one) for name, one in sorted((found | dict(varied or {})).items())}


def _values(trials: Sequence[Trial], name: str) -> list[Any]:
    return [_plain(trial.params[name]) if name in trial.params else np.nan for trial in trials]


def _plain(value: Any) -> Any:  # noqa: ANN401  # whatever a choice may be
    """Return a choice that is no plain value (None, a list) as text: None would pass for a missing value."""
    return value if isinstance(value, bool | int | float | str) else str(value)


def _as_plain(one: Distribution) -> Distribution:
    return CategoricalDistribution(tuple(map(_plain, one.choices))) if isinstance(one, CategoricalDistribution) else one


def _curves(curves: Sequence[Mapping[int, float]], index: pd.Index) -> pd.DataFrame:
    steps = _thinned(sorted({step for curve in curves for step in curve}))
    place = {step: column for column, step in enumerate(steps)}
    values = np.full((len(curves), len(steps)), np.nan)
    for row, curve in enumerate(curves):
        for step, value in curve.items():
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
    return value if abs(value) < MAX_NUMBER else math.copysign(np.inf, value)


def _number(value: object) -> float:
    """Attributes may hold anything; what is no finite number is missing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return np.nan
    return float(value) if abs(value) < MAX_NUMBER else np.nan


def texts(values: Iterable[object]) -> list[str | None]:
    """Return each value as one line of text, None where there is nothing."""
    return [None if value is None else " ".join(str(value).split()) for value in values]


def stints(stored: object) -> list[tuple[int, float, float]]:
    """Return worker, begin and end in Unix time of each stint of an attribute, which may hold anything."""
    rows = stored if isinstance(stored, list) else []
    return [tuple(row) for row in rows if isinstance(row, list) and len(row) == 3 and type(row[0]) is int and _sound(*row)]


def _sound(worker: int, *times: object) -> bool:
    return 0 <= worker < MAX_WORKERS and all(type(at) in (int, float) and abs(at) < LATEST for at in times)  # type: ignore[arg-type]
