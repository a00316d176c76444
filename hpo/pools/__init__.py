"""Pools of workers: processes of this machine, later a cluster.

A pool is any object with the protocol `Pool`; the runner relies on nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from hpo.messages import Answer, FromWorker, Job


class Died(NamedTuple):
    """A worker ended without being asked to."""

    why: str  # "killed, signal 9 (SIGKILL); out of memory?"
    last_words: str  # the end of its standard error

    @property
    def last_line(self) -> str:
        """The last line; in a traceback it is the error."""
        return self.last_words.splitlines()[-1] if self.last_words else ""


class Event(NamedTuple):
    """A message from a worker, or the death of its process, which is that of all the workers beside it."""

    worker: int
    message: FromWorker | Died


class Pool(Protocol):
    """A set of workers, numbered from 0.

    A worker is a place where one trial is trained. On a GPU several of them are the lanes of one process.
    """

    processes: list[range]  # the workers of each process

    def start(self) -> None:
        """Start the processes; each sends Ready or CannotWork, as any one of its workers."""

    def send(self, worker: int, message: Job | Answer) -> None:
        """Send a message to a worker; does nothing if the worker is dead, since its Died will be received."""

    def receive(self, timeout: float) -> Event | None:
        """Return the next event, or None after `timeout` seconds of silence."""

    def restart(self, worker: int) -> None:
        """Replace a worker's process, dead or alive, by a new one, which sends Ready."""

    def end(self, worker: int) -> None:
        """End a worker's process for good; no further message of it is received."""

    def close(self) -> None:
        """End all processes at once."""
