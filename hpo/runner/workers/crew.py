"""The workers of a run: started, listened to, replaced when they die, and given up when they die again and again.

A worker is a place where one trial is trained; several may be the lanes of one process, and live and die together.

The session listens until the first worker is ready, since only then is known what the study is made on; from there on the loop
listens. Both do so here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.errors import DeviceError
from hpo.messages import CannotWork, Progress, Ready
from hpo.pools import Died
from hpo.runner.mishaps import DEATHS_IN_A_ROW, START_DEATHS, Mishaps
from hpo.runner.workers.lanes import Lanes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hpo.messages import Answer, EpochDone, Job
    from hpo.pools import Event, Pool
    from hpo.runner.board import Watcher

TURN = 0.25  # seconds that are listened at most before whoever listens looks at the clock


class Crew:
    """Workers, numbered from 0.

    Args:
        pool: Not started.
        watcher: Is shown what they do before they are ready, and what befell them.
        grows: Whether the lanes of a process that are used follow from what is measured.

    Attributes:
        size: Number of workers.
        n_seats: Number of processes.
        idle: Workers that are ready and train nothing.
        environment: What the latest of them to be ready has said of data and machine; empty before the first.
        mishaps: What befell them.
    """

    def __init__(self, pool: Pool, watcher: Watcher, *, grows: bool = False) -> None:
        self._pool, self._watcher = pool, watcher
        self._seats = {worker: seat for seat, workers in enumerate(pool.processes) for worker in workers}
        self.size, self.n_seats = len(self._seats), len(pool.processes)
        self.idle: set[int] = set()
        self.environment: dict[str, Any] = {}
        self.mishaps = Mishaps(self.n_seats)
        self._lanes = [Lanes(len(workers), grows=grows) for workers in pool.processes]

    def seat(self, worker: int) -> int:
        """Return the number of a worker's process."""
        return self._seats[worker]

    def beside(self, worker: int) -> range:
        """Return the workers of a worker's process."""
        return self._pool.processes[self._seats[worker]]

    def name(self, worker: int) -> str:
        """Return what a person calls a worker's process."""
        workers = self.beside(worker)
        return f"worker {worker}" if len(workers) == 1 else f"the process of workers {workers[0]} to {workers[-1]}"

    def free(self, trains: Mapping[int, int], *, drain: bool) -> int | None:
        """Return a worker that may begin a trial, of the process that has the fewest; None if there is none now.

        Args:
            trains: Trials by worker.
            drain: Whether a process that trains begins no trial, since one waits that has to be alone.
        """
        found = []
        for worker in self.idle:
            others = self._trained(worker, trains)
            if not others or not (drain or any(map(self.mishaps.alone, others)) or len(others) >= self._of(worker).n):
                found.append((len(others), worker))
        return min(found)[1] if found else None

    @property
    def n_living(self) -> int:
        """Number of processes that have not been given up."""
        return sum(not self.mishaps.lost(seat) for seat in range(self.n_seats))

    @property
    def at_once(self) -> int:
        """How many trials may train at once now."""
        return sum(lanes.n for lanes in self._lanes)

    def begins(self, worker: int, trial: int) -> None:
        """Note that a worker has begun or continued a trial."""
        self._of(worker).begins(trial)

    def trained(self, worker: int, done: EpochDone, trains: Mapping[int, int]) -> None:
        """Note an epoch: the process is well, and how fast it was tells how many trials may train beside it."""
        self.mishaps.trained(self.seat(worker), done.trial)
        lanes = self._of(worker)
        if lanes.trained(done.trial, done.epoch.images_per_second, len(self._trained(worker, trains)), done.memory):
            self._watcher.noted(f"{self.name(worker)}: {lanes.n} trials at once from here on ({lanes.reason})")

    def _of(self, worker: int) -> Lanes:
        return self._lanes[self.seat(worker)]

    def _trained(self, worker: int, trains: Mapping[int, int]) -> list[int]:
        """Return the trials in training in a worker's process."""
        return [trains[other] for other in self.beside(worker) if other in trains]

    def assemble(self) -> dict[str, Any]:
        """Start the workers, wait until one is ready, and return what it says of data and machine.

        Raises:
            DataError, DeviceError, UsageError: As the worker met them.
        """
        self._pool.start()
        deaths = [0] * self.n_seats
        while not self.idle:
            event = self.listen()
            if event is None or not isinstance(event.message, Died):
                continue
            worker, died = event.worker, event.message
            seat = self.seat(worker)
            deaths[seat] += 1
            if deaths[seat] < START_DEATHS:
                self._pool.restart(worker)
                continue
            if min(deaths) == START_DEATHS:
                raise DeviceError(
                    f"{sum(deaths)} workers died before they were ready; the last {died.why}. {died.last_line}".strip()
                )
            self.mishaps.give_up(seat)
            who = f"{self.name(worker)} {died.why} {START_DEATHS} times"
            self._watcher.warned(f"{who} while it got ready and will not be restarted.")
        return self.environment

    def listen(self) -> Event | None:
        """Wait at most `TURN`; return what a worker says of its trial, or a death. Everything else is dealt with.

        Raises:
            HpoError: A worker cannot do any job, as it met that.
        """
        event = self._pool.receive(timeout=TURN)
        match event.message if event else None:
            case Ready() as ready if event is not None:
                self.idle.update(self.beside(event.worker))
                self.environment = ready.environment
            case Progress() as step:
                self._watcher.preparing(step.what, step.done, step.total)
            case CannotWork() as failed:
                raise failed.as_error()
            case _:
                return event
        return None

    def send(self, worker: int, message: Job | Answer) -> None:
        """Tell a worker something."""
        self._pool.send(worker, message)

    def end(self, worker: int) -> None:
        """End a worker's process, which says nothing any more."""
        self._pool.end(worker)
        self.idle.difference_update(self.beside(worker))

    def replace(self, worker: int, died: Died) -> None:
        """Start another process in the place of a worker's, unless too many died there; then the others go on alone."""
        if not self.mishaps.lost(self.seat(worker)):
            self._pool.restart(worker)
            return
        self._watcher.warned(
            f"{self.name(worker)} died {DEATHS_IN_A_ROW} times in a row without an epoch in between ({died.why}) "
            f"and will not be restarted; the others continue."
        )
