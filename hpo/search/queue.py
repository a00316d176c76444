"""What a study tries next: points that another program has enqueued, then those that are named, then what the sampler chooses.

A program enqueues a point by Optuna's `enqueue_trial`, or in the dashboard: such a trial waits in the database with the values
that it is to have. What they leave out takes its default, as in the points that a space names. No point is tried twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hpo.errors import SpaceError
from hpo.search.points import Points

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.parameters import Value
    from hpo.search_space import SearchSpace

LONGEST = 200  # characters of a reason: a stranger's value may have thousands


class UnfitError(Exception):
    """An enqueued point cannot be tried; says why."""


class Queue:
    """The points that a study tries, in their order.

    Args:
        space: Of the study.
        starts: Points of another study, to try after the default one and before those of the space.

    Attributes:
        points: Those that were tried.
        spared: Numbers of the trials that are trained to the end whatever they score: of the points that the space names.
        enqueued: Trials of other programs that have not begun, by number.
    """

    def __init__(self, space: SearchSpace, starts: Sequence[Mapping[str, Value]]) -> None:
        own = [point for point in space.first if point not in starts]
        self._named = [space.default, *starts, *own]
        self._sparing = [space.default, *own]
        self._space = space
        self.points = Points(space)
        self.spared: set[int] = set()
        self.enqueued: dict[int, FrozenTrial] = {}

    def begin(self, number: int, point: Mapping[str, Value]) -> None:
        """Take note that a trial tries a point."""
        if self.points.trial_of(point) is None and point in self._sparing:
            self.spared.add(number)
        self.points.add(point, number)

    def named(self) -> Mapping[str, Value] | None:
        """Return the first named point that was not tried; None where all were."""
        return next((point for point in self._named if self.points.trial_of(point) is None), None)

    def unfit(self) -> dict[int, str]:
        """Return the enqueued trials that cannot be tried, and why."""
        reasons = {}
        for number in sorted(self.enqueued):
            try:
                self.wish(number)
            except UnfitError as unfit:
                reasons[number] = str(unfit)
        return reasons

    def wish(self, number: int) -> dict[str, Value]:
        """Return the point that an enqueued trial is to have.

        Raises:
            UnfitError: It is none of the space, or was tried already.
        """
        given = self.enqueued[number].system_attrs.get("fixed_params")
        if not isinstance(given, dict):
            raise UnfitError("it was enqueued without a point")
        try:
            self._space.point(given)
        except SpaceError as error:
            raise UnfitError(str(error).rstrip(".")[:LONGEST]) from None
        if number == 0:
            raise UnfitError("trial 0 of a study is its default point; enqueue this one again")
        point = self._space.default | {name: value for name, value in given.items() if name in self._space.varied}
        if (before := self.points.trial_of(point)) is not None:
            raise UnfitError(f"trial {before} has tried its point, and a point is tried once")
        return point
