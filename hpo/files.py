"""Safe files: atomic writes, checkpoints sealed with a digest, and locks that are released when their process ends.

The recipe for an atomic write is the usual one (temporary file in the same folder, fsync, rename, fsync of
the folder). The lock is the kernel's (flock, or a locked byte on Windows), which releases it however the process ends.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import logging
import os
import secrets
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import StorageError, UsageError
from hpo.failpoints import reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}  # somebody holds a lock; the last two are Windows's words
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}  # a file system that cannot sync folders
GONE = "the current folder no longer exists: it was removed, or replaced by a new one. Change to a folder that exists: cd FOLDER"
_NO_LINK, _NO_WAIT = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)  # the latter for pipes; Windows has neither
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
    return MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


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


def why_no_locks(folder: Path) -> str:
    """Return why files in an existing `folder` cannot be locked; empty if they can. Leaves no file behind."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            _try_lock(file.fileno())
        except OSError as error:
            return error.strerror or "refused"
    return ""


class Lock:
    """An exclusive lock on a file, held by the kernel for this process. The file's text says who holds it.

    Args:
        path: The lock file. It is created if missing and never removed, since removing it could admit two holders.
        holder: One line about the holder, shown to a process that is refused.
        elsewhere: The option or variable that names another place, shown where the file system has no locks.
    """

    def __init__(self, path: Path, holder: str = "", elsewhere: str = "--storage PATH") -> None:
        self.path = path
        self.holder = holder
        self.elsewhere = elsewhere
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; return whether this object now holds it.

        Raises:
            OSError: The file cannot be created or written.
            StorageError: The file system has no locks.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = self._opened(os.O_RDWR | os.O_CREAT)
        try:
            if not self._tried(handle):
                os.close(handle)
                return False
            os.ftruncate(handle, 0)
            os.write(handle, self.holder.encode())
        except (OSError, StorageError):
            os.close(handle)
            raise
        self._handle = handle
        return True

    def is_free(self) -> bool:
        """Whether nobody holds the lock. Creates and writes nothing.

        Raises:
            StorageError: The file cannot be read, or its file system has no locks.
        """
        try:
            handle = self._opened(os.O_RDONLY)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise StorageError(f"the lock {self.path} cannot be read: {error.strerror}.") from None
        try:
            return self._tried(handle, shared=True)  # over NFS only a shared lock can be had on a file that is open for reading
        finally:
            os.close(handle)

    def _opened(self, how: int) -> int:
        """Open the file, but never the target of a link in its place, which would be emptied."""
        handle = os.open(self.path, how | _NO_LINK | _NO_WAIT, 0o666)  # less the umask: a group may share a study
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "it is not a regular file", str(self.path))
        return handle

    def _tried(self, handle: int, *, shared: bool = False) -> bool:
        try:
            return _try_lock(handle, shared=shared)
        except OSError as error:
            raise StorageError(without_locks(self.path, error.strerror or "refused", self.elsewhere)) from None

    def wait(self, sleep: Callable[[float], None]) -> None:
        """Take the lock; try twice a second until it is free."""
        while not self.acquire():
            sleep(0.5)

    def release(self) -> None:
        """Release the lock."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def held_by(self) -> str:
        """Return what the holder wrote about itself; empty if it wrote nothing."""
        try:
            handle = self._opened(os.O_RDONLY)
        except OSError:
            return ""
        with os.fdopen(handle, "rb") as file:
            return file.read(1000).decode(errors="replace").strip()

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None


def without_locks(path: Path, why: str, elsewhere: str) -> str:
    """Return the message for a path whose file system has no locks; `elsewhere` says how to name another path."""
    return (
        f"{path} cannot be locked: its file system has no locks ({why}). Without locks, two processes could overwrite each "
        f"other's files. Use a folder on another file system: {elsewhere}"
    )


def _try_lock(handle: int, *, shared: bool = False) -> bool:
    """Take a lock and return True, or return False if another process holds it.

    Raises:
        OSError: Locks do not work: Lustre without its option flock says ENOSYS, some NFS and FUSE say ENOLCK or EOPNOTSUPP.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 1 << 20, os.SEEK_SET)  # a byte far behind the text, so that the text stays readable
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _HELD:
            raise
        return False
    return True
