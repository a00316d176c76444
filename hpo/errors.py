"""Every error that a user can cause or meet, with the exit code that it ends the program with.

    HpoError                 1   a bug of ours, or the base class to catch
    ├── UsageError           2   an invalid value: option, setting, name, space file
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
    """A value that the user gave is invalid."""

    exit_code = 2


class SpaceError(UsageError):
    """A search space or a configuration breaks a rule; the message gives key, value and bound."""


class DataError(HpoError):
    """The data set is missing, damaged or not the expected one."""

    exit_code = 3


class DeviceError(HpoError):
    """The device does not exist on this machine or cannot be used."""

    exit_code = 3


class StorageError(HpoError):
    """The database, the folder of checkpoints or the disk fails."""

    exit_code = 4


class StudyLockedError(StorageError):
    """Another process runs this study right now."""


class SchemaError(StorageError):
    """Another version of Optuna made the database.

    Attributes:
        mend: The command that upgrades the database or Optuna, so that they match.
    """

    def __init__(self, found: str, mend: str) -> None:
        self.found, self.mend = found, mend
        super().__init__(f"{found} {mend[:1].upper()}{mend[1:]}")


class NoResultError(HpoError):
    """The study has no finished trial with a result."""

    exit_code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'tpe'?"` for a near miss among `known`, else the list of all that are known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Available: {', '.join(known)}."
