"""What hpo stores, in Optuna's words: trials, states and distributions with Optuna's names, and the names of attributes.

Importing it imports neither Optuna nor SQLAlchemy: commands that only show a space know these words too.
"""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from hpo.parameters import Choices, IntRange

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from hpo.parameters import FloatRange
    from hpo.search_space import SearchSpace

VERSION = "v3.2.0.a"  # of the tables, as Optuna's Alembic names it
LONGEST_NAME = 512  # characters of a study's name
NOT_FOUND = "Record does not exist."  # what Optuna says of a study or trial that is gone

MEASURED = {  # attributes of a trial that are numbers: heading and digits for people
    "seconds": ("seconds", 2),
    "images_per_second": ("images/s", 1),
    "n_parameters": ("parameters", 0),
    "macs": ("multiply-adds", 0),
}
MAX_NUMBER = 1e300  # numbers beyond are taken for infinite: sums and differences of them would be
STINTS = "stints"  # a trial's attribute: [worker, from, to] for each time that it was trained, Unix time in seconds
SEED = "seed"  # a trial's attribute: what its training draws all random numbers from
NOTED = (*MEASURED, "worker", "reason", "checkpoint", STINTS, SEED)  # what hpo itself notes of a trial

# System attributes, which Optuna's dashboard does not show.
RUN = "hpo:run"  # a study's and a trial's: the token of the run that writes it
SAMPLER = "hpo:sampler"  # a study's, defined by run: the state of its sampler's random numbers
LEVELS = "hpo:rungs"  # a study's: its rungs; studies made before it was stored have those of their epochs
WAITS = "hpo:waits"  # a trial's: the epoch, a rung of halving, after which it waits
UNEARNED = "hpo:unearned"  # a trial's: the epoch after which Optuna's pruner would have stopped a trial that is spared
REFUSED = "hpo:refused"  # a trial's: an enqueued point that is none of the space's; hpo has failed it


class State(IntEnum):
    """State of a trial; equal to Optuna's TrialState of the same name."""

    RUNNING = 0
    COMPLETE = 1
    PRUNED = 2
    FAIL = 3
    WAITING = 4

    def is_finished(self) -> bool:
        """Whether it has ended."""
        return self not in (State.RUNNING, State.WAITING)


@dataclass(frozen=True)
class FloatDistribution:
    """Numbers from `low` to `high`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.low, self.high, self.step or 1)
        if not all(math.isfinite(number) for number in numbers) or self.low > self.high or (self.log and self.low <= 0):
            raise ValueError(f"{self} is no range")

    def single(self) -> bool:
        """Whether it holds one value alone."""
        return self.low == self.high or (self.step is not None and self.high - self.low < self.step)

    def to_external_repr(self, stored: float) -> float:
        """Return the value that a stored number stands for."""
        return stored


class IntDistribution(FloatDistribution):
    """Whole numbers from `low` to `high`."""

    low: int
    high: int
    step: int

    def to_external_repr(self, stored: float) -> int:
        """Return the value that a stored number stands for."""
        return int(stored)


@dataclass(frozen=True)
class CategoricalDistribution:
    """Some values; a place among them is stored."""

    choices: tuple[Any, ...]

    def single(self) -> bool:
        """Whether it holds one value alone."""
        return len(self.choices) == 1

    def to_internal_repr(self, value: object) -> int:
        """Return a value's place; True is not 1 where both are choices."""
        places = [i for i, choice in enumerate(self.choices) if choice == value or (choice != choice and value != value)]  # NaN
        return next((i for i in places if type(self.choices[i]) is type(value)), places[0])

    def to_external_repr(self, stored: float) -> Any:  # noqa: ANN401  # whatever the choices are
        """Return the value that a stored number stands for."""
        return self.choices[int(stored)]


Distribution = FloatDistribution | IntDistribution | CategoricalDistribution


def _real(low: float, high: float, log: bool = False, step: float | None = None, q: float | None = None) -> FloatDistribution:
    return FloatDistribution(float(low), float(high), bool(log), q if step is None else step)


def _whole(low: float, high: float, log: bool = False, step: float = 1) -> IntDistribution:
    return IntDistribution(int(low), int(high), bool(log), int(step))


def _choice(choices: list[Any]) -> CategoricalDistribution:
    return CategoricalDistribution(tuple(choices))


_BY_NAME: dict[str, Callable[..., Distribution]] = {
    "FloatDistribution": _real,
    "IntDistribution": _whole,
    "CategoricalDistribution": _choice,
    "UniformDistribution": _real,  # this one and those below are of Optuna 2
    "LogUniformDistribution": partial(_real, log=True),
    "DiscreteUniformDistribution": _real,
    "IntUniformDistribution": _whole,
    "IntLogUniformDistribution": partial(_whole, log=True),
}


def distribution(text: str) -> Distribution:
    """Return a stored distribution.

    Raises:
        ValueError, TypeError, LookupError: It cannot be one.
    """
    given = json.loads(text)
    if given["name"] not in _BY_NAME:
        raise ValueError(f"there is no distribution {given['name']!r}")
    return _BY_NAME[given["name"]](**given["attributes"])


class ByRun(dict[str, Any]):
    """What a study varies whose trials say so themselves: nothing that is known before."""


def varied(space: SearchSpace) -> dict[str, Distribution]:
    """Return the parameters that a space varies; a range that is no whole number of steps ends at its last one."""
    if space.by_run:
        return ByRun()
    return {name: _varied(parameter) for name, parameter in space.varied.items()}


def _varied(p: IntRange | FloatRange | Choices) -> Distribution:
    if isinstance(p, Choices):
        return CategoricalDistribution(p.choices)
    if isinstance(p, IntRange):
        step = p.step or 1
        return IntDistribution(p.low, p.low + (p.high - p.low) // step * step, p.log, step)
    if p.step is None:
        return FloatDistribution(p.low, p.high, p.log)
    low, high, width = (Decimal(str(number)) for number in (p.low, p.high, p.step))
    return FloatDistribution(p.low, float(low + (high - low) // width * width) if (high - low) % width else p.high, p.log, p.step)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the same as Optuna's objects, for its samplers."""
    import optuna

    if space.by_run:
        return ByRun()
    return {name: getattr(optuna.distributions, type(one).__name__)(**asdict(one)) for name, one in varied(space).items()}


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        number: From 0, in the order that they began.
        state: RUNNING, COMPLETE, PRUNED, FAIL or WAITING.
        value: Its result; None without one.
        datetime_start, datetime_complete: UTC.
        params: Value by parameter.
        distributions: What each was drawn from.
        intermediate_values: Value by step: the learning curve.
        user_attrs, system_attrs: What programs noted of it.
        trial_id: The database's own.
    """

    number: int
    state: State
    value: float | None
    datetime_start: datetime | None
    datetime_complete: datetime | None
    trial_id: int
    params: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, Distribution] = field(default_factory=dict)
    intermediate_values: dict[int, float] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def last_step(self) -> int | None:
        """The last step that was reported."""
        return max(self.intermediate_values, default=None)


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """Use what Optuna calls experimental without its warning: names of metrics, GP and QMC are years old."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
