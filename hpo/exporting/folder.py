"""The folder of an export: made beside its place under a hidden name, and put there in one step once it is whole.

A folder is replaced only if an earlier export made it, and nothing in it is somebody else's.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from hpo.errors import StorageError, UsageError
from hpo.system.failpoints import reach
from hpo.system.files import beside, read_regular, refusal, sync_folder

EQUAL = "equal.json"  # in every export: what was compared; and that hpo made the folder

_BY_PYTHON = "__pycache__"  # what running model.py leaves
_LARGEST = 1 << 22  # bytes of an equal.json
_CURRENT, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def check(folder: Path) -> None:
    """Look before the work whether an export can be put there.

    Raises:
        UsageError: Something other than an earlier export is there.
        StorageError: The folder around it is missing, or cannot be written.
    """
    around = folder.absolute().parent
    if not around.is_dir():
        raise StorageError(f"cannot write {folder}: there is no folder {around}. Create it: mkdir -p {around}")
    if not os.access(around, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write {folder}: nothing can be made in {around}. Choose another place.")
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise UsageError(f"{folder} exists and is not a folder. Choose another place.")
    there = {path.name for path in folder.iterdir()} - {_BY_PYTHON}
    if there and EQUAL not in there:
        raise UsageError(f"{folder} exists and no export of hpo's made it. Choose another folder, or remove this one.")
    if foreign := sorted(there - _files(folder)):
        more = f" and {len(foreign) - 3:,} more" if len(foreign) > 3 else ""
        raise UsageError(
            f"{folder} is to be replaced, but it also has {', '.join(foreign[:3])}{more}, which hpo did not write. "
            f"Move {'it' if len(foreign) == 1 else 'them'} away, or choose another folder."
        )


def _files(folder: Path) -> set[str]:
    """Return the names that an earlier export says it has written; none if hpo did not write its list."""
    try:
        told = json.loads(read_regular(folder / EQUAL, _LARGEST))
        return {EQUAL, *map(str, told["files"])} if told["program"] == "hpo" else set()
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return set()


@contextlib.contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Give an empty hidden folder; if the block ends without an error, it takes the place of `folder`, in one step.

    Raises:
        UsageError, StorageError: As `check`; or the disk refuses.
    """
    check(folder)
    folder = folder.absolute()
    _tidy(folder)
    made = beside(folder)
    try:
        made.mkdir()
        yield made
        _sync(made)
        reach("export.whole")
        check(folder)  # it took a while
        _put(made, folder)
        reach("export.placed")
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {refusal(error, folder)}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _put(made: Path, folder: Path) -> None:
    """Rename a folder to its final name; an earlier one then has the hidden name."""
    if not folder.exists() or not any(folder.iterdir()):
        made.rename(folder)  # onto an empty folder, too
    elif not _exchanged(made, folder):  # an old kernel, or another system: for a moment neither is there
        before = beside(folder)
        folder.rename(before)
        made.rename(folder)
        before.rename(made)
    sync_folder(folder.parent)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_CURRENT, os.fsencode(first), _CURRENT, os.fsencode(second), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # of the file system
        return False
    raise OSError(code, os.strerror(code), str(second))


def _sync(folder: Path) -> None:
    """Let the disk have all files before the folder gets its name."""
    for path in folder.rglob("*"):
        if stat.S_ISREG(path.stat().st_mode):
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def _tidy(folder: Path) -> None:
    """Remove what exports to this place have left that were killed."""
    hidden = re.compile(rf"\.{re.escape(folder.name)}\.(\d{{1,9}})-[0-9a-f]{{8}}\.tmp")
    for path in folder.parent.iterdir():
        name = hidden.fullmatch(path.name)
        if name and path.is_dir() and not path.is_symlink() and not psutil.pid_exists(int(name[1])):
            shutil.rmtree(path, ignore_errors=True)
