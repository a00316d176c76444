"""Standard output for data, standard error for progress and errors.

Texts from studies (names, reasons, parameters) are never read as markup.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from hpo.errors import StorageError

if TYPE_CHECKING:
    from rich.console import Console

_PASSWORD = re.compile(r"(\w:/+[^\s:/@]*:|:)(?:\S+(?=@)|[^\s@]+(?=…))|((?:password|passwd)=)[^&\s]+", re.IGNORECASE)


class _Deaf(io.TextIOWrapper):
    """Standard error whose reader may go away: the run continues without it."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


class _Output(io.TextIOWrapper):
    """Standard output. If its reader goes away, the program ends as a shell expects; if the disk is full, with our error.

    This is handled here, not around the program, because rich and click would first exit with 1.
    """

    def write(self, text: str) -> int:
        with self._ending():
            return super().write(text)

    def flush(self) -> None:
        with self._ending():
            super().flush()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # for what is still in the buffer
            if isinstance(error, BrokenPipeError):
                raise SystemExit(128 + 13) from None  # as killed by SIGPIPE
            raise StorageError(f"standard output cannot be written: {error.strerror}.") from None


def prepare() -> None:
    """Make all three streams usable: closed, full, unread, or in an encoding that lacks our characters.

    A closed stream is replaced by /dev/null, so that no database is opened under its number.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    sys.stdout, sys.stderr = _stream(_Output, 1, sys.stdout), _stream(_Deaf, 2, sys.stderr)


def _stream(kind: type[io.TextIOWrapper], number: int, before: TextIO | None) -> io.TextIOWrapper:
    encoding = before.encoding if before else "utf-8"
    lines = number == 2 or os.isatty(number)
    return kind(open(number, "wb", closefd=False), encoding=encoding, errors="backslashreplace", line_buffering=lines)


def out() -> Console:
    """Return the console for data."""
    from rich.console import Console

    return Console(highlight=False, markup=False, soft_wrap=False)


def err() -> Console:
    """Return the console for progress and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def complain(message: str) -> None:
    """Print an error: one line."""
    tell(f"error: {message}")


def tell(message: str) -> None:
    """Print a line to standard error."""
    print(visible(without_passwords(message)), file=sys.stderr)


def show_trace() -> None:
    """Print the traceback of the exception that is being handled."""
    print(without_passwords(traceback.format_exc()), end="", file=sys.stderr)


def without_passwords(text: str) -> str:
    """Return a text without the passwords of URLs, wherever in it they were typed."""
    return _PASSWORD.sub(r"\1\2***", text)


def visible(text: str) -> str:
    """Escape what a terminal would obey or cannot print; each newline, tab and no-break space becomes a space."""
    return "".join(c if c.isprintable() else " " if c in "\n\t\N{NO-BREAK SPACE}" else ascii(c)[1:-1] for c in text)
