"""Every error that a user can cause or meet, with the exit code that it ends the program with.

    HpoError                 1   a bug of ours, or the base to catch
    ├── UsageError           2   a value that cannot be right: option, setting, name, space file
    │   └── SpaceError       2   a search space or a configuration that breaks a bound
    ├── DataError            3   data missing, damaged, or not what it should be
    ├── DeviceError          3   no such device, or it cannot be used
    ├── StorageError         4   database, checkpoint folder or disk
    │   ├── StudyLockedError 4   another process runs this study
    │   └── SchemaError      4   another version of Optuna made the database
    └── NoResultError        5   the study has nothing to show

A message is one or two lines: what, where, what to do.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

HUNG_UP = 129  # 128 + SIGHUP
INTERRUPTED = 130  # 128 + SIGINT
TERMINATED = 143  # 128 + SIGTERM


class HpoError(Exception):
    """Base of all errors that hpo raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(HpoError):
    """A value that the user gave cannot be right."""

    exit_code = 2


class SpaceError(UsageError):
    """A search space or a configuration breaks a rule; the message names key, value and bound."""


class DataError(HpoError):
    """The data set is missing, damaged or not what it should be."""

    exit_code = 3


class DeviceError(HpoError):
    """The device does not exist here or cannot be used."""

    exit_code = 3


class StorageError(HpoError):
    """The database, the folder of checkpoints or the disk refuses."""

    exit_code = 4


class StudyLockedError(StorageError):
    """Another process runs this study right now."""


class SchemaError(StorageError):
    """A database was made by another version of Optuna.

    Attributes:
        mend: The command that makes it one of this version's, or this version one of its.
    """

    def __init__(self, found: str, mend: str) -> None:
        self.found, self.mend = found, mend
        super().__init__(f"{found} {mend[:1].upper()}{mend[1:]}")


class NoResultError(HpoError):
    """The study has no finished trial to speak of."""

    exit_code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'tpe'?"` for a near miss among `known`, else the list of what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" There is: {', '.join(known)}."
