"""Databases of older Optunas are named with the command that upgrades them; one whose log holds all there is, is read with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import alembic.command
import pytest
from alembic.config import Config
from hostile import in_process
from instant import new_study, run
from optuna.storages import _rdb

from hpo.store.sqlite import recognize

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = ("v0.9.0.a", "v1.2.0.a", "v1.3.0.a", "v2.4.0.a", "v2.6.0.a", "v3.0.0.a", "v3.0.0.b", "v3.0.0.c", "v3.0.0.d")


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """A folder with a database of each schema that Optuna has had, by Optuna's own steps; each has a study."""
    folder = tmp_path_factory.mktemp("old")
    database, where = folder / "growing.db", Path(_rdb.__path__[0])
    config = Config(where / "alembic.ini")
    config.attributes["configure_logger"] = False
    config.set_main_option("script_location", str(where / "alembic"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{database}")
    for revision in OLD:
        alembic.command.upgrade(config, revision)
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            if revision == OLD[0]:
                connection.execute("INSERT INTO version_info VALUES (1, 1, '0.9.0')")
                connection.execute("INSERT INTO studies (study_name, direction) VALUES ('old', 'MAXIMIZE')")
            connection.execute("UPDATE version_info SET library_version = ?", (revision[1:6],))
        shutil.copy(database, folder / f"{revision}.db")
    with contextlib.closing(sqlite3.connect(folder / f"{OLD[0]}.db")) as connection, connection:
        connection.execute("DROP TABLE alembic_version")  # which Optuna had from 1.0 on
    return folder


@pytest.mark.parametrize("revision", OLD)
def test_a_database_of_an_older_optuna_is_left_as_it_is_and_the_command_that_upgrades_it_is_named(old, revision):
    path = old / f"{revision}.db"
    before, upgrade = path.read_bytes(), f"optuna storage upgrade --storage sqlite:///{path}"
    code, out, err = in_process("list", "--storage", path)
    assert (code, out) == (4, "")
    assert err == f"error: {path} was made by an older Optuna. Copy it, then: {upgrade}\n"
    code, out, _ = in_process("doctor", "--json", "--storage", path)
    assert code == 4
    assert f'"mend": "copy it, then: {upgrade}"' in out
    assert path.read_bytes() == before
    assert len(list(old.iterdir())) == len(OLD) + 1


def test_that_command_makes_the_oldest_one_readable(old, tmp_path):
    path = tmp_path / "hpo.db"
    shutil.copy(old / f"{OLD[0]}.db", path)
    command = in_process("list", "--storage", path)[2].strip().partition("then: optuna ")[2]
    optuna = "import sys; from optuna.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", optuna, *command.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code, out, err = in_process("list", "--storage", path)
    assert (code, err) == (0, "")
    assert "old" in out


@pytest.fixture(scope="module")
def statements(tmp_path_factory) -> str:
    """What makes a database with a study of three trials."""
    path = tmp_path_factory.mktemp("sound") / "hpo.db"
    run(new_study(path, sampler="random"), 3)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump())


@pytest.fixture
def written(tmp_path, statements) -> Iterator[Path]:
    """A database in WAL mode that another program has open: nothing but a header is in the file itself."""
    path = tmp_path / "living" / "hpo.db"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.executescript(statements)
        assert path.stat().st_size == 4096
        yield path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("state", ["open", "killed"])
def test_a_database_in_wal_mode_is_read_with_its_log(written, tmp_path, state):
    path = written if state == "open" else tmp_path / "killed" / "hpo.db"
    if state == "killed":
        shutil.copytree(written.parent, path.parent, ignore=lambda *_: ["hpo.db-shm"])
    before = contents(path.parent)
    recognize(path)
    assert contents(path.parent) == before
    code, out, err = in_process("list", "--storage", path)
    assert (code, err) == (0, "")
    assert "first" in out


def test_a_database_that_is_written_all_the_time_is_called_by_its_name(written, monkeypatch):
    real = shutil.copyfile

    def copyfile(source, target):
        os.utime(f"{written}-wal", ns=(0, written.stat().st_mtime_ns + int(str(source).endswith("-wal"))))
        written.touch()
        return real(source, target)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    code, _, err = in_process("list", "--storage", written)
    assert code == 4
    assert f"{written} is in WAL mode, and another program is writing it. End that program" in err
