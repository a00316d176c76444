"""What of a database is hpo's own, told from what every version of hpo has stored; and which of it is the best.

Optuna's databases are open: a program may enqueue a point, ask for a trial and never end it, or add one with a value of its own
making. Those are shown, but they are no results of the search. Whatever names a best trial asks `best_first`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import ValidationError

from hpo.objective import of_study
from hpo.settings import Settings
from hpo.store.schema import MAX_NUMBER, REFUSED, RUN, ByRun, State

if TYPE_CHECKING:
    from enum import IntEnum

FINISHED: tuple[IntEnum, ...] = (State.COMPLETE, State.PRUNED)
FOREIGN = "foreign"  # the state of a trial that is not hpo's

_SETTINGS = {"epochs", "sampler", "pruner", "seed"}  # that every version of hpo has stored


class Tried(Protocol):
    """What is looked at of a trial: as the reader returns it, or Optuna's FrozenTrial."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def state(self) -> IntEnum: ...  # noqa: D102
    @property
    def value(self) -> float | None: ...  # noqa: D102
    @property
    def intermediate_values(self) -> dict[int, float]: ...  # noqa: D102
    @property
    def distributions(self) -> Mapping[str, object]: ...  # noqa: D102
    @property
    def system_attrs(self) -> dict[str, Any]: ...  # noqa: D102


One = TypeVar("One", bound=Tried)


def is_our_study(attributes: Mapping[str, Any], *, maximize: bool) -> bool:
    """Return whether hpo made a study: only then are its values scores, and is trial 0 the default point."""
    settings = attributes.get("settings")
    return maximize == of_study(attributes).score.maximize and isinstance(settings, dict) and settings.keys() >= _SETTINGS


def stored_settings(attributes: Mapping[str, Any]) -> Settings | None:
    """Return what a study was run with; None where hpo did not make it."""
    try:
        return Settings.model_validate(attributes.get("settings"))
    except ValidationError:
        return None


def is_ours(trial: Tried, varied: Mapping[str, object] | None) -> bool:
    """Return whether hpo has tried a trial.

    It has every varied parameter and no other, drawn from the study's own space. If it is complete, its value is the last
    score that was reported. An enqueued trial that nobody has begun is nobody's yet. Where trials say themselves what they vary,
    those are hpo's that a run has marked.

    Args:
        trial: As stored.
        varied: What the study's space varies, in the trial's words (schema.varied; Optuna's: schema.distributions);
            None in a study that hpo did not make, where all trials count.
    """
    if varied is None:
        return True
    if trial.state.name == "WAITING":
        return False
    if trial.state.name == "FAIL" and REFUSED in trial.system_attrs:
        return True
    if isinstance(varied, ByRun):
        return RUN in trial.system_attrs
    if trial.state.name == "COMPLETE":
        reported = trial.intermediate_values
        if not reported or trial.value != reported[max(reported)]:
            return False
    return trial.distributions == varied


def metrics(attributes: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the attributes of a trial that are lists of numbers, a value for each epoch; NaN where an epoch lacks one."""
    found = {}
    for name, values in attributes.items():
        if isinstance(values, list) and values and all(type(value) in (int, float, NoneType) for value in values):
            found[str(name)] = [math.nan if value is None or abs(value) > MAX_NUMBER else float(value) for value in values]
    return found


def state_of(trial: Tried, varied: Mapping[str, object] | None) -> str:
    """Return a trial's state in lower case; `foreign` for what another program has begun or added."""
    foreign = trial.state.name != "WAITING" and not is_ours(trial, varied)
    return FOREIGN if foreign else trial.state.name.lower()


def ranked(trials: Iterable[One], *, maximize: bool) -> list[One]:
    """Return the complete trials that have a result, the best first; of equals the first."""
    complete = {trial.number: trial for trial in trials if trial.state == State.COMPLETE}
    return [complete[n] for n in best_first(((n, trial.value) for n, trial in complete.items()), maximize=maximize)]


def best_first(values: Iterable[tuple[int, float | None]], *, maximize: bool) -> list[int]:
    """Return the numbers of complete trials, the best first; of equals the first. A value that is not finite is no result.

    Args:
        values: Number and value of each complete trial that counts (see `is_ours`).
        maximize: The study's direction.
    """
    sign = -1 if maximize else 1
    return [number for _, number in sorted((sign * v, number) for number, v in values if v is not None and math.isfinite(v))]


def are_shares(values: Iterable[float]) -> bool:
    """Return whether all values may be shown in per cent."""
    return all(0 <= value <= 1 for value in values)
