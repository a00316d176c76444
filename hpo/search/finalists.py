"""Which trials of a study are trained again: the best that differ, and the default point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hpo.parameters import Choices, FloatRange, IntRange, same
from hpo.settings import derived_seed
from hpo.store.repetitions import Entry, Repetitions

if TYPE_CHECKING:
    from hpo.parameters import Value
    from hpo.search_space import SearchSpace
    from hpo.store.reading.record import StudyRecord

NEAR = 0.05  # of each range; nearer points are the same choice, and their trainings would tell little


def chosen(record: StudyRecord, space: SearchSpace, top: int, n_seeds: int) -> Repetitions:
    """Return the finalists of a study: its default point first, then the best complete trials that differ from it and each other.

    Pruned trials are none: nobody knows how they end. Seeds are derived from the study's, and none of its trials has one of them.
    """
    entries = [Entry(role="default", point=space.default, trial=_default_trial(record, space))]
    for trial in record.ranked:
        if len(entries) > top:
            break
        if not any(near(space, trial.params, entry.point) for entry in entries):
            entries.append(Entry(role="finalist", point=trial.params, trial=trial.number))
    return Repetitions(study=record.name, entries=tuple(entries), seeds=seeds(record, n_seeds))


def seeds(record: StudyRecord, n: int) -> tuple[int, ...]:
    """Return the fresh seeds of a study's finalists; more of them begin with fewer."""
    root = record.settings.seed if record.settings else 0
    return tuple(derived_seed(root, "finalists", i) for i in range(n))


def ablations(space: SearchSpace, winner: Mapping[str, Value]) -> list[Entry]:
    """Return the winner's point with each of its choices put back to the default, one at a time."""
    return [
        Entry(role="ablation", point={**winner, name: default}, without=name)
        for name, default in space.default.items()
        if not same(winner[name], default)
    ]


def near(space: SearchSpace, one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
    """Whether two points are the same choice: each number within a twentieth of its range, each other value equal."""
    return all(_apart(parameter, one[name], other[name]) < NEAR for name, parameter in space.varied.items())


def _apart(parameter: IntRange | FloatRange | Choices, one: Value, other: Value) -> float:
    """Return how far two values are from each other, as a share of the range."""
    if same(one, other):
        return 0.0
    if isinstance(parameter, Choices):
        return 1.0
    ends: Sequence[float] = [float(value) for value in (parameter.low, parameter.high, one, other)]
    low, high, first, second = map(math.log, ends) if parameter.log else ends
    return abs(first - second) / (high - low) if high > low else 0.0


def _default_trial(record: StudyRecord, space: SearchSpace) -> int | None:
    """Return the complete trial of the default point."""
    return next((trial.number for trial in record.ranked if trial.params == space.default), None)
