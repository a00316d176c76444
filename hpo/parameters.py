"""Kinds of parameters of a search space: fixed values, ranges of integers or real numbers, and choices, each with a default.

They are pydantic models: errors in space files and databases name key and bound.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Value = bool | int | float | str


def _plain(value: object) -> object:
    """Refuse anything but a Value, with one sentence; pydantic would write one per member of the union."""
    if isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{value!r} is not a finite number, a string, true or false")


PlainValue = Annotated[Value, BeforeValidator(_plain)]
WholeNumber = Annotated[int, Field(ge=-(2**53), le=2**53)]  # a float holds these exactly, and ranges are computed as floats


def same(one: Value, other: Value) -> bool:
    """Whether two values are equal: 1 equals 1.0 but not true."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


class _Parameter(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Fixed(_Parameter):
    """A parameter with one value."""

    type: Literal["fixed"] = "fixed"
    value: PlainValue

    @property
    def default(self) -> Value:
        """The one value."""
        return self.value

    def ends(self) -> tuple[Value, ...]:
        """Return the values that must satisfy the knob's bounds."""
        return (self.value,)

    def holds(self, value: Value) -> bool:
        """Whether `value` is possible."""
        return same(value, self.value)


class _Range(_Parameter):
    low: float
    high: float
    log: bool = False
    step: float | None = None
    default: float

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low = {self.low:g} is above high = {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low:g} must be above 0, since log = true")
        if self.log and self.step is not None:
            raise ValueError("log and step cannot be combined")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step = {self.step:g} must be above 0")
        if not self.low <= self.default <= self.high:
            raise ValueError(f"default = {self.default:g} is outside {self.low:g} to {self.high:g}")
        if not self.holds(self.default):
            raise ValueError(
                f"default = {self.default:g} is not a whole number of steps (step = {self.step:g}) above low = {self.low:g}"
            )
        return self

    def ends(self) -> tuple[Value, ...]:
        """Return the values that must satisfy the knob's bounds."""
        return (self.low, self.high)

    def holds(self, value: Value) -> bool:
        """Whether `value` lies in the range and on its grid."""
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not self.low <= value <= self.high:  # nor NaN
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return math.isclose(steps, round(steps), abs_tol=1e-8)


class IntRange(_Range):
    """Whole numbers from low to high, both included."""

    type: Literal["int"]
    low: WholeNumber
    high: WholeNumber
    step: WholeNumber | None = None
    default: WholeNumber

    def holds(self, value: Value) -> bool:
        """Whether `value` is a whole number (3.0 is one) in the range and on its grid."""
        return super().holds(value) and (int(value) - self.low) % (self.step or 1) == 0 and int(value) == value

    def ends(self) -> tuple[Value, ...]:
        """Return the values that must satisfy the knob's bounds; the first few too, since `kernel` allows only odd numbers."""
        return (*range(self.low, self.high + 1, self.step or 1)[:8], self.high)


class FloatRange(_Range):
    """Numbers from low to high, both included."""

    type: Literal["float"]


class Choices(_Parameter):
    """One of a few unordered values."""

    type: Literal["categorical"]
    choices: Annotated[tuple[PlainValue, ...], Field(min_length=1, strict=False)]
    default: PlainValue

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices = {list(self.choices)} contains a value twice")
        if not any(type(c) is type(self.default) and c == self.default for c in self.choices):  # true is not 1 here
            raise ValueError(f"default = {self.default!r} is not among choices = {list(self.choices)}")
        return self

    def ends(self) -> tuple[Value, ...]:
        """Return the values that must satisfy the knob's bounds."""
        return self.choices

    def holds(self, value: Value) -> bool:
        """Whether `value` is one of the choices."""
        return any(same(value, choice) for choice in self.choices)


Parameter = Annotated[Fixed | IntRange | FloatRange | Choices, Field(discriminator="type")]
