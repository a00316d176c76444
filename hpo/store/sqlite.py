"""SQLite files: what lies at a path is found out without changing a byte, and what is locked is waited for.

SQLite leaves files beside a database in WAL mode even if it only reads, rolls a crashed program's journal back when it may, and
waits for locks. So a file is opened read-only, and where that is not enough as one that nobody changes (`immutable`). What only
a WAL holds is read in a copy.

A reader such as the dashboard or a backup may hold a file for longer than SQLite's own five seconds, which wait in silence and
then are an error. Here a busy statement or commit is tried again for a minute (SQLite lets both be tried again), with a warning
after the first five seconds. It is logged: whoever shows a run passes it on, any other command's lands on standard error.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hpo.errors import SchemaError, StorageError
from hpo.folders import Location

PATIENCE = 5.0  # seconds of silence
LOCK_TIMEOUT = 60.0  # seconds in all

_logger = logging.getLogger(__name__)

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_MAGIC = b"SQLite format 3\0"
_WAL = 2  # in bytes 18 and 19 of the file
_ALEMBIC = "alembic_version"  # which Optuna has had since 1.0
_OLDEST = {"studies", "trials", "trial_params", "version_info"}
_TABLES = _OLDEST | {_ALEMBIC}
_TRIES = 3  # to copy a database while nobody writes it
_ANOTHER = "Name another with --storage."


class _Look(NamedTuple):
    """What a SQLite file holds."""

    tables: set[str]
    versions: list[str] | None  # of the schema, as many as there are; None if the tables have none of Optuna's columns


def recognize(path: Path) -> str:
    """Look at the file at `path`, which is there, and return the version of its schema.

    Raises:
        StorageError: It is not a database of Optuna's that we can use; says what it is.
    """
    head = _head(path)
    if head[:16] != _MAGIC:
        what = "is not a SQLite database, or an encrypted one" if head else "is empty (0 bytes)"
        raise StorageError(f"{path} {what}; hpo leaves it as it is. {_ANOTHER}")
    tables, versions = _look(path, wal=_WAL in head[18:20])
    if tables >= _OLDEST and _ALEMBIC not in tables and versions:
        raise older_optuna(Location(path, path))
    if not tables >= _TABLES or versions is None:
        shown = ", ".join(sorted(tables)[:3]) + (" …" if len(tables) > 3 else "")
        of = f"another program (tables: {shown})" if tables else "nobody yet (it has no tables)"
        raise StorageError(f"{path} is a SQLite database of {of}; hpo leaves it as it is. {_ANOTHER}")
    if len(versions) != 1:
        raise StorageError(f"{path} does not say which Optuna made it; hpo leaves it as it is. Restore a copy. {_ANOTHER}")
    return str(versions[0])


def older_optuna(location: Location) -> SchemaError:
    """Return the error for a database that Optuna can upgrade."""
    url = shlex.quote(location.url.set(query={}).render_as_string(hide_password=True))
    return SchemaError(f"{location} was made by an older Optuna.", f"copy it, then: optuna storage upgrade --storage {url}")


def problems(path: Path, *, quick: bool) -> list[str]:
    """Return what SQLite finds wrong in a file of ours, five things at most, after it undid what a crash left half done."""
    check = "quick_check" if quick else "integrity_check"
    try:
        with _opened(path, "mode=rw", timeout=LOCK_TIMEOUT) as connection:
            found = [str(row[0]) for row in connection.execute(f"PRAGMA {check}(5)")]
    except sqlite3.Error as error:
        found = [str(error)]
    return [] if found == ["ok"] else found


def recovery(path: Path) -> str:
    """Return the command that saves what can be read of a damaged file."""
    return f"sqlite3 {shlex.quote(str(path))} .recover | sqlite3 recovered.db"


def _head(path: Path) -> bytes:
    """Return a regular file's first bytes, as many as SQLite's header has."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise StorageError(
                f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a database. Name a file with --storage."
            )
        with path.open("rb") as file:
            return file.read(100)
    except FileNotFoundError:
        raise StorageError(f"{path} is a link to {path.readlink()}, which is not there. {_ANOTHER}") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from None


def _look(path: Path, *, wal: bool) -> _Look:
    found, problem = _Look(set(), None), ""
    for flags in ("mode=ro&immutable=1",) if wal else ("mode=ro", "mode=ro&immutable=1"):
        try:
            found, problem = _read(path, flags), ""
            break
        except sqlite3.Error as error:
            problem = str(error)
    log = path.with_name(path.name + "-wal")
    if wal and not found.tables >= _TABLES and (not found.tables or found.tables & _TABLES) and log.is_file():
        return _look_at_copy(path, log)
    if problem:
        raise StorageError(f"{path} is a damaged SQLite database ({problem}). Restore a copy, or name another with --storage.")
    return found


def _look_at_copy(path: Path, log: Path) -> _Look:
    """Read a database together with its log, which may hold all that there is."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(_TRIES):
            copy, before = Path(folder, "copy"), _stamp(path, log)
            try:
                shutil.copyfile(path, copy)
                shutil.copyfile(log, f"{copy}-wal")
                if before == _stamp(path, log):
                    return _read(copy, "mode=rw")
            except (OSError, sqlite3.Error):  # a log that came to its end meanwhile, a disk without room for a copy
                continue
    raise StorageError(
        f"{path} is in WAL mode, and another program is writing it. End that program, so that the log beside it is put into it. "
        f"{_ANOTHER}"
    )


def _stamp(*paths: Path) -> list[tuple[int, int]]:
    return [(found.st_size, found.st_mtime_ns) for found in (path.stat() for path in paths if path.exists())]


def _read(path: Path, flags: str) -> _Look:
    with _opened(path, flags, timeout=1) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return _Look(tables, _versions(connection, alembic=_ALEMBIC in tables) if tables >= _OLDEST else None)


def _versions(connection: sqlite3.Connection, *, alembic: bool) -> list[str] | None:
    """Return the schema's version as Optuna noted it, in as many rows as there are; Optuna would fill in what is missing."""
    query = "SELECT version_num FROM alembic_version, version_info" if alembic else "SELECT library_version FROM version_info"
    try:
        return [row[0] for row in connection.execute(query)]
    except sqlite3.OperationalError:
        return None


@contextlib.contextmanager
def _opened(path: Path, flags: str, timeout: float) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{flags}", uri=True, timeout=timeout)) as connection:
            yield connection
    except UnicodeDecodeError:  # Python cannot repeat what SQLite says of a damaged schema
        raise sqlite3.DatabaseError("malformed database schema") from None


class PatientConnection(sqlite3.Connection):
    """As sqlite3's, with patience; `timeout` is how long SQLite itself waits before it is asked again."""

    def __init__(self, database: str, timeout: float = PATIENCE, **options: Any) -> None:  # noqa: ANN401  # sqlite3's own
        super().__init__(database, timeout, **options)
        self.database = database

    def cursor(self, factory: Any = None) -> Any:  # noqa: ANN401
        """Return a cursor with patience."""
        return super().cursor(factory or _PatientCursor)

    def commit(self) -> None:
        """Commit."""
        self.patiently(super().commit)

    def patiently(self, call: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
        """Do what may find the database locked, again and again."""
        began, said = time.monotonic(), False
        while True:
            try:
                return call(*arguments)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() - began >= LOCK_TIMEOUT:
                    raise
            if not said and time.monotonic() - began >= PATIENCE:
                said = True
                _logger.warning(
                    "%s is locked by another program (a dashboard, a backup?). Waiting for it, a minute at most.", self.database
                )
            time.sleep(0.05)  # where SQLite refuses at once, since waiting would not help


class _PatientCursor(sqlite3.Cursor):
    connection: PatientConnection

    def execute(self, *arguments: Any) -> Any:  # noqa: ANN401
        return self.connection.patiently(super().execute, *arguments)

    def executemany(self, *arguments: Any) -> Any:  # noqa: ANN401
        return self.connection.patiently(super().executemany, *arguments)
