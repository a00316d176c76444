"""Damaged, foreign and odd databases, through the real commands: each gets its own sentence, and not a byte is changed."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import socket
import sqlite3
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hostile import in_process
from instant import empty_database, new_study, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOOKING = (["list"], ["show", "first"], ["trials", "first"], ["report", "first"], ["doctor"], ["dashboard", "--port", "1"])
RUNNING = (["run", "first", "--dataset", "digits"], ["resume", "first"])


def sqlite(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> bytes:
    """The bytes of a database with a study of three trials."""
    path = tmp_path_factory.mktemp("sound") / "hpo.db"
    run(new_study(path), 3)
    return path.read_bytes()


def ours(*statements: str) -> Callable[[Path, bytes], object]:
    """A database of ours in which something was changed."""

    def make(path: Path, sound: bytes) -> None:
        path.write_bytes(sound)
        sqlite(path, *statements)

    return make


def foreign(*statements: str) -> Callable[[Path, bytes], object]:
    return lambda path, _: sqlite(path, *statements)


def written(content: Callable[[bytes], bytes]) -> Callable[[Path, bytes], object]:
    return lambda path, sound: path.write_bytes(content(sound))


def listening(path: Path, _: bytes) -> None:
    place = socket.socket(socket.AF_UNIX)
    with contextlib.chdir(path.parent), place:  # such a path may have 107 bytes
        place.bind(path.name)


def crashed(path: Path, _: bytes) -> None:
    """Somebody else's database with the journal of a program that was killed: half a transaction is in the file."""
    other = path.with_name("living")
    with contextlib.closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO users VALUES (?)", [("x" * 1000,)] * 1000)
        path.write_bytes(other.read_bytes())
        path.with_name(f"{path.name}-journal").write_bytes(other.with_name("living-journal").read_bytes())
        connection.execute("ROLLBACK")
    other.unlink()


def open_in_wal_mode(path: Path, _: bytes) -> None:
    """As another program left it that was killed: the log is beside it."""
    other = path.with_name("living")
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE users (name TEXT)")
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).write_bytes(other.with_name(f"living{end}").read_bytes())
    other.unlink()


def loop(path: Path, _: bytes) -> None:
    path.symlink_to(path.name)


class Case(NamedTuple):
    """A file, and what is said about it."""

    make: Callable[[Path, bytes], object]
    says: str


BY_ANOTHER = "is a SQLite database of another program"
DAMAGED = "is a damaged SQLite database"
NO_SQLITE = "is not a SQLite database, or an encrypted one"
OLDER, NEWER = "was made by an older Optuna.", "was made by a newer Optuna"

REFUSED = {
    "a schema of Optuna 3.0": Case(ours("UPDATE alembic_version SET version_num = 'v3.0.0.a'"), OLDER),
    "a schema of Optuna 0.9": Case(ours("UPDATE alembic_version SET version_num = 'v0.9.0.a'"), OLDER),
    "a schema of the future": Case(ours("UPDATE alembic_version SET version_num = 'v99.0.0.a'"), NEWER),
    "a schema without a version": Case(ours("DELETE FROM alembic_version"), "does not say which Optuna made it"),
    "a schema without Optuna's version": Case(ours("DELETE FROM version_info"), "does not say which Optuna made it"),
    "a schema of two versions": Case(ours("INSERT INTO alembic_version VALUES ('v1')"), "does not say which Optuna made it"),
    "another program's tables": Case(foreign("CREATE TABLE users (name TEXT)"), f"{BY_ANOTHER} (tables: users)"),
    "another program's Alembic": Case(
        foreign("CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES ('1975ea83b712')"),
        BY_ANOTHER,
    ),
    "another program's table of studies": Case(foreign("CREATE TABLE studies (x)", "CREATE TABLE trials (x)"), BY_ANOTHER),
    "tables of our names and other columns": Case(
        foreign(*(f"CREATE TABLE {t} (x)" for t in ("studies", "trials", "trial_params", "version_info", "alembic_version"))),
        BY_ANOTHER,
    ),
    "another program's, in WAL mode": Case(foreign("PRAGMA journal_mode = wal", "CREATE TABLE users (name TEXT)"), BY_ANOTHER),
    "another program's, in WAL mode, open": Case(open_in_wal_mode, f"{BY_ANOTHER} (tables: users)"),
    "another program's, killed": Case(crashed, BY_ANOTHER),
    "no tables": Case(foreign("CREATE TABLE x (y)", "DROP TABLE x"), "is a SQLite database of nobody yet (it has no tables)"),
    "zero bytes": Case(written(lambda _: b""), "is empty (0 bytes)"),
    "one byte": Case(written(lambda _: b"S"), NO_SQLITE),
    "text": Case(written(lambda _: b"dear diary\n" * 99), NO_SQLITE),
    "an encrypted database": Case(written(lambda sound: hashlib.shake_256(b"key").digest(len(sound))), NO_SQLITE),
    "a SQLite header and text": Case(written(lambda _: b"SQLite format 3\0" + b"dear diary\n" * 999), DAMAGED),
    "a SQLite header alone": Case(written(lambda _: b"SQLite format 3\0"), DAMAGED),
    "cut in the middle": Case(written(lambda sound: sound[: len(sound) // 2]), DAMAGED),
    "cut after a page": Case(written(lambda sound: sound[:4096]), DAMAGED),
    "a first page of noise": Case(written(lambda sound: sound[:100] + b"\xa5" * 3996 + sound[4096:]), DAMAGED),
    "a folder": Case(lambda path, _: path.mkdir(), "is a folder, not a database"),
    "a pipe": Case(lambda path, _: os.mkfifo(path), "is a pipe, not a database"),
    "a socket": Case(listening, "is a socket, not a database"),
    "a device": Case(lambda path, _: path.symlink_to("/dev/zero"), "is a device, not a database"),
    "a link to nothing": Case(lambda path, _: path.symlink_to("gone.db"), "is a link to gone.db, which is not there"),
    "a link to itself": Case(loop, "Too many levels of symbolic links"),
}


def snapshot(folder: Path) -> list[tuple[object, ...]]:
    """Everything in a folder: names, kinds, modes, contents, targets of links."""
    found: list[tuple[object, ...]] = []
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(mode) else ""
        found.append((str(path), mode, content, path.readlink() if path.is_symlink() else ""))
    return found


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_database_of_ours_is_named_by_every_command_and_left_as_it_is(what, tmp_path, sound):
    case, path = REFUSED[what], tmp_path / "some.db"
    case.make(path, sound)
    before = snapshot(tmp_path)
    for words in (*LOOKING, *RUNNING):
        code, out, err = in_process(*words, "--storage", path)
        assert code == 4, f"{words}: {out}{err}"
        said = " ".join((out if words == ["doctor"] else err).split())
        assert "some.db" in said
        assert case.says in said, words
        assert "Traceback" not in said
        assert words == ["doctor"] or err.count("\n") == 1
        assert snapshot(tmp_path) == before, f"{words} changed something"


ODD_NAMES = (
    *("a b.db", "100%.db", "a%20b.db", "what?.db", "a#b.db", "{0}.db", "{x}.db", "ünï☃.db", "it's.db", '"q".db', "a&b=c.db"),
    *(
        "new\nline.db",
        "\x1b[31mred.db",
        "tab\t.db",
        "-v.db",
        "~.db",
        "a\\b.db",
        ":memory:.db",
        "x" * 200 + ".db",
        "file:x.db",
        ".db",
    ),
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_database_of_ours_is_read_under_any_name_and_not_changed(name, tmp_path, sound, monkeypatch):
    (tmp_path / name).write_bytes(sound)
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    code, out, err = in_process("list", f"--storage={name}")
    assert code == 0, err
    assert "first" in out
    assert snapshot(tmp_path) == before


def test_commands_that_look_change_nothing(tmp_path):
    run(new_study(tmp_path / "hpo.db"), 3)
    before = snapshot(tmp_path)
    for words in (["list"], ["show", "first"], ["trials", "first"], ["doctor"], ["doctor", "first", "--json"]):
        code, out, err = in_process(*words, "--storage", tmp_path / "hpo.db")
        assert code == 0, err
        assert "Traceback" not in out + err
        assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_missing_database_is_named_on_one_line_whatever_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = in_process("show", "first", f"--storage={name}")
    assert code == 4
    assert "there is no database" in err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert snapshot(tmp_path) == []


@pytest.mark.parametrize("name", [b"\xff.db", b"a\xe4\xf6.db"])
def test_a_name_that_is_no_text_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = in_process("list", f"--storage={os.fsdecode(name)}")
    assert code == 4
    assert "is not UTF-8" in err


# -- what this user may not do -------------------------------------------------------------------------------------------


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def no_more_than_an_owner() -> Iterator[None]:
    """Let file modes count for root too: without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, in this thread."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(0x20080522, 0), (_Sets * 2)()
    assert libc.capget(ctypes.byref(header), sets) == 0
    before = sets[0].effective
    sets[0].effective &= ~0b110
    assert libc.capset(ctypes.byref(header), sets) == 0
    try:
        yield
    finally:
        sets[0].effective = before
        assert libc.capset(ctypes.byref(header), sets) == 0


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities are Linux's")


@pytest.fixture
def forbidden(tmp_path, sound):
    """A database in a folder of its own; what its modes forbid is forbidden to us."""
    path = tmp_path / "folder" / "hpo.db"
    path.parent.mkdir()
    path.write_bytes(sound)
    for words in (["list"], ["report", "first"], ["doctor"]):  # so that nothing must be imported later
        in_process(*words, "--storage", path)
    with no_more_than_an_owner():
        yield path
    path.parent.chmod(0o755)


@linux
@pytest.mark.parametrize("place", ["file", "folder"])
def test_what_is_read_only_is_read_and_refused_to_runs_before_a_worker_starts(forbidden, place):
    (forbidden if place == "file" else forbidden.parent).chmod(0o444 if place == "file" else 0o555)
    before = snapshot(forbidden.parent)
    for words in (["list"], ["show", "first", "--format", "json"]):
        code, out, err = in_process(*words, "--storage", forbidden)
        assert (code, err) == (0, "")
        assert "first" in out
    for words in RUNNING:
        code, out, err = in_process(*words, "--storage", forbidden)
        assert code == 4
        assert f"{forbidden if place == 'file' else forbidden.parent} cannot be written by this user" in err
        assert err.count("\n") == 1
    assert snapshot(forbidden.parent) == before


@linux
def test_what_may_not_be_read_is_refused(forbidden):
    forbidden.chmod(0)
    for words in (*LOOKING, *RUNNING):
        code, out, err = in_process(*words, "--storage", forbidden)
        assert code == 4
        assert "Permission denied" in " ".join((out + err).split())
    assert forbidden.stat().st_mode & 0o777 == 0


@linux
def test_a_folder_that_may_not_be_entered_is_refused(forbidden):
    forbidden.parent.chmod(0)
    for words in (["list"], *RUNNING):
        code, _, err = in_process(*words, "--storage", forbidden)
        assert code == 4, err
        assert str(forbidden.parent) in err


# -- damage that is met later ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def damaged(sound) -> bytes:
    """The first page is whole, so that it is recognized; the pages of its trials are noise."""
    return sound[: 2 * 4096] + b"\xa5" * (len(sound) - 2 * 4096)


def test_damaged_pages_are_told_and_no_run_begins_on_them(damaged, tmp_path):
    path = tmp_path / "some.db"
    path.write_bytes(damaged)
    before = snapshot(tmp_path)
    for words in (["list"], ["show", "first"], ["doctor"], *RUNNING):
        code, out, err = in_process(*words, "--storage", path)
        assert code == 4, f"{words}: {out}{err}"
        assert "some.db" in out + err
        assert "Traceback" not in err
        assert snapshot(tmp_path) == before


def test_a_database_of_ours_without_studies_is_an_empty_list(tmp_path):
    path = tmp_path / "hpo.db"
    path.write_bytes(empty_database())
    code, out, err = in_process("list", "--storage", path)
    assert (code, out) == (0, "")
    assert "no studies yet" in err
