"""A database that another program holds is waited for, aloud, and in the end the error says what to do."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

import pytest
from instant import InstantPool, Notes, new_study, run

from hpo.errors import StorageError
from hpo.runner.board import logged_to
from hpo.store import sqlite
from hpo.store.reading import record


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study whose database is waited for a second, and aloud after a fifth of that."""
    monkeypatch.setattr(sqlite, "PATIENCE", 0.2)
    monkeypatch.setattr("hpo.store.database.PATIENCE", 0.2)
    monkeypatch.setattr(sqlite, "LOCK_TIMEOUT", 1.0)
    return new_study(tmp_path / "hpo.db", sampler="random", pruner="none")


@contextlib.contextmanager
def reader(path):
    """Hold a reader's lock: another may write, and cannot commit."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT * FROM sqlite_master")
        rows.fetchone()
        yield


@contextlib.contextmanager
def writer(path):
    """Hold a writer's lock: nobody else may even read."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.parametrize("lock", [reader, writer])
def test_a_run_waits_for_a_lock_says_so_once_and_goes_on(study, lock):
    held, notes = threading.Event(), Notes()

    def hold():
        with lock(study.location.path):
            held.set()
            time.sleep(0.7)

    thread = threading.Thread(target=hold)
    notes.after_epoch = lambda n_epochs: n_epochs == 2 and (thread.start(), held.wait())
    with logged_to(notes):
        assert run(study, 2, watcher=notes) == "total"
    thread.join()
    expected = f"{study.location.path} is locked by another program (a dashboard, a backup?). Waiting for it, a minute at most."
    assert notes.warnings == [expected]
    assert record.load("first", study.location).counts == {"complete": 2}


@pytest.mark.parametrize("lock", [reader, writer])
def test_a_lock_that_stays_ends_the_run_with_what_to_do_and_nothing_is_lost(study, lock):
    run(study, 1)
    with lock(study.location.path), pytest.raises(StorageError, match=r"was locked by another program for .* same command"):
        run(study, 2, InstantPool())
    assert record.load("first", study.location).counts["complete"] == 1


def test_another_error_of_sqlite_is_raised_at_once(study):
    engine = study.database.storage.engine
    began = time.monotonic()
    with engine.connect() as connection, pytest.raises(Exception, match="no such table"):
        connection.exec_driver_sql("SELECT * FROM missing")
    assert time.monotonic() - began < 1


def test_warnings_go_to_a_watcher_only_while_it_watches():
    notes = Notes()
    with logged_to(notes):
        sqlite._logger.warning("held by %s", "somebody")
    assert notes.warnings == ["held by somebody"]
