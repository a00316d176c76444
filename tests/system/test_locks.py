"""Locks: held by one process, free once it ends, and never on something other than a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hpo.errors import StorageError
from hpo.system.locks import Lock, why_no_locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDING = """
import sys, time
from pathlib import Path
from hpo.system.locks import Lock
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
