"""The result of one check of the doctor's, and the lock that a repair holds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hpo.system.locks import Lock

if TYPE_CHECKING:
    from hpo.store.reading.record import StudyRecord


@dataclass(frozen=True)
class Diagnosis:
    """The result of one check.

    Attributes:
        check: The name of the check.
        state: `ok`, `note` (good to know), or `bad`.
        found: A sentence.
        mend: The command or the step that fixes it; empty if there is nothing to do.
        repair: Fixes it; only if nothing that anybody needs can be lost.
    """

    check: str
    state: Literal["ok", "note", "bad"]
    found: str
    mend: str = ""
    repair: Callable[[], None] | None = None


def trials(numbers: list[int], one: str, more: str) -> str:
    """Return `trial 4 is` or `trials 4, 5 are`, with these verbs; of many trials the first few."""
    named = ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")
    return f"trial {named} {one}" if len(numbers) == 1 else f"trials {named} {more}"


def files(n: int, one: str, more: str) -> str:
    """Return `1 file was` or `3 files were`, with these verbs."""
    return f"1 file {one}" if n == 1 else f"{n:,} files {more}"


@contextlib.contextmanager
def repairing(record: StudyRecord) -> Iterator[None]:
    """Hold a study's lock.

    Raises:
        StudyLockedError: The study is being run.
    """
    lock = Lock(record.folder / "lock", holder="hpo doctor --repair")
    lock.take(f"study {record.name!r} is being run", "Repair it when that run has ended.")
    try:
        yield
    finally:
        lock.release()
