"""Whether what a run would go on with is what hpo writes: anybody may have edited the database since.

A run asks this before its workers start. A study that it refuses can still be looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hpo.errors import SpaceError, StorageError, explain
from hpo.settings import RunOptions
from hpo.store.own import is_ours
from hpo.store.schema import distributions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.trial import FrozenTrial

    from hpo.folders import Location
    from hpo.objective import Score
    from hpo.search_space import SearchSpace


def check(
    location: Location,
    name: str,
    remembered: Mapping[str, Any],
    space: SearchSpace,
    score: Score,
    epochs: int,
    trials: Sequence[FrozenTrial],
) -> None:
    """Refuse to continue what hpo did not write.

    Args:
        location: The database.
        name: The study.
        remembered: Its attributes environment, options and starts.
        space: Its space.
        score: What its trials are judged by.
        epochs: Of a trial.
        trials: All of its trials.

    Raises:
        StorageError: Says what is odd, and what to do.
    """
    try:
        _check_remembered(remembered, space)
        _check_trials(trials, space, score, epochs)
    except ValidationError as error:
        why = explain(error)[0]
    except (SpaceError, ValueError) as error:
        why = str(error)
    else:
        return
    raise StorageError(
        f"study {name!r} in {location} cannot be continued: it holds what hpo does not write ({why}). "
        f"Restore a copy of the database, or begin anew beside it: hpo run {name}-2"
    )


def _check_remembered(remembered: Mapping[str, Any], space: SearchSpace) -> None:
    for key, kind in (("environment", dict), ("options", dict), ("starts", list)):
        if not isinstance(remembered[key], kind):
            raise ValueError(f"its {key} are no {kind.__name__}")  # noqa: TRY004  # as pydantic's: what somebody else wrote
    options, known = remembered["options"], RunOptions.model_fields
    RunOptions.model_validate({key: value for key, value in options.items() if key in known and value is not None})
    for start in remembered["starts"]:
        if not isinstance(start, dict) or not start.keys() <= space.varied.keys():
            raise ValueError("one of its starts is no point of its space")
        space.point(start)


def _check_trials(trials: Sequence[FrozenTrial], space: SearchSpace, score: Score, epochs: int) -> None:
    varied = distributions(space)
    for expected, trial in enumerate(trials):
        if trial.number != expected:
            raise ValueError(f"there is no trial {expected}")
        reported = trial.intermediate_values.items() if is_ours(trial, varied) else ()
        for epoch, value in reported:
            if not (1 <= epoch <= epochs and score.allows(value)):  # not a number is neither
                raise ValueError(f"the {score.name} of trial {trial.number} after epoch {epoch} is {value}")
