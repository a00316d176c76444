"""Worker processes on this machine: each is started once and receives its jobs through its standard input.

One thread per process puts its messages, and finally its death, into a shared queue. Each process has its own session, so that
the terminal's Ctrl-C reaches only the runner. Processes end when their input closes, in whatever way the runner ends.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import queue
import signal
import subprocess
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pydantic import ValidationError

from hpo.messages import DEVICE_LOST, Job, Setup, read_worker_side
from hpo.pools import Died, Event
from hpo.system.children import python

if TYPE_CHECKING:
    from hpo.messages import Answer
    from hpo.objective import Objective
    from hpo.pools.devices import Seat
    from hpo.settings import Settings

LAST_LINES = 40  # of a worker's standard error, kept in case it dies
ALLOCATOR = {  # for glibc; other C libraries ignore these variables
    "MALLOC_MMAP_THRESHOLD_": str(2**30),  # bytes: large buffers are allocated on the heap, too
    "MALLOC_TRIM_THRESHOLD_": str(2**32),  # bytes: the heap keeps free memory
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # the heap uses huge pages
}


def environment(threads: int) -> dict[str, str]:
    """Return the environment variables of a worker: those of this process, the number of threads, and memory allocation.

    Each training step needs buffers of the same sizes. By default glibc returns large ones to the kernel, which clears them for
    the next step: with the tutorial's network this causes 11,000 page faults and takes half of a step's time. Variables that the
    user has set are kept.
    """
    n = str(threads)
    return {**ALLOCATOR, **os.environ, "OMP_NUM_THREADS": n, "MKL_NUM_THREADS": n, "PYTHONSAFEPATH": "1"}  # also for its children


class LocalPool:
    """One process per seat, with a worker for each of its lanes.

    Args:
        seats: From `devices.seats`.
        settings: The study's.
        data_dir: Folder of the data set.
        objective: What workers load.
        recipe: Version of the study's recipe.
    """

    def __init__(self, seats: list[Seat], settings: Settings, data_dir: Path, objective: Objective, recipe: int) -> None:
        self._seats = seats
        self._settings, self._data_dir, self._objective, self._recipe = settings, data_dir, objective, recipe
        self._events: queue.SimpleQueue[tuple[subprocess.Popen[bytes], Event]] = queue.SimpleQueue()
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * len(seats)
        ends = itertools.accumulate(seat.lanes for seat in seats)
        self.processes = [range(end - seat.lanes, end) for seat, end in zip(seats, ends, strict=True)]  # workers of each
        self._seat = [seat for seat, workers in enumerate(self.processes) for _ in workers]  # by worker
        self._trains: dict[int, int] = {}  # workers by trial

    def start(self) -> None:
        """Start one process per seat."""
        for workers in self.processes:
            self.restart(workers[0])

    def restart(self, worker: int) -> None:
        """Replace a worker's process by a new one."""
        self.end(worker)
        seat = self._seats[self._seat[worker]]
        process = subprocess.Popen(  # noqa: S603  # our own module
            python("from hpo.training import worker; worker.main()"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(seat.threads),
            start_new_session=True,
        )
        self._processes[self._seat[worker]] = process
        threading.Thread(target=self._listen, args=(worker, process), name=f"worker-{worker}", daemon=True).start()
        setup = Setup(
            settings=self._settings,
            objective=self._objective.loader,
            source=self._objective.source,
            weights=self._objective.weights,
            with_data="dataset" in self._objective.settings,
            score=self._objective.score.name,
            maximize=self._objective.score.maximize,
            recipe=self._recipe,
            data_dir=self._data_dir.absolute(),
            device=seat.device,
            memory=seat.memory,
            lanes=seat.lanes,
        )
        self._write(process, setup.line())

    def send(self, worker: int, message: Job | Answer) -> None:
        """Write a message to the input of a worker's process."""
        process = self._processes[self._seat[worker]]
        if isinstance(message, Job):
            self._trains[message.trial] = worker
        if process is not None:
            self._write(process, message.line())

    def receive(self, timeout: float) -> Event | None:
        """Return the next event, unless its process was replaced in the meantime."""
        try:
            process, event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        return event if process is self._processes[self._seat[event.worker]] else None

    def close(self) -> None:
        """Kill all processes; finished epochs are in their checkpoints."""
        for workers in self.processes:
            self.end(workers[0])

    def end(self, worker: int) -> None:
        """Kill a worker's process, if it is alive, and collect its exit status."""
        seat = self._seat[worker]
        process, self._processes[seat] = self._processes[seat], None
        if process is not None:
            process.kill()
            process.wait()
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]  # a pipe was asked for

    @staticmethod
    def _write(process: subprocess.Popen[bytes], line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # the worker is dead, as _listen reports
            stdin: IO[bytes] = process.stdin  # type: ignore[assignment]  # a pipe was asked for
            stdin.write(line)
            stdin.flush()

    def _listen(self, worker: int, process: subprocess.Popen[bytes]) -> None:
        words: collections.deque[bytes] = collections.deque(maxlen=LAST_LINES)
        listener = threading.Thread(target=_drain, args=(process.stderr, words), daemon=True)
        listener.start()
        with process.stdout as lines:  # type: ignore[union-attr]  # a pipe was asked for
            for line in lines:
                try:
                    message = read_worker_side(line)
                except ValidationError:
                    words.append(b"unreadable message: " + line[:200])
                    continue
                trained = getattr(message, "trial", None)
                self._events.put((process, Event(worker if trained is None else self._trains[trained], message)))
        code = process.wait()
        listener.join(timeout=1)
        died = Died(_why(code), b"".join(words).decode(errors="replace").strip())
        self._events.put((process, Event(worker, died)))


def _drain(stream: IO[bytes], words: collections.deque[bytes]) -> None:
    with stream:
        words.extend(stream)


def _why(code: int) -> str:
    if code == DEVICE_LOST:
        return "ended, since its device failed"
    if code >= 0:
        return f"ended, exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"killed, signal {-code} ({name})" + ("; out of memory?" if name == "SIGKILL" else "")
    return f"killed, signal {-code}"
