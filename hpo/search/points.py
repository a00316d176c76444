"""Which points of a space a study has tried, and which there are left: a point is tried once.

A space of ranges with steps and of choices is finite, and samplers know nothing of that: TPE proposes what was best, again. Then
the nearest point that is new takes its place, and where there is none the search is over. Where one parameter is a real number
without a step there is always another point.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from hpo.parameters import Choices, IntRange, Value, same

if TYPE_CHECKING:
    from hpo.parameters import FloatRange
    from hpo.search_space import SearchSpace

    Varied = IntRange | FloatRange | Choices

Key = tuple[Value, ...]  # for each varied parameter the place of its value, from 0; the value itself where it has no place


class Points:
    """The points of a space that were tried.

    Args:
        space: Of the study.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._varied = space.varied
        sizes = [_size(parameter) for parameter in self._varied.values()]
        self._n_points = None if None in sizes else math.prod(size or 1 for size in sizes)
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
