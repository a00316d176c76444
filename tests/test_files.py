"""Files are whole whatever happens, and a lock is free as soon as its holder is gone."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from hpo.files import Lock, atomic_file, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
