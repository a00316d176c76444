"""What a study tries next: points that another program has enqueued, then those that are named, then what the sampler chooses.

A program enqueues a point by Optuna's `enqueue_trial`, or in the dashboard: such a trial waits in the database with the values
that it is to have. What they leave out takes its default, as in the points that a space names. No point is tried twice.

A space of ranges with steps and of choices is finite, and samplers know nothing of that: TPE proposes what was best, again. Then
the nearest point that is new takes its place, and where there is none the search is over. Where one parameter is a real number
without a step there is always another point.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hpo.errors import SpaceError
from hpo.parameters import Choices, IntRange, Value, same

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.parameters import FloatRange
    from hpo.search_space import SearchSpace

    Varied = IntRange | FloatRange | Choices

Key = tuple[Value, ...]  # for each varied parameter the place of its value, from 0; the value itself where it has no place
MAX_REASON = 200  # characters of a reason: a stranger's value may have thousands


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
        ended: Why nothing is left to try, where that is so.
    """

    ended = "the space has no other point"

    @property
    def seed(self) -> int | None:
        """The seed of the next trial's training, where it is settled; else it is derived from the trial's number."""
        return None

    def __init__(self, space: SearchSpace, starts: Sequence[Mapping[str, Value]]) -> None:
        default, own = space.first[:1], [point for point in space.first if point not in starts]
        self._named = [*default, *starts, *own]
        self._sparing = [*default, *own]
        self._space = space
        self.points = Points(space)
        self.spared: set[int] = set()
        self.enqueued: dict[int, FrozenTrial] = {}

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to try."""
        return self.points.exhausted

    def begin(self, number: int, point: Mapping[str, Value], seed: int | None = None) -> None:  # noqa: ARG002  # no point is tried twice
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
        if self._space.by_run:  # what of it is asked for, is known when it is
            return given
        try:
            self._space.point(given)
        except SpaceError as error:
            raise UnfitError(str(error).rstrip(".")[:MAX_REASON]) from None
        if number == 0:
            raise UnfitError("trial 0 of a study is its default point; enqueue this one again")
        point = self._space.default | {name: value for name, value in given.items() if name in self._space.varied}
        if (before := self.points.trial_of(point)) is not None:
            raise UnfitError(f"trial {before} has tried its point, and a point is tried once")
        return point


class Points:
    """The points of a space that were tried.

    Args:
        space: Of the study.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._varied = space.varied
        sizes = [_size(parameter) for parameter in self._varied.values()]
        self._n_points = None if space.by_run or None in sizes else math.prod(size or 1 for size in sizes)
        self._tried: dict[Key, int] = {}  # by point the first trial that tried it

    def add(self, point: Mapping[str, Value], trial: int) -> None:
        """Take note of a point that a trial tries."""
        self._tried.setdefault(self._key(point), trial)

    def trial_of(self, point: Mapping[str, Value]) -> int | None:
        """Return the trial that tried a point; None if none did."""
        return self._tried.get(self._key(point))

    @property
    def exhausted(self) -> bool:
        """Whether every point of the space was tried."""
        return self._n_points is not None and len(self._tried) >= self._n_points

    def new(self, point: Mapping[str, Value]) -> dict[str, Value]:
        """Return the nearest point that was not tried, by the number of steps along the parameters; `point` itself if it is new.

        In a space without end, or of which nothing is left, that is `point` in any case.
        """
        if self._n_points is None or self.exhausted:
            return dict(point)
        start = self._key(point)
        seen, queue = {start}, deque([start])
        while queue[0] in self._tried:  # a finite lattice is connected: what is new is found
            beside = [key for key in self._beside(queue.popleft()) if key not in seen]
            seen.update(beside)
            queue.extend(beside)
        changed = zip(self._varied.items(), start, queue[0], strict=True)
        return {name: point[name] if before == now else _value(p, int(now)) for (name, p), before, now in changed}

    def _beside(self, key: Key) -> Iterator[Key]:
        """Yield the points that differ in one parameter, by one step or by another choice."""
        for i, parameter in enumerate(self._varied.values()):
            place, n = int(key[i]), _size(parameter) or 1
            others = range(n) if isinstance(parameter, Choices) else (place + 1, place - 1)
            yield from ((*key[:i], other, *key[i + 1 :]) for other in others if 0 <= other < n and other != place)

    def _key(self, point: Mapping[str, Value]) -> Key:
        return tuple(_place(parameter, point[name]) for name, parameter in self._varied.items())


def _size(parameter: Varied) -> int | None:
    """Return how many values a parameter may have; None where there is no end of them."""
    if isinstance(parameter, Choices):
        return len(parameter.choices)
    if parameter.low == parameter.high:
        return 1
    step = _step(parameter)
    return None if step is None else _steps(parameter.high - parameter.low, step) + 1


def _place(parameter: Varied, value: Value) -> Value:
    if isinstance(parameter, Choices):
        return next(i for i, choice in enumerate(parameter.choices) if same(choice, value))
    step = _step(parameter)
    return value if step is None else _steps(float(value) - parameter.low, step)


def _value(parameter: Varied, place: int) -> Value:
    if isinstance(parameter, Choices):
        return parameter.choices[place]
    return min(parameter.low + place * (_step(parameter) or 0), parameter.high)  # rounding may go beyond


def _step(parameter: IntRange | FloatRange) -> float | None:
    return (parameter.step or 1) if isinstance(parameter, IntRange) else parameter.step


def _steps(distance: float, step: float) -> int:
    """Return how many whole steps fit into a distance, which may be short of one by rounding."""
    return math.floor(distance / step + 1e-8)
