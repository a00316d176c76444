"""A trial that is being trained, or waits to be continued: what the runner knows of it and the database not yet."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpo.store.schema import NOTED, STINTS

if TYPE_CHECKING:
    from hpo.messages import Epoch, Started


@dataclass
class OpenTrial:
    """A trial that has not ended.

    Attributes:
        number: Optuna's trial number.
        params: The values of the parameters that the study varies.
        scores: By epoch (from 1), as far as the database knows them.
        attributes: What will be stored with the trial when it ends.
        can_wait: Whether it goes on from its last epoch; else it would begin again.
    """

    number: int
    params: dict[str, Any]
    scores: dict[int, float] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    can_wait: bool = True
    _single: set[str] = field(default_factory=set)  # attributes with one value for all epochs

    @property
    def epoch(self) -> int:
        """Epochs that are known; 0 before the first."""
        return max(self.scores, default=0)

    @property
    def score(self) -> float:
        """After the latest epoch."""
        return self.scores[self.epoch]

    @property
    def last_score(self) -> float | None:
        """After the latest epoch; None where there is no number."""
        score = self.scores.get(max(self.scores, default=0))
        return None if score is None or math.isnan(score) else score

    def noted(self, notes: Mapping[str, Any], seconds: float) -> None:
        """Keep what its code has noted, and the seconds since its last epoch. A name of hpo's own stays hpo's."""
        if seconds:
            self.attributes["seconds"] += seconds
        self.attributes |= {f"{key} (own)" if key in NOTED else key: value for key, value in notes.items()}

    def started(self, worker: int, message: Started) -> None:
        """It is ready to train; what a checkpoint brings back is measured again."""
        self.attributes = {**self.stints, **message.measured, "worker": worker, "seconds": 0.0}
        self._single = {*message.measured}

    def measured(self, epoch: Epoch) -> None:
        """Keep what is stored of an epoch beside its score."""
        self.attributes["seconds"] += epoch.seconds
        if epoch.images_per_second:
            self.attributes["images_per_second"] = epoch.images_per_second
        for name, value in epoch.metrics.items():
            key = f"{name} (metric)" if name in NOTED or name in self._single else name
            curve = self.attributes.setdefault(key, [])
            curve += [None] * (epoch.number - 1 - len(curve))  # an epoch may lack a metric
            curve.append(value)

    def begin_stint(self, worker: int) -> None:
        """A worker begins to train it, or goes on with it."""
        before = self.attributes.get(STINTS)
        now = _now()
        self.attributes[STINTS] = [*(before if isinstance(before, list) else []), [worker, now, now]]

    def heard(self) -> None:
        """Its worker still trains it."""
        self.attributes[STINTS][-1][2] = _now()

    @property
    def stints(self) -> dict[str, Any]:
        """The attribute that tells who trained it when, which no checkpoint can tell later; nothing if nobody has."""
        return {key: value for key, value in self.attributes.items() if key == STINTS}


def _now() -> float:
    return round(time.time(), 1)
