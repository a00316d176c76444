"""Worker processes on this machine: each is started once and gets its jobs through its standard input.

One thread per worker puts its messages, and finally its death, into a shared queue. Workers have sessions of their own, so the
terminal's Ctrl-C reaches only the runner. They end when their input closes, however the runner ends.
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hpo.children import python
from hpo.messages import Setup, read_worker_side
from hpo.pools import Died, Event
from hpo.recipe import LATEST

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

    from hpo.messages import Job, Verdict
    from hpo.pools.devices import Seat
    from hpo.settings import Settings

LAST_LINES = 40  # of a worker's standard error, kept for when it dies
ALLOCATOR = {  # of glibc; other C libraries do not know these
    "MALLOC_MMAP_THRESHOLD_": str(2**30),  # bytes: large buffers come from the heap too
    "MALLOC_TRIM_THRESHOLD_": str(2**32),  # bytes: which keeps what is free
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # and asks for huge pages
}


def environment(threads: int) -> dict[str, str]:
    """Return the environment variables of a worker: this process's, how many threads, and how memory is allocated.

    A training step needs the buffers of the one before. Left alone, glibc gives large ones back to the kernel, which clears them
    for the next step: on the tutorial's network 11,000 page faults and half of a step's time. What the user has set stays.
    """
    own = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONSAFEPATH": "1"}  # the last for its children
    return {**ALLOCATOR, **os.environ, **own}


class LocalPool:
    """One process for each seat.

    Args:
        seats: From `devices.seats`.
        settings: Of the study.
        data_dir: Where the data set lies.
        recipe: Version of the study's recipe.
    """

    def __init__(self, seats: list[Seat], settings: Settings, data_dir: Path, recipe: int = LATEST.version) -> None:
        self._seats = seats
        self._settings, self._data_dir, self._recipe = settings, data_dir, recipe
        self._events: queue.SimpleQueue[tuple[subprocess.Popen[bytes], Event]] = queue.SimpleQueue()
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * len(seats)

    @property
    def size(self) -> int:
        """Number of workers."""
        return len(self._seats)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, by number."""
        return [process.pid for process in self._processes if process]

    def start(self) -> None:
        """Start one process per seat."""
        for worker in range(self.size):
            self.restart(worker)

    def restart(self, worker: int) -> None:
        """Replace a worker by a new process."""
        self.end(worker)
        seat = self._seats[worker]
        process = subprocess.Popen(  # noqa: S603  # our own module
            python("from hpo.training import worker; worker.main()"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(seat.threads),
            start_new_session=True,
        )
        self._processes[worker] = process
        threading.Thread(target=self._listen, args=(worker, process), name=f"worker-{worker}", daemon=True).start()
        setup = Setup(
            settings=self._settings,
            recipe=self._recipe,
            data_dir=self._data_dir.absolute(),
            device=seat.device,
            memory=seat.memory,
        )
        self._write(process, setup.line())

    def send(self, worker: int, message: Job | Verdict) -> None:
        """Write a message to a worker's input."""
        process = self._processes[worker]
        if process is not None:
            self._write(process, message.line())

    def receive(self, timeout: float) -> Event | None:
        """Return the next event of a worker that was not replaced in the meantime."""
        try:
            process, event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        return event if process is self._processes[event.worker] else None

    def close(self) -> None:
        """Kill all workers: what counts is in their checkpoints."""
        for worker in range(self.size):
            self.end(worker)

    def end(self, worker: int) -> None:
        """Kill a worker, dead or alive, and bury it."""
        process, self._processes[worker] = self._processes[worker], None
        if process is not None:
            process.kill()
            process.wait()
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]  # a pipe was asked for

    @staticmethod
    def _write(process: subprocess.Popen[bytes], line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # dead: _listen says so
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
                self._events.put((process, Event(worker, message)))
        code = process.wait()
        listener.join(timeout=1)
        died = Died(_why(code), b"".join(words).decode(errors="replace").strip())
        self._events.put((process, Event(worker, died)))


def _drain(stream: IO[bytes], words: collections.deque[bytes]) -> None:
    with stream:
        words.extend(stream)


def _why(code: int) -> str:
    if code >= 0:
        return f"ended, exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"killed, signal {-code} ({name})" + ("; out of memory?" if name == "SIGKILL" else "")
    return f"killed, signal {-code}"
