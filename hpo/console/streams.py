"""Standard output for data, standard error for progress and errors.

Texts from studies (names, reasons, parameters) are shown as they are: none of them is markup.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_PASSWORD = re.compile(r"(\w://[^\s:/@]*:)\S+(?=@)|((?:password|passwd)=)[^&\s]+")


def out() -> Console:
    """Return the console for data."""
    from rich.console import Console

    return Console(highlight=False, markup=False, soft_wrap=False)


def err() -> Console:
    """Return the console for progress and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def complain(message: str) -> None:
    """Print an error: one or two lines, without the passwords of URLs that were typed in a wrong place."""
    harmless = visible(_PASSWORD.sub(r"\1\2***", message))
    print(f"error: {harmless}", file=sys.stderr)


def visible(text: str) -> str:
    """Return a text that no terminal obeys: what cannot be printed is escaped, each newline and tab a space."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else ascii(c)[1:-1] for c in text)
