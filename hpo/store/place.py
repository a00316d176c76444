"""The place that a database and its checkpoints are put in: whether it may be written, has room, and is on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import psutil

from hpo.errors import StorageError
from hpo.system.files import sync_folder
from hpo.system.locks import why_no_locks, without_locks

ELSEWHERE = "--storage PATH"
FREE_SPACE = 200 * 2**20  # bytes, for the database and two checkpoints a worker
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "virtiofs", "vboxsf", "ceph", "lustre", "gpfs", "beegfs"}
_NETWORK |= {"glusterfs", "davfs", "webdav", "drvfs"}
_NETWORK |= {f"fuse.{kind}" for kind in ("sshfs", "glusterfs", "ceph", "s3fs", "gcsfuse", "rclone", "davfs", "cifs", "nfs")}


def check(path: Path) -> None:
    """Make sure that a run can begin with its database at `path`, there or not; nothing is made or changed.

    Raises:
        StorageError: The folder or the file cannot be written or locked, or the disk is all but full; names place and bytes.
    """
    folder = existing(path.parent)
    for place in (folder, path) if os.path.exists(path) else (folder,):  # noqa: PTH110  # Path.exists raises where it may not look
        if not may_write(place):
            raise StorageError(f"{place} cannot be written by this user. Make it writable, or name another: --storage PATH")
    free = shutil.disk_usage(folder).free
    if free < FREE_SPACE:
        raise StorageError(
            f"only {free:,} bytes are free in {folder}, and checkpoints and database need {FREE_SPACE:,}. "
            "Make space, then run the same command."
        )
    try:
        if why := no_locks(folder):
            raise StorageError(without_locks(folder, why, ELSEWHERE))
        sync_folder(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}. Name another place: {ELSEWHERE}") from None


def no_locks(folder: Path) -> str:
    """Return why files in `folder` cannot be locked, with the type of its file system; empty if they can.

    Raises:
        OSError: No file can be made there.
    """
    why = why_no_locks(folder)
    return ": ".join(filter(None, (file_system(folder), why))) if why else ""


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    while not os.path.isdir(folder):  # noqa: PTH112  # as above
        folder = folder.parent
    return folder


def may_write(place: Path) -> bool:
    """Whether this process may write a file, or put one into a folder."""
    return os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def file_system(folder: Path, mounts: Iterable[tuple[str, str]] | None = None) -> str:
    """Return the type of the file system that a folder is on, empty if unknown.

    Args:
        folder: There or not.
        mounts: Mount points and types, as mounted one over the other; None: this machine's.
    """
    if mounts is None:
        mounts = [(mount.mountpoint, mount.fstype) for mount in psutil.disk_partitions(all=True)]
    real, found = existing(folder).resolve(), ("", "")
    for point, kind in mounts:
        if real.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def risk(path: Path, mounts: Iterable[tuple[str, str]] | None = None) -> str:
    """Return what may happen to a database at `path` because it is on a network file system; empty if it is on none."""
    kind = file_system(path.parent, mounts)
    if kind.lower() not in _NETWORK:
        return ""
    return (
        f"{path} is on a network file system ({kind}), where locks may not hold: a second machine, or a connection that breaks, "
        f"can damage the database. Keep it on a local disk: --storage PATH"
    )
