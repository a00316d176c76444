"""What trials are judged by: a number's name, unit and direction, and how people read it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from hpo.errors import UsageError

SHARE = "share"


class Score(NamedTuple):
    """What a trial is judged by.

    Attributes:
        name: As tables and figures head it.
        unit: SHARE for a fraction, 0 to 1, which people read in per cent; else what follows the number, or nothing.
        maximize: Whether more is better.
    """

    name: str = "score"
    unit: str = ""
    maximize: bool = True

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """As Optuna calls it."""
        return "maximize" if self.maximize else "minimize"

    @property
    def is_share(self) -> bool:
        """Whether people read it in per cent."""
        return self.unit == SHARE

    def shown(self, value: float) -> str:
        """Return a value as a person reads it: `84.12%`, `2391 m`."""
        return f"{value:.2%}" if self.is_share else f"{value:.4g} {self.unit}".rstrip()

    def gained(self, difference: float) -> str:
        """Return a difference as a person reads it: `+1.20 points`, `-31 m`."""
        return f"{100 * difference:+.2f} points" if self.is_share else f"{difference:+.4g} {self.unit}".rstrip()

    def penalty(self, value: float) -> float:
        """Return a number that is less the better the value is; not a number is worse than all."""
        return math.inf if math.isnan(value) else -value if self.maximize else value

    def check(self, target: float) -> None:
        """Refuse a target that every trial has reached, or none can.

        Raises:
            UsageError: Says which values are possible.
        """
        if not self.is_share or 0 < target <= 1:
            return
        advice = f"; write {target / 100:g} or {target:g}%" if 2 <= target <= 100 else ""
        raise UsageError(f"--target = {target:g}: the {self.name} is greater than 0 and at most 1{advice}")

    def allows(self, value: float) -> bool:
        """Whether a trial can have it: a finite number, and a share is 0 to 1."""
        return 0 <= value <= 1 if self.is_share else math.isfinite(value)


PLAIN = Score()
