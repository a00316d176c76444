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
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

HUNG_UP = 129  # 128 + SIGHUP
INTERRUPTED = 130  # 128 + SIGINT
TERMINATED = 143  # 128 + SIGTERM

_TAGS = ("parameters", "fixed", "int", "float", "categorical")  # parts of pydantic's paths that mean nothing to a user


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


def explain(error: ValidationError, prefix: str = "") -> list[str]:
    """Return what pydantic refuses, as one sentence per problem for whoever typed it or wrote the file: key, value and bound."""
    return [_sentence(problem, prefix) for problem in error.errors()]


def _sentence(problem: ErrorDetails, prefix: str) -> str:
    parts = [str(part) for part in problem["loc"] if part not in _TAGS]
    key = prefix + ".".join(parts).replace("_", "-" if prefix else "_")
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key"
        case "missing":
            return f"{key} is missing"
        case "union_tag_not_found" | "union_tag_invalid":
            return f'{key}: needs type = "int", "float" or "categorical", or a value'
        case "value_error" if not prefix:  # our own checks name what they are about
            return f"{key}: {message}" if key else message
        case _:
            return f"{key} = {_shown(problem['input'])}: {message}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python's limit
        return "a number with thousands of digits"
    return text if len(text) <= 60 else text[:60] + "…"
