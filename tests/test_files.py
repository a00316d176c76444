"""Files are whole whatever happens, and a lock is free as soon as its holder is gone."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hpo import files
from hpo.errors import StorageError, UsageError
from hpo.files import Lock, atomic_file, expanded, read_regular, why_no_locks, write_atomically
from hpo.store.database import locate, open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from pathlib import Path
from hpo.files import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half of the n")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""

HOLDING = """
import sys, time
from pathlib import Path
from hpo.files import Lock
print(Lock(Path(sys.argv[1]), holder="process 7 on moon").acquire(), flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLDING, str(path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()


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


def test_a_second_process_is_refused_and_told_who_holds_the_lock(tmp_path):
    lock = Lock(tmp_path / "folder" / "lock", holder="me")
    with holder(lock.path):
        assert not lock.acquire()
        assert not lock.held
        assert lock.held_by() == "process 7 on moon"


def test_a_lock_is_free_after_its_holder_was_killed(tmp_path):
    lock = Lock(tmp_path / "lock", holder="me")
    with holder(lock.path) as process:
        process.kill()
        process.wait()
        assert lock.acquire()
    assert lock.held_by() == "me"


def test_a_lock_given_back_is_free_and_its_file_stays(tmp_path):
    first, second = Lock(tmp_path / "lock", "first"), Lock(tmp_path / "lock", "second")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    assert first.path.exists()
    second.release()


def test_whoever_waits_gets_the_lock_once_it_is_free(tmp_path):
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    first.acquire()
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            first.release()

    second.wait(sleep)
    assert second.held
    assert slept == [0.5] * 3
    second.release()


def test_a_lock_that_nobody_ever_took_names_nobody(tmp_path):
    assert Lock(tmp_path / "lock").held_by() == ""


NO_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF]


@pytest.fixture
def refuse_flock(monkeypatch):
    """Let the kernel answer every flock with an error."""

    def refuse(number: int) -> None:
        def flock(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)

    return refuse


@pytest.mark.parametrize("number", NO_LOCKS, ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_an_error_that_names_path_and_way_out_not_a_lock_that_somebody_holds(
    tmp_path, refuse_flock, number
):
    refuse_flock(number)
    lock = Lock(tmp_path / "lock", elsewhere="HPO_CACHE_DIR=FOLDER")
    said = rf"{tmp_path}/lock cannot be locked: its file system has no locks \({os.strerror(number)}\).*HPO_CACHE_DIR=FOLDER"
    with pytest.raises(StorageError, match=said):
        lock.acquire()
    with pytest.raises(StorageError, match=said):
        lock.is_free()
    with pytest.raises(StorageError, match=said):
        lock.wait(lambda _: pytest.fail("waits for nobody"))
    assert not lock.held
    assert why_no_locks(tmp_path) == os.strerror(number)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES], ids=errno.errorcode.get)
def test_only_a_refusal_that_names_a_holder_means_held(tmp_path, refuse_flock, number):
    lock = Lock(tmp_path / "lock")
    lock.path.touch()
    refuse_flock(number)
    assert not lock.acquire()
    assert not lock.is_free()


def test_files_in_a_usual_folder_can_be_locked(tmp_path):
    assert why_no_locks(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_may_only_be_read_is_seen_as_held_and_as_free(tmp_path):
    lock = Lock(tmp_path / "lock")
    with holder(lock.path):
        lock.path.chmod(0o444)
        assert not lock.is_free()
    assert lock.is_free()


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


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_a_lock_that_is_no_file_is_not_followed_written_or_waited_for(tmp_path, kind):
    victim, path = tmp_path / "victim", tmp_path / "lock"
    if kind == "link":
        victim.write_text("theirs")
    if "link" in kind:
        path.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    lock = Lock(path, holder="mine")
    with pytest.raises(OSError, match=r".") as raised:
        lock.acquire()
    assert not isinstance(raised.value, FileNotFoundError)
    with pytest.raises(StorageError, match=r"the lock .* cannot be read"):
        lock.is_free()
    assert lock.held_by() == ""
    assert victim.exists() == (kind == "link")
    assert kind != "link" or victim.read_text() == "theirs"


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o077, 0o600), (0o022, 0o644)])
def test_the_umask_says_who_may_share_a_study(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        assert Lock(tmp_path / "lock").acquire()
        write_atomically(tmp_path / "file", b"x")
        open_storage(locate(str(tmp_path / "hpo.db")), create=True)
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
