"""Standard output for data, standard error for progress and errors.

Texts from studies (names, reasons, parameters) are shown as they are: none of them is markup.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def out() -> Console:
    """Return the console for data."""
    from rich.console import Console

    return Console(highlight=False, markup=False, soft_wrap=False)


def err() -> Console:
    """Return the console for progress and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def complain(message: str) -> None:
    """Print an error: one or two lines."""
    print(f"error: {message}", file=sys.stderr)
