"""Standard output for data, standard error for progress and errors.

Texts from studies (names, reasons, parameters) are shown as they are: none of them is markup.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from typing import TYPE_CHECKING

from hpo.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from rich.console import Console

_PASSWORD = re.compile(r"(\w:/+[^\s:/@]*:|:)(?:\S+(?=@)|[^\s@]+(?=…))|((?:password|passwd)=)[^&\s]+", re.IGNORECASE)


class _Deaf(io.TextIOWrapper):
    """Standard error whose reader may go away: a run that nobody watches any more goes on."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


class _Output(io.TextIOWrapper):
    """Standard output that ends the program as a shell expects when its reader is gone, and with our own error when it is full.

    Here rather than around the program, since rich and click end it with 1 on the way.
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
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # for what is in the buffer still
            if isinstance(error, BrokenPipeError):
                raise SystemExit(128 + 13) from None  # as killed by SIGPIPE
            raise StorageError(f"standard output cannot be written: {error.strerror}.") from None


def prepare() -> None:
    """Let no state of this program's streams end it: closed, full, without a reader, or of an encoding that lacks our letters.

    A closed stream gets /dev/null, so that no database is opened under its number.
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
    """Return a text without the passwords of URLs that were typed somewhere, the wrong place included."""
    return _PASSWORD.sub(r"\1\2***", text)


def visible(text: str) -> str:
    """Return a text that no terminal obeys: what cannot be printed is escaped, each newline, tab and no-break space a space."""
    return "".join(c if c.isprintable() else " " if c in "\n\t\N{NO-BREAK SPACE}" else ascii(c)[1:-1] for c in text)
