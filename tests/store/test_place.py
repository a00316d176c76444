"""Where a database lies: the file system that is mounted last wins, and those of other machines are warned of."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from hpo.builtin.convnet import OBJECTIVE
from hpo.doctor.checks import examine
from hpo.errors import StorageError
from hpo.runner import session
from hpo.store import place
from hpo.store.database import locate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "home" / "me").mkdir(parents=True)
    return (tmp_path / "home" / "me").resolve()


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "virtiofs", "lustre", "ceph", "fuse.rclone", "NFS"]
)
def test_a_network_file_system_is_warned_of_with_the_risk_and_the_way_out(folder, kind):
    said = place.risk(folder / "hpo.db", [("/", "ext4"), (str(folder.parent), kind)])
    assert f"{folder / 'hpo.db'} is on a network file system ({kind})" in said
    assert "locks may not hold" in said
    assert "--storage PATH" in said


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "ntfs", "fuseblk", "fuse.encfs", ""])
def test_a_local_one_is_not(folder, kind):
    assert place.risk(folder / "hpo.db", [("/", kind)]) == ""


def test_of_mounts_within_each_other_the_inner_counts_and_of_those_over_each_other_the_last(folder):
    outer, inner = str(folder.parent), str(folder)
    assert place.file_system(folder, [("/", "ext4"), (outer, "nfs"), (inner, "xfs")]) == "xfs"
    assert place.file_system(folder, [(inner, "xfs"), (outer, "nfs"), ("/", "ext4")]) == "xfs"
    assert place.file_system(folder, [("/", "ext4"), (outer, "autofs"), (outer, "nfs4")]) == "nfs4"
    assert place.file_system(folder, [("/", "ext4"), (f"{outer}2", "nfs"), (outer[:-1], "nfs")]) == "ext4"


def test_a_link_to_a_network_file_system_is_followed_and_a_missing_folder_is_where_it_would_be_made(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    mounts = [("/", "ext4"), (str(folder), "nfs")]
    assert place.file_system(tmp_path / "link", mounts) == "nfs"
    assert place.file_system(tmp_path / "link" / "new" / "er", mounts) == "nfs"
    assert place.file_system(tmp_path, mounts) == "ext4"


def test_this_machines_mounts_are_known():
    assert place.file_system(Path("/proc/self")) == "proc"


def test_a_disk_that_is_all_but_full_is_told_with_place_and_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(place, "FREE_SPACE", 2**60)
    with pytest.raises(StorageError, match=rf"only [\d,]+ bytes are free in {tmp_path}, .* need 1,152,921,504,606,846,976"):
        place.check(tmp_path / "new" / "hpo.db")

    assert list(tmp_path.iterdir()) == []


def test_checkpoints_of_a_study_on_a_server_need_room_here_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(place, "FREE_SPACE", 2**60)
    with pytest.raises(StorageError, match=r"bytes are free in"):
        session.run("first", objective=OBJECTIVE, storage="postgresql://me:S3cret@127.0.0.1:1/db")


def test_a_place_without_locks_is_refused_before_anything_begins_with_its_kind_and_a_way_out(tmp_path, monkeypatch):
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    kind = place.file_system(tmp_path)
    why = rf"its file system has no locks \({kind}: {os.strerror(errno.ENOSYS)}\)"
    with pytest.raises(StorageError, match=rf"{tmp_path} cannot be locked: {why}.*--storage PATH"):
        place.check(tmp_path / "new" / "hpo.db")
    found = [finding for finding in examine(locate(str(tmp_path / "hpo.db"))) if finding.state == "bad"]
    assert [finding.check for finding in found] == ["locks"]
    assert "--storage PATH" in found[0].mend
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_is_told_before_anything_begins(tmp_path, monkeypatch):
    def fsync(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match=rf"{tmp_path} cannot be written: {os.strerror(errno.EIO)}"):
        place.check(tmp_path / "hpo.db")
