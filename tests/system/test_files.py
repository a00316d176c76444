"""Files are whole whatever happens, and only what is a file is read."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.errors import UsageError
from hpo.store.database import locate, open_database
from hpo.system import files
from hpo.system.files import atomic_file, expanded, read_regular, refusal, write_atomically
from hpo.system.locks import Lock

KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from pathlib import Path
from hpo.system.files import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half of the n")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_content_arrives_and_missing_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_an_error_in_the_middle_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with contextlib.suppress(KeyboardInterrupt), atomic_file(path) as file:
        file.write(b"half of the n")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_process_killed_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    done = subprocess.run([sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


@pytest.fixture
def refuse_folder_fsync(monkeypatch):
    """Let the kernel answer every fsync of a folder with an error."""
    files._say_unsynced.cache_clear()
    real = os.fsync

    def refuse(number: int) -> None:
        def fsync(handle: int) -> None:
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                raise OSError(number, os.strerror(number))
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)

    return refuse


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP], ids=errno.errorcode.get)
def test_a_file_system_that_does_not_sync_folders_is_used_and_that_is_noted_once(tmp_path, refuse_folder_fsync, caplog, number):
    refuse_folder_fsync(number)
    with caplog.at_level(logging.INFO, "hpo"):
        for content in (b"old", b"new"):
            write_atomically(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert f"does not sync folders ({os.strerror(number)})" in caplog.text


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_disk_that_fails_to_sync_a_folder_is_an_error(tmp_path, refuse_folder_fsync, number):
    refuse_folder_fsync(number)
    with pytest.raises(OSError, match=os.strerror(number)):
        write_atomically(tmp_path / "file", b"new")


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("~/sweeps/hpo.db", "/home/me/sweeps/hpo.db"),
        ("~", "/home/me"),
        ("~root/x", f"{Path('~root').expanduser()}/x"),
        ("~backup.db", "~backup.db"),  # of no user: a name like any other
        ("./~/x", "~/x"),
        ("a/~/x", "a/~/x"),
        ("", "."),
    ],
)
def test_a_tilde_is_what_a_shell_makes_of_it(monkeypatch, path, there):
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded(path) == Path(there)
    if not path.startswith("."):  # which a Path forgets
        assert expanded(Path(path)) == Path(there)


def test_a_tilde_without_a_home_folder_is_a_sentence(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54_321)  # without an entry in the system's list
    with pytest.raises(UsageError, match=r"^~/x: ~ stands for the home folder, and this user has none\."):
        expanded("~/x")


# -- links and modes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o077, 0o600), (0o022, 0o644)])
def test_the_umask_says_who_may_share_a_study(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        assert Lock(tmp_path / "lock").acquire()
        write_atomically(tmp_path / "file", b"x")
        open_database(locate(str(tmp_path / "hpo.db")), create=True)
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("lock", "file", "hpo.db")} == {mode}


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)]
)
def test_only_a_regular_file_is_read(tmp_path, make):
    make(tmp_path / "odd")
    with pytest.raises(OSError, match=r"."):
        read_regular(tmp_path / "odd")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 11)
    assert read_regular(tmp_path / "file", 11) == b"x" * 11
    with pytest.raises(OSError, match="11 bytes; the limit is 10"):
        read_regular(tmp_path / "file", 10)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_what_is_left_of_it(tmp_path, number):
    found = re.fullmatch(
        rf"{os.strerror(number)}: ([\d,]+) bytes are free in {tmp_path}\. Make space, then run the same command\.",
        refusal(OSError(number, os.strerror(number)), tmp_path / "missing" / "folder" / "epoch-0001.ckpt"),
    )
    assert found
    assert int(found[1].replace(",", "")) == pytest.approx(shutil.disk_usage(tmp_path).free, abs=2**30)


def test_a_disk_that_is_not_full_is_not_said_to_be(tmp_path):
    assert refusal(OSError(errno.EIO, "Input/output error"), tmp_path / "file") == "Input/output error."
