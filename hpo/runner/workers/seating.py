"""Who trains what: the trials in training, by worker, and when something was last heard of each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpo.runner.board import Row

if TYPE_CHECKING:
    from collections.abc import Collection

    from hpo.pools import Died
    from hpo.runner.board import Board
    from hpo.search.open_trial import OpenTrial


@dataclass
class Seated:
    """A trial in training on a worker."""

    trial: OpenTrial
    heard: float  # when the worker last said something


class Seating:
    """The trials in training.

    Args:
        board: Has a row per worker.
    """

    def __init__(self, board: Board) -> None:
        self._rows = board.rows
        self._seated: dict[int, Seated] = {}  # by worker

    def __len__(self) -> int:
        return len(self._seated)

    def __contains__(self, worker: int) -> bool:
        return worker in self._seated

    def sit(self, worker: int, trial: OpenTrial) -> None:
        """Give a worker a trial."""
        self._seated[worker] = Seated(trial, heard=time.monotonic())
        trial.begin_stint(worker)
        self._rows[worker] = Row(trial, epoch=trial.epoch)

    def take(self, worker: int) -> OpenTrial:
        """Take its trial from a worker."""
        self._rows[worker] = Row()
        return self._seated.pop(worker).trial

    def heard(self, worker: int) -> OpenTrial | None:
        """Note that a worker has said something, and return its trial, if it has one."""
        seated = self._seated.get(worker)
        if seated is None:
            return None
        seated.heard = time.monotonic()
        seated.trial.heard()
        return seated.trial

    @property
    def trains(self) -> dict[int, int]:
        """The numbers of the trials, by worker."""
        return {worker: seated.trial.number for worker, seated in self._seated.items()}

    def excuse(self, now: float, deaf: float) -> None:
        """Note that nobody has listened for the last seconds: they do not count as silence."""
        for seated in self._seated.values():
            seated.heard = min(now, seated.heard + deaf)

    def silent(self, now: float, limit: float) -> dict[int, float]:
        """Return the workers that have said nothing for longer than a limit, and for how many seconds."""
        return {worker: now - seated.heard for worker, seated in self._seated.items() if now - seated.heard > limit}


def continuing(numbers: Collection[int], which: str = "") -> str:
    """Return `trial 3 continues from its` or `trials 3, 4 continue from their`; `which` follows the numbers."""
    told = ", ".join(str(number) for number in sorted(numbers))
    return f"trials {told}{which} continue from their" if len(numbers) > 1 else f"trial {told}{which} continues from its"


def death(who: str, died: Died, numbers: Collection[int], going_on: Collection[int], silent: Collection[int]) -> str:
    """Return what there is to say of a process that ended.

    Args:
        who: It.
        died: How.
        numbers: The trials that it trained.
        going_on: Those of them that another process will continue.
        silent: Those of them that are to blame.
    """
    who += f" {died.why}"
    if not numbers:
        return f"{who} while idle. {died.last_line}"
    if not going_on:
        return f"{who} in trial {next(iter(numbers))}, as earlier workers did. {died.last_line}"
    who += f" in trial {', '.join(map(str, silent))}, beside others:" if 0 < len(silent) < len(numbers) else " in"
    return f"{who} {continuing(going_on, ', which')} last epoch. {died.last_line}"
