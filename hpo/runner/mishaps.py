"""Repeated failures and their consequences: a trial fails, a worker is not restarted, or the run stops with advice.

A worker's death counts against its trial (network too large?), its seat (broken card?) and the run (machine full?), since the
cause is unknown. A finished epoch resets the count of the seat; a trial that ends well resets the count of the run.
"""

from __future__ import annotations

from collections import Counter

START_DEATHS = 3  # of one seat before any worker is ready: it is not restarted; of all seats, the run stops
TRIAL_DEATHS = 3  # of workers on one trial: the trial fails
DEATHS_IN_A_ROW = 5  # on different trials: of one seat, it is not restarted; of all seats, the run stops
SAME_FAILURES = 5  # in a row with one cause: the run stops, since the next would fail too
FAILURES_IN_A_ROW = 10  # whatever their causes


class Mishaps:
    """Counts deaths of workers and failures of trials.

    Args:
        n_seats: Workers, numbered from 0.
    """

    def __init__(self, n_seats: int) -> None:
        self._over: dict[int, list[int]] = {}  # seats of the workers that died, by trial
        self._of_seat: list[list[int | None]] = [[] for _ in range(n_seats)]  # trials in a row, None for none, by seat
        self._given_up: set[int] = set()  # seats
        self._deaths: list[int | None] = []  # trials in a row, of any seat
        self._causes: list[str] = []  # of failures in a row

    def trained(self, seat: int) -> None:
        """Note that a seat's worker finished an epoch."""
        self._of_seat[seat].clear()

    def ended_well(self) -> None:
        """Note that a trial is complete or pruned."""
        self._deaths.clear()
        self._causes.clear()

    def died(self, seat: int, trial: int | None) -> None:
        """Note a death over a trial, or over none."""
        if trial is not None:
            self._over.setdefault(trial, []).append(seat)
        for deaths in (self._of_seat[seat], self._deaths):
            if trial is None or trial not in deaths:  # those over one trial count once: it may be the trial's fault
                deaths.append(trial)

    def give_up(self, seat: int) -> None:
        """Note that a seat is not restarted, whatever else befell it."""
        self._given_up.add(seat)

    def killed_on(self, trial: int) -> int | None:
        """Return the seat of the last worker that died over a trial."""
        return self._over[trial][-1] if trial in self._over else None

    def deadly(self, trial: int) -> bool:
        """Whether so many workers died over a trial that it fails."""
        return len(self._over.get(trial, ())) >= TRIAL_DEATHS

    def lost(self, seat: int) -> bool:
        """Whether a seat's workers died so often without an epoch in between that it is not restarted."""
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
