"""What a check of the doctor's found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Diagnosis:
    """What a check found.

    Attributes:
        check: Its name.
        state: `ok`, `note` (good to know), or `bad`.
        found: A sentence.
        mend: The command or the step that mends it; empty where nothing is to do.
        repair: Does it, where nothing that anybody needs can be lost.
    """

    check: str
    state: Literal["ok", "note", "bad"]
    found: str
    mend: str = ""
    repair: Callable[[], None] | None = None


def some(items: list[int]) -> str:
    """Return the first few."""
    return ", ".join(map(str, items[:8])) + (" …" if len(items) > 8 else "")
