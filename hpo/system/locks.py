"""Locks that are released when their process ends: the kernel's (flock, or a locked byte on Windows), however it ends."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hpo.errors import StorageError, StudyLockedError
from hpo.system.files import refusal

_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}  # somebody holds a lock; the last two are Windows's words
_NO_LINK, _NO_WAIT = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)  # the latter for pipes; Windows has neither


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

    def take(self, what: str, do: str) -> None:
        """Take the lock.

        Args:
            what: What it means that another process has it, such as "study 'first' is being run".
            do: What to do then.

        Raises:
            StudyLockedError: Another process has it; says which.
            StorageError: The disk refuses.
        """
        try:
            taken = self.acquire()
        except OSError as error:
            raise StorageError(f"the lock {self.path} cannot be made: {refusal(error, self.path)}") from None
        if not taken:
            raise StudyLockedError(f"{what} by {self.held_by() or 'another process'}. {do}")

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


def why_no_locks(folder: Path) -> str:
    """Return why files in an existing `folder` cannot be locked; empty if they can. Leaves no file behind."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            _try_lock(file.fileno())
        except OSError as error:
            return error.strerror or "refused"
    return ""


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
