"""Repeated failures and their consequences: a trial fails or trains alone, a process is not restarted, the run stops with advice.

The death of a process counts against its trial (network too large?), its seat (broken card?) and the run (machine full?), since
the cause is unknown. A finished epoch resets the count of the seat; a trial that ends well resets the count of the run.

Where several trials were in training in a process that died, none is certain to be the cause, and it counts against none. A trial
that was there at two such deaths trains alone from then on: no other trial is in its process. So does the one in which a GPU
failed. Each death then counts against it, and after the third it fails; once it has finished an epoch, others train beside it
again. A trial that ran out of memory beside others trains alone to its end.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

START_DEATHS = 3  # of one seat before any worker is ready: it is not restarted; of all seats, the run stops
TRIAL_DEATHS = 3  # of processes with one trial: the trial fails
SHARED_DEATHS = 2  # of processes with several trials, this one among them: it trains alone
DEATHS_IN_A_ROW = 5  # on different trials: of one seat, it is not restarted; of all seats, the run stops
SAME_FAILURES = 5  # in a row with one cause: the run stops, since the next would fail too
FAILURES_IN_A_ROW = 10  # whatever their causes


class Mishaps:
    """Counts deaths of workers and failures of trials.

    Args:
        n_seats: Processes, numbered from 0.
    """

    def __init__(self, n_seats: int) -> None:
        self._over: dict[int, list[int]] = {}  # seats of the processes that died, by trial
        self._shared: Counter[int] = Counter()  # deaths of processes with several trials, by trial
        self._suspects: set[int] = set()  # trials that train alone until they have finished an epoch
        self._large: set[int] = set()  # trials that train alone to their end
        self._of_seat: list[list[set[int]]] = [[] for _ in range(n_seats)]  # who may have caused the deaths in a row, by seat
        self._given_up: set[int] = set()  # seats
        self._deaths: list[set[int]] = []  # likewise, in a row of any seat
        self._causes: list[str] = []  # of failures in a row

    def trained(self, seat: int, trial: int) -> None:
        """Note that a trial finished an epoch on a seat."""
        self._of_seat[seat].clear()
        if trial in self._suspects:  # it was alone
            self._suspects.discard(trial)
            del self._shared[trial]

    def ended_well(self) -> None:
        """Note that a trial is complete or pruned."""
        self._deaths.clear()
        self._causes.clear()

    def died(self, seat: int, trials: Collection[int]) -> None:
        """Note the death of a process, and the trials of which one may be the cause."""
        for trial in trials:
            self._shared[trial] += 1
            if len(trials) == 1:
                self._over.setdefault(trial, []).append(seat)
            if len(trials) == 1 or self._shared[trial] == SHARED_DEATHS:
                self._suspects.add(trial)
        for deaths in (self._of_seat[seat], self._deaths):
            explained = next((cause for cause in deaths if cause & {*trials}), None)
            if explained is None:
                deaths.append({*trials})
            else:  # those that one trial may have caused count once
                explained &= {*trials}

    def suspect(self, trial: int) -> None:
        """Note that a GPU failed in a trial: in this one, or in one beside it."""
        self._suspects.add(trial)

    def crowded(self, trial: int) -> None:
        """Note that a trial ran out of memory beside others."""
        self._large.add(trial)

    def alone(self, trial: int) -> bool:
        """Whether no other trial may be in the process that trains this one."""
        return trial in self._suspects or trial in self._large

    def give_up(self, seat: int) -> None:
        """Note that a seat is not restarted, whatever else befell it."""
        self._given_up.add(seat)

    def killed_on(self, trial: int) -> int | None:
        """Return the seat of the last process that died over a trial."""
        return self._over[trial][-1] if trial in self._over else None

    def deadly(self, trial: int) -> bool:
        """Whether so many processes died over a trial that it fails."""
        return len(self._over.get(trial, ())) >= TRIAL_DEATHS

    def lost(self, seat: int) -> bool:
        """Whether a seat's processes died so often without an epoch in between that it is not restarted."""
        return seat in self._given_up or len(self._of_seat[seat]) >= DEATHS_IN_A_ROW

    def too_many_deaths(self, why: str) -> str:
        """Return why the run shall stop for its workers' deaths, the last of which was `why`; empty while it may go on.

        A seat whose last news is no death is well, and may go on however often others die.
        """
        seats = range(len(self._of_seat))
        if any(not self._of_seat[seat] and not self.lost(seat) for seat in seats):
            return ""
        if len(self._deaths) < DEATHS_IN_A_ROW and not all(map(self.lost, seats)):
            return ""
        return (
            f"deaths: workers died {DEATHS_IN_A_ROW} times in a row, on different trials ({why}). "
            "Try --workers 1 or smaller networks."
        )

    def failed(self, cause: str, reason: str) -> str:
        """Note a failure; return why the run shall stop, empty while it may go on."""
        self._causes.append(cause)
        recent = self._causes[-SAME_FAILURES:]
        if len(recent) == SAME_FAILURES and len(set(recent)) == 1:
            return f"failures: {SAME_FAILURES} in a row with the same cause ({cause}): {reason}"
        if len(self._causes) < FAILURES_IN_A_ROW:
            return ""
        counted = ", ".join(f"{one} {n}" for one, n in sorted(Counter(self._causes).items()))
        return (
            f"failures: {FAILURES_IN_A_ROW} in a row, of several causes ({counted}); the last: {reason}. "
            "Remove from the space what cannot be trained, and run it as a new study."
        )
