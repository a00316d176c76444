"""A stand-in for a GPU, on which what steps ask of one can be tested without any: a graph calls again what it was made from.

As on a GPU, nothing of what is captured is done by the capture itself; and work is only known to be done at a mark.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from torch import Tensor


T = TypeVar("T")


class _Mark(NamedTuple):
    value: float

    def wait(self) -> float:
        return self.value


class _Graph:
    def __init__(self, work: Callable[[], None]) -> None:
        self.work: Callable[[], None] | None = work
        self.n_replays = 0

    def replay(self) -> None:
        assert self.work, "a graph that was released"
        self.n_replays += 1
        self.work()

    def release(self) -> None:
        self.work = None


class StandIn:
    """`refuses`: what a capture raises, instead of anything else."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.refuses = refuses
        self.graphs: list[_Graph] = []
        self.generators: list[Any] = []
        self.searched: list[bool] = []
        self.n_marks = 0

    def alone(self, do: Callable[[], T], *, search: bool) -> T:
        with self.searching(search):
            return do()

    def capture(self, work: Callable[[], None], generators: Any) -> _Graph:
        if self.refuses:
            raise self.refuses
        self.generators += generators
        self.graphs.append(_Graph(work))
        return self.graphs[-1]

    def mark(self, value: Tensor) -> _Mark:
        self.n_marks += 1
        return _Mark(value.item())

    @contextlib.contextmanager
    def searching(self, on: bool) -> Iterator[None]:
        self.searched.append(on)
        yield
