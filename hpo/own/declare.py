"""What a file of one's own declares, in the words of `import hpo`: a space, a score with its direction, and epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from hpo.errors import SpaceError, explain
from hpo.parameters import Choices, Fixed, FloatRange, IntRange
from hpo.scoring.score import SHARE, Score
from hpo.search_space import SearchSpace

if TYPE_CHECKING:
    from hpo.parameters import Parameter, Value

SPACE = "own"  # what the space of a file is called where it has no other name
Kind = TypeVar("Kind", FloatRange, IntRange, Choices, Fixed)

GIVEN = ("epochs", "seed", "device")  # that a configuration has beside its parameters


@dataclass(frozen=True)
class Epoch:
    """What an epoch of one's own training brought. Yielding it reports it; a trial that is paused goes on from its state.

    Attributes:
        score: What the study is judged by.
        state: What `train` is given as `resume` when the trial goes on: tensors, numpy arrays, numbers, strings, and lists and
            dicts of these. None: the trial begins again.
        metrics: What else was measured, by name.
    """

    score: float
    state: Any = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def maximize(name: str, *, unit: str = "", share: bool = False) -> Score:
    """Return a score of which more is better.

    Args:
        name: As tables and figures head it.
        unit: What follows the number.
        share: Whether it is a fraction, 0 to 1, that people read in per cent.
    """
    return Score(name, SHARE if share else unit)


def minimize(name: str, *, unit: str = "", share: bool = False) -> Score:
    """Return a score of which less is better; arguments as for `maximize`."""
    return Score(name, SHARE if share else unit, maximize=False)


def space(**parameters: Parameter | Value) -> SearchSpace:
    """Return a search space: a range or choices for what varies, a plain value for what does not.

    Raises:
        SpaceError: A parameter has the name of something that a configuration has anyway.
    """
    for name in parameters:
        if name in GIVEN:
            raise SpaceError(f"a parameter cannot be called {name!r}: config.{name} is the run's own.")
    kinds = Fixed | IntRange | FloatRange | Choices
    return SearchSpace.of(SPACE, {key: p.model_dump() if isinstance(p, kinds) else p for key, p in parameters.items()})


def real(low: float, high: float, *, default: float | None = None, step: float | None = None) -> FloatRange:
    """Return a range of numbers, both ends included; without a default it starts from the middle.

    Raises:
        SpaceError: The range is empty, or the default is not in it.
    """
    middle = (low + high) / 2
    middle = middle if step is None else low + step * round((middle - low) / step)
    return _range(FloatRange, type="float", low=low, high=high, step=step, default=middle if default is None else default)


def log(low: float, high: float, *, default: float | None = None) -> FloatRange:
    """Return a range of positive numbers that is searched by orders of magnitude.

    Raises:
        SpaceError: As for `real`; or `low` is not positive.
    """
    middle = (low * high) ** 0.5 if default is None and low > 0 else low
    return _range(FloatRange, type="float", low=low, high=high, log=True, default=middle if default is None else default)


def whole(low: int, high: int, *, default: int | None = None, step: int | None = None, log: bool = False) -> IntRange:
    """Return a range of whole numbers, both ends included; `log` searches it by orders of magnitude.

    Raises:
        SpaceError: As for `real`.
    """
    middle = low + (step or 1) * ((high - low) // (2 * (step or 1)))
    return _range(IntRange, type="int", low=low, high=high, step=step, log=log, default=middle if default is None else default)


def choice(*choices: Value, default: Value | None = None) -> Choices:
    """Return a choice among unordered values; without a default it starts from the first.

    Raises:
        SpaceError: There is none, one is there twice, or the default is none of them.
    """
    first = choices[0] if choices and default is None else default
    return _range(Choices, type="categorical", choices=choices, default=first)


def fixed(value: Value) -> Fixed:
    """Return a parameter that does not vary."""
    return _range(Fixed, value=value)


def _range(kind: type[Kind], **given: Any) -> Kind:  # noqa: ANN401  # pydantic says what is wrong with it
    try:
        return kind(**given)
    except ValidationError as error:
        raise SpaceError("; ".join(explain(error))) from None


@dataclass(frozen=True)
class Shape:
    """What a network of one's own is built for: images (N, channels, edge, edge) of some classes.

    Attributes:
        n_classes: Logits per image.
        channels: Of an image, 1 or 3.
        edge: Pixels.
    """

    n_classes: int
    channels: int
    edge: int
