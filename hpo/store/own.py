"""What of a database is hpo's own, told from what every version of hpo has stored; and which of it is the best.

Optuna's databases are open: a program may enqueue a point, ask for a trial and never end it, or add one with a value of its own
making. Those are shown, but they are no results of the search. Whatever names a best trial asks `best_first`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from hpo.store.schema import REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from optuna.distributions import BaseDistribution
    from optuna.trial import TrialState

FOREIGN = "foreign"  # the state of a trial that is not hpo's

_SETTINGS = {"dataset", "epochs", "score", "sampler", "pruner", "seed"}  # that every version of hpo has stored


class Tried(Protocol):
    """What is looked at of a trial: Optuna's FrozenTrial has it."""

    state: TrialState
    value: float | None
    intermediate_values: dict[int, float]
    distributions: dict[str, BaseDistribution]
    system_attrs: dict[str, Any]


def is_our_study(attributes: Mapping[str, Any], *, maximize: bool) -> bool:
    """Return whether hpo made a study: only then are its values accuracies, and is trial 0 the default point."""
    settings = attributes.get("settings")
    return maximize and isinstance(settings, dict) and settings.keys() >= _SETTINGS


def is_ours(trial: Tried, varied: Mapping[str, BaseDistribution] | None) -> bool:
    """Return whether hpo has tried a trial.

    It has every varied parameter and no other, drawn from the study's own space. If it is complete, its value is the last
    accuracy that was reported. An enqueued trial that nobody has begun is nobody's yet.

    Args:
        trial: As stored.
        varied: `samplers.distributions` of the study's space; None in a study that hpo did not make, where all trials count.
    """
    if varied is None:
        return True
    if trial.state.name == "WAITING":
        return False
    if trial.state.name == "FAIL" and REFUSED in trial.system_attrs:
        return True
    if trial.state.name == "COMPLETE":
        reported = trial.intermediate_values
        if not reported or trial.value != reported[max(reported)]:
            return False
    return trial.distributions == varied


def state_of(trial: Tried, varied: Mapping[str, BaseDistribution] | None) -> str:
    """Return a trial's state in lower case; `foreign` for what another program has begun or added."""
    foreign = trial.state.name != "WAITING" and not is_ours(trial, varied)
    return FOREIGN if foreign else trial.state.name.lower()


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
