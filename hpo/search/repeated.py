"""What a study of finalists tries next: nothing is chosen, every point is trained with every seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hpo.search.queue import Queue

if TYPE_CHECKING:
    from hpo.parameters import Value
    from hpo.search_space import SearchSpace
    from hpo.store.repetitions import Repetitions

_Key = tuple[frozenset[tuple[str, object]], int]  # of a point and a seed


class Repeated(Queue):
    """The trainings of a study, in their order.

    Args:
        space: Of the study.
        repetitions: Its points and seeds.
    """

    ended = "every training was begun"

    def __init__(self, space: SearchSpace, repetitions: Repetitions) -> None:
        super().__init__(space, [])
        self._trainings = repetitions.trainings
        self._begun: Counter[_Key] = Counter()

    @property
    def exhausted(self) -> bool:
        """Whether all were begun."""
        return self._next() is None

    def begin(self, number: int, point: Mapping[str, Value], seed: int | None = None) -> None:  # noqa: ARG002  # one of many
        """Take note that a trial trains a point with a seed."""
        if seed is not None:
            self._begun[_key(point, seed)] += 1

    def named(self) -> Mapping[str, Value] | None:
        """Return the point of the next training; None where all were begun."""
        found = self._next()
        return found and found[0]

    @property
    def seed(self) -> int | None:
        """The seed of the next training."""
        found = self._next()
        return found and found[1]

    def unfit(self) -> dict[int, str]:
        """Return all that other programs have enqueued: what is trained here is settled."""
        return dict.fromkeys(sorted(self.enqueued), "a study of finalists trains its finalists alone")

    def _next(self) -> tuple[Mapping[str, Value], int] | None:
        free = ((entry.point, seed) for entry, seed in self._trainings if not self._begun[_key(entry.point, seed)])
        return next(free, None)


def _key(point: Mapping[str, Value], seed: int) -> _Key:
    return frozenset((name, (isinstance(value, bool), value)) for name, value in point.items()), seed
