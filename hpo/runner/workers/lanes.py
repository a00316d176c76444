"""How many trials train at once on one GPU: as many as bring something, by what is measured while they train.

Small networks leave gaps between their kernels, which those of other trials fill: on an H100, two, four and eight trainings of 64
filters make 185,000, 225,000 and 252,000 images per second together, one makes 133,000 (of 32 filters, eight make 384,000). But a
search learns less from trials that train at the same time, as each is chosen without the results of the others. So their number
is doubled only if that makes the whole faster by `WORTH`, and there are at most eight: of fifty trials, eight are a sixth.

Networks differ in size, and sums of their rates tell little. What is compared is the same trial with itself: how much slower it
trains when twice as many do. If all are slowed down to 0.6, twice as many are 1.2 times as fast. Without enough such trials,
nothing changes. Not counted are a trial's first epoch, which has its own set-up, and those in which the number changed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.messages import Memory

BEGIN = 2
WORTH = 1.15  # times as fast: what twice as many must be
NOTHING = 1.05  # twice as many bring so little that half as many may suffice
ENOUGH = 3  # epochs, of trials that trained before and after a change
FREE = 0.1  # share of the memory that is left


class Lanes:
    """The lanes of one process.

    Args:
        most: That there may be.
        grows: Whether their number follows from what is measured; else all are used.

    Attributes:
        n: Trials that may train at once now.
    """

    def __init__(self, most: int, *, grows: bool = False) -> None:
        self.most = most
        self.n = min(BEGIN, most) if grows else most
        self.grows = grows
        self._since: dict[int, int] = {}  # how often the number had changed when the epoch began, by trial
        self._changes = 0
        self._rates: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))  # by number, by trial
        self._memory: Memory | None = None

    def begins(self, trial: int) -> None:
        """Note that a trial begins or goes on; its first epoch from here is not counted."""
        self._since[trial] = -1

    def trained(self, trial: int, rate: float, busy: int, memory: Memory | None = None) -> bool:
        """Note an epoch, and return whether the number of lanes has changed.

        Args:
            trial: Its number.
            rate: Images per second.
            busy: Trials in training in the process.
            memory: What the process has held and could hold.
        """
        self._memory = memory or self._memory
        whole = self._since.get(trial) == self._changes and busy == self.n
        self._since[trial] = self._changes
        if not self.grows or not whole or not rate > 0:
            return False
        self._rates[self.n][trial].append(rate)
        before, self.n = self.n, self._wanted()
        self._changes += self.n != before
        return self.n != before

    @property
    def reason(self) -> str:
        """What is known of the number and of its double and half, in words."""
        known = {n: self.gain(n) for n in (self.n // 2, self.n) if n}
        told = [f"{2 * n} are {gain:.2f} times as fast as {n}" for n, gain in known.items() if gain]
        return ", ".join(told) or "to see what they bring"

    def gain(self, n: int) -> float | None:
        """Return how many times as fast twice `n` trials are, all together; None as long as that is not known."""
        few, many = self._rates[n], self._rates[2 * n]
        both = few.keys() & many.keys()
        if min(sum(len(rates[trial]) for trial in both) for rates in (few, many)) < ENOUGH:
            return None
        return 2 * math.exp(fmean(math.log(fmean(many[trial]) / fmean(few[trial])) for trial in both))

    def _wanted(self) -> int:
        """Return the number of lanes that is best by what is known; what may be better and is not known is tried."""
        n = self.n
        if sum(map(len, self._rates[n].values())) < ENOUGH:
            return n
        above, below = self.gain(n), self.gain(n // 2) if n > 1 else None
        if below is not None and below < WORTH:
            return n // 2
        if above is None:
            sure = below is not None or n <= BEGIN
            return 2 * n if sure and self._has_room(2 * n) else n
        if above < NOTHING and below is None and n > 1:
            return n // 2
        return 2 * n if above >= WORTH and self._has_room(2 * n) else n

    def _has_room(self, n: int) -> bool:
        if n > self.most:
            return False
        return self._memory is None or n / self.n * self._memory.peak <= (1 - FREE) * self._memory.limit
