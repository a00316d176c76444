"""The test set, read by the winner alone after everything was decided: which reading it was, and its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpo.proof.intervals import wilson
from hpo.settings import METRICS

if TYPE_CHECKING:
    from hpo.parameters import Value
    from hpo.store.reading.record import StudyRecord


@dataclass(frozen=True)
class Reading:
    """A score on the test set of one network, trained on all training images.

    Attributes:
        study: The study that has it.
        value: The score.
        low, high: Wilson's 95 % interval; None where the score is no share of images.
        n: Test images; 0 if unknown.
        number: Which reading of the test set this was, from 1; a later one was made by somebody who knew the earlier ones.
    """

    study: str
    value: float
    low: float | None
    high: float | None
    n: int
    number: int


def of_winner(record: StudyRecord, point: Mapping[str, Value]) -> Reading | None:
    """Return the reading by a point, from the study that has all of them; None where there is none."""
    found = sorted(record.ranked, key=lambda trial: trial.number)
    place = next((i for i, trial in enumerate(found) if trial.params == point), None)
    if place is None:
        return None
    environment, value = record.attributes.get("environment"), found[place].value or 0.0
    told = environment.get("n_scored") if isinstance(environment, dict) else None
    n = told if type(told) is int and told > 0 else 0
    counted = n and record.is_share and record.score.name == METRICS[0]
    low, high = wilson(value, n) if counted else (None, None)
    return Reading(record.name, value, low, high, n, place + 1)
