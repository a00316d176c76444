"""The workers of a run: started, listened to, replaced when they die, and given up when they die again and again.

The session listens until the first worker is ready, since only then is known what the study is made on; from there on the loop
listens. Both do so here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.errors import DeviceError
from hpo.messages import CannotWork, Progress, Ready
from hpo.pools import Died
from hpo.runner.mishaps import DEATHS_IN_A_ROW, START_DEATHS, Mishaps

if TYPE_CHECKING:
    from hpo.messages import Answer, Job
    from hpo.pools import Event, Pool
    from hpo.runner.board import Watcher

TURN = 0.25  # seconds that are listened at most before whoever listens looks at the clock


class Crew:
    """Workers, numbered from 0.

    Args:
        pool: Not started.
        watcher: Is shown what they do before they are ready, and what befell them.

    Attributes:
        size: Number of workers.
        idle: Workers that are ready and train nothing.
        environment: What the latest of them to be ready has said of data and machine; empty before the first.
        mishaps: What befell them.
    """

    def __init__(self, pool: Pool, watcher: Watcher) -> None:
        self._pool, self._watcher = pool, watcher
        self.size = pool.size
        self.idle: set[int] = set()
        self.environment: dict[str, Any] = {}
        self.mishaps = Mishaps(pool.size)

    def assemble(self) -> dict[str, Any]:
        """Start the workers, wait until one is ready, and return what it says of data and machine.

        Raises:
            DataError, DeviceError, UsageError: As the worker met them.
        """
        self._pool.start()
        deaths = [0] * self.size
        while not self.idle:
            event = self.listen()
            if event is None or not isinstance(event.message, Died):
                continue
            worker, died = event.worker, event.message
            deaths[worker] += 1
            if deaths[worker] < START_DEATHS:
                self._pool.restart(worker)
                continue
            if min(deaths) == START_DEATHS:
                raise DeviceError(
                    f"{sum(deaths)} workers died before they were ready; the last {died.why}. {died.last_line}".strip()
                )
            self.mishaps.give_up(worker)
            who = f"worker {worker} {died.why} {START_DEATHS} times"
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
                self.idle.add(event.worker)
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
        """End a worker, which says nothing any more."""
        self._pool.end(worker)
        self.idle.discard(worker)

    def replace(self, worker: int, died: Died) -> None:
        """Start another in a worker's place, unless too many died there; then the others go on alone."""
        if not self.mishaps.lost(worker):
            self._pool.restart(worker)
            return
        self._watcher.warned(
            f"worker {worker} died {DEATHS_IN_A_ROW} times in a row without an epoch in between ({died.why}) "
            f"and will not be restarted; the others continue."
        )
