"""Re-use what another study found: its best configurations are the first that a new one tries after its default point.

The other study may have been made on other data, with fewer images or epochs, with another recipe or in another space: what it
found is a suggestion, and the new study measures it anew. What does not carry over is left out and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hpo.errors import UsageError
from hpo.parameters import Choices, Fixed
from hpo.store.reading.record import load

if TYPE_CHECKING:
    from hpo.folders import Location
    from hpo.objective import Objective
    from hpo.parameters import Parameter, Value
    from hpo.search_space import SearchSpace
    from hpo.settings import Settings
    from hpo.store.reading.record import StudyRecord

POINTS = 5  # best configurations that are taken over


class WarmStart(NamedTuple):
    """What another study gives to a new one.

    Attributes:
        points: To try after the default one, best first.
        left_out: What does not carry over, one sentence each.
    """

    points: list[dict[str, Value]]
    left_out: list[str]


def warm_start(name: str, location: Location, objective: Objective, space: SearchSpace, settings: Settings) -> WarmStart:
    """Return the best configurations of study `name` that `space` can express, at most `POINTS`.

    A value that the other study had, varied or fixed, is taken over where `space` varies the parameter and holds the value; else
    the parameter takes its default. A configuration of which nothing is left is no point.

    Raises:
        UsageError: No such study, or no complete trial of it says anything about this space.
    """
    if space.by_run:
        raise UsageError(
            f"--warm-start {name}: an Optuna objective says itself what it varies. Enqueue points: study.enqueue_trial({{…}})"
        )
    record = load(name, location)
    points: list[dict[str, Value]] = []
    used: list[dict[str, Value]] = []
    for trial in record.ranked:
        whole = record.space.point(trial.params) if record.space else trial.params
        known = {key: value for key, value in whole.items() if key in space.varied and space.varied[key].holds(value)}
        point = space.default | known
        if known and point != space.default and point not in points:
            points.append(point)
            used.append(whole)
        if len(points) == POINTS:
            break
    if not points:
        raise UsageError(
            f"study {name!r} in {location} has no complete trial whose parameters lie in space {space.name!r}: "
            f"there is nothing to start from. Leave out --warm-start {name}"
        )
    return WarmStart(points, [*_otherwise_scored(record, objective, settings), *_not_expressed(name, used, space)])


def _otherwise_scored(record: StudyRecord, objective: Objective, settings: Settings) -> list[str]:
    there: Mapping[str, Any] = record.settings.model_dump() | {"recipe": record.recipe} if record.settings else {}
    here = settings.model_dump() | {"recipe": objective.recipe}
    compared = (*objective.settings, "epochs", "recipe")
    differing = [
        f"{key} {_said(there[key])} (here {_said(here[key])})" for key in compared if key in there and there[key] != here[key]
    ]
    if not differing:
        return []
    return [
        f"study {record.name!r} was run with {', '.join(differing)}: its points are tried here, its scores do not carry over."
    ]


def _not_expressed(name: str, used: Sequence[Mapping[str, Value]], space: SearchSpace) -> list[str]:
    """Say which values of the points that were used the space cannot express."""
    lost = []
    for key, parameter in space.parameters.items():
        values = {point[key]: None for point in used if key in point and not parameter.holds(point[key])}
        if values:
            lost.append(f"{key} {' or '.join(_said(value) for value in values)} (here {_range(parameter)})")
    if not lost:
        return []
    return [f"not taken over from study {name!r}, since space {space.name!r} has no such values: {', '.join(lost)}."]


def _range(parameter: Parameter) -> str:
    if isinstance(parameter, Fixed):
        return _said(parameter.value)
    if isinstance(parameter, Choices):
        return " or ".join(_said(choice) for choice in parameter.choices)
    return f"{_said(parameter.low)} to {_said(parameter.high)}"


def _said(value: object) -> str:
    return "all" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
