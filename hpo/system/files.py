"""Safe files: atomic writes, checkpoints sealed with a digest, and reading what may be no regular file.

The recipe for an atomic write is the usual one (temporary file in the same folder, fsync, rename, fsync of the folder).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import logging
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hpo.errors import StorageError, UsageError
from hpo.system.failpoints import reach

_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}  # a file system that cannot sync folders
GONE = "the current folder no longer exists: it was removed, or replaced by a new one. Change to a folder that exists: cd FOLDER"
FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # for pipes; Windows has none
_logger = logging.getLogger(__name__)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`; a crash at any moment leaves the old file or the new one, never half of one."""
    with atomic_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` for writing; if the block ends without an error, it is renamed to `path`.

    Raises:
        OSError: The disk refuses, or `path` is something other than a file, such as a device, which a rename would replace.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is not a regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(path)
    try:
        with temporary.open("xb") as file:
            yield file
            reach("file.filled")
            file.flush()
            os.fsync(file.fileno())
        reach("file.synced")
        temporary.replace(path)
        reach("file.renamed")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a regular file. Anything else is not read, such as a pipe that nobody writes to.

    Args:
        path: The file, or a link to it.
        limit: Largest size, in bytes.

    Raises:
        OSError: The file is missing, is not a regular file, or is larger.
    """
    handle = os.open(path, os.O_RDONLY | _NO_WAIT | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if limit is not None and found.st_size > limit:
            raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes; the limit is {limit:,}", str(path))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


_KIND = b"hpo checkpoint "
MAGIC = _KIND + b"1 "  # increase the number when older versions of hpo must not read the file


def sealed(content: bytes | memoryview) -> bytes:
    """Return the bytes of a checkpoint's file: a header line with the SHA-256 of `content`, then `content`."""
    return seal(content) + content


def seal(content: bytes | memoryview) -> bytes:
    """Return the header line of a checkpoint's file."""
    return MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n"


def read_sealed(path: Path) -> bytes:
    """Return the content of a checkpoint's file.

    Raises:
        StorageError: The file is missing, not a checkpoint, of another version, or damaged; the message says which.
    """
    try:
        header, _, content = read_regular(path).partition(b"\n")
    except OSError as error:
        raise StorageError(f"cannot read the checkpoint {path}: {error.strerror}.") from error
    if not header.startswith(_KIND):
        raise StorageError(f"{path} is not a checkpoint of hpo{'' if header or content else ': it is empty'}.")
    if not header.startswith(MAGIC):
        raise StorageError(f"{path} is a checkpoint of another version of hpo.")
    if header != MAGIC + hashlib.sha256(content).hexdigest().encode():
        raise StorageError(f"{path} is incomplete or damaged: its SHA-256 does not match.")
    return content


def refusal(error: OSError, path: Path) -> str:
    """Return why the system refuses to write `path`, as the rest of a sentence; of a full disk with what is left and a remedy."""
    why = error.strerror or str(error)
    if error.errno not in FULL:
        return f"{why}."
    folder = next(folder for folder in path.absolute().parents if folder.is_dir())
    return f"{why}: {shutil.disk_usage(folder).free:,} bytes are free in {folder}. Make space, then run the same command."


def beside(path: Path) -> Path:
    """Return an unused hidden name in the same folder. Unlike a file of tempfile's, one made there gets the usual mode."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def expanded(path: Path | str) -> Path:
    """Return a path with `~` and `~user` expanded: no shell does that in `--out=~/page.html` or a systemd unit's variable.

    Raises:
        UsageError: The user has no home folder: no entry in the system's list of users, and no $HOME.
    """
    found = os.path.expanduser(path)  # noqa: PTH111  # Path's own raises at a file that is named like `~x.db`
    if str(found) == "~" or str(found).startswith(("~/", "~" + os.sep)):
        raise UsageError(f"{path}: ~ stands for the home folder, and this user has none. Write the path without ~, or set HOME.")
    return Path(found)


def current_folder_is_gone() -> bool:
    """Whether the current folder was removed."""
    try:
        return not Path.cwd().exists()
    except OSError:
        return True


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` durable.

    Does nothing where folders cannot be opened or synced, as on CIFS and in shared folders of virtual machines. Errors of the
    disk (EIO, ENOSPC) are raised.
    """
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
        _say_unsynced(error.strerror or "refused")
    finally:
        os.close(handle)


@functools.cache
def _say_unsynced(why: str) -> None:
    """Log once per process that folders are not synced."""
    _logger.info("the file system does not sync folders (%s): after a power failure, the newest files may be missing.", why)
