"""What the code of a trial prints: a file beside the trials' folders, which stays when those go."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self, cast

from hpo.errors import StorageError
from hpo.system.files import refusal

FOLDER = "logs"


def path_of(trial_folder: Path) -> Path:
    """Return where the log of a trial is."""
    return trial_folder.parent / FOLDER / f"{trial_folder.name}.log"


class Log:
    """Standard output and error of this process, which go to a file while a trial's code runs.

    Args:
        file: Open for appending.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._own = [os.dup(1), os.dup(2)]
        self._switched(on=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let them go where they went before."""
        self._switched(on=False)
        try:
            yield
        finally:
            self._switched(on=True)

    def flush(self) -> None:
        """Write out what was printed so far."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed by the code
                stream.flush()

    def _switched(self, *, on: bool) -> None:
        self.flush()
        for number, own in zip((1, 2), self._own, strict=True):
            os.dup2(self._file.fileno() if on else own, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._switched(on=False)
        for own in self._own:
            os.close(own)


@contextlib.contextmanager
def logged(trial_folder: Path) -> Iterator[Log]:
    """Append what this process prints to the trial's log.

    Raises:
        StorageError: The log cannot be written.
    """
    with open_log(trial_folder) as file, Log(file) as log:
        yield log


def open_log(trial_folder: Path) -> BinaryIO:
    """Open the trial's log for appending.

    Raises:
        StorageError: It cannot be written.
    """
    path = path_of(trial_folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return cast("BinaryIO", path.open("ab", buffering=0))
    except OSError as error:
        raise StorageError(f"cannot write the log {path}: {refusal(error, path)}") from error
