"""Open a database safely: looked at read-only before Optuna may touch it, made whole or not at all.

Optuna would add thirteen tables to somebody else's SQLite file, and several processes that open a new file at once crash each
other. So a SQLite file is recognized first, and a new one is built under a temporary name and linked into place.
Rollback journal and synchronous=FULL: SQLite before 3.51.3 can corrupt a WAL.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import sqlalchemy
from sqlalchemy import URL

from hpo.errors import StorageError
from hpo.files import beside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.storages import RDBStorage

DEFAULT = "studies/hpo.db"
LOCK_TIMEOUT = 60.0  # seconds; a reader such as the dashboard may hold the file for longer than SQLite's own five
_OPTUNA_TABLES = {"studies", "trials", "trial_params", "version_info", "alembic_version"}


@dataclass(frozen=True)
class Location:
    """Where a database is.

    Attributes:
        url: For SQLAlchemy; may hold a password: show `str(location)` instead.
        path: The SQLite file, or None for a server.
        folder: Where the checkpoints of its studies go.
    """

    url: URL
    path: Path | None
    folder: Path

    def __str__(self) -> str:
        return str(self.path) if self.path else self.url.set(query={}).render_as_string(hide_password=True)


def locate(text: str | None = None) -> Location:
    """Return the database that a path or URL names; else $HPO_STORAGE, else $OPTUNA_STORAGE, else studies/hpo.db.

    Raises:
        StorageError: A URL that cannot be read, or SQLite in memory.
    """
    text = text or os.environ.get("HPO_STORAGE") or os.environ.get("OPTUNA_STORAGE") or DEFAULT
    if "://" not in text:
        return _file(Path(text))
    try:
        url = sqlalchemy.make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise StorageError(
            "the storage URL cannot be read; write a path, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME."
        ) from None
    if url.get_backend_name() != "sqlite":
        name = "".join(c if c.isalnum() else "-" for c in f"{url.host}-{url.database}")
        return Location(url, None, Path("studies") / name)
    if not url.database or url.database == ":memory:":
        raise StorageError("a study in memory would be lost with the process; name a file: --storage studies/hpo.db")
    return _file(Path(url.database))


def _file(path: Path) -> Location:
    if not path.name:  # . and /, which are folders: whoever opens them says so
        return Location(URL.create("sqlite", database=str(path)), path, path)
    folder = path.with_suffix("") if path.suffix == ".db" else path.with_name(path.name + ".files")  # no two databases share one
    return Location(URL.create("sqlite", database=str(path)), path, folder)


def exists(location: Location) -> bool:
    """Whether there is something at the location; a server is taken to be there."""
    return location.path is None or os.path.lexists(location.path)  # Path.exists raises where a name is too long


def open_storage(location: Location, *, create: bool = False) -> RDBStorage:
    """Return Optuna's storage at a location.

    Args:
        location: From `locate`.
        create: Make a SQLite file that is missing, its folder too.

    Raises:
        StorageError: Missing, foreign, damaged, of another Optuna, or not accessible; nothing was changed.
    """
    if location.path is not None:
        if not exists(location):
            if not create:
                raise StorageError(f"there is no database {location.path} yet. `hpo run` makes one; --storage names another.")
            _make(location.path)
        recognize(location.path)
    with guarded(location):
        return _connect(location.url, make_tables=location.path is None and create)


def recognize(path: Path) -> None:
    """Look at a SQLite file without changing a byte.

    Raises:
        StorageError: It is not a database of Optuna's that we can use; says what it is.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise StorageError(f"{path} is {kind}, not a database. Name a file: --storage {DEFAULT}")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from None
    if head != b"SQLite format 3\0":
        what = "is empty (0 bytes)" if not head else "is not a SQLite database"
        raise StorageError(f"{path} {what}; hpo leaves it as it is. Name another: --storage {DEFAULT}")
    tables = _tables(path)
    if not tables >= _OPTUNA_TABLES:
        of = "another program" if tables else "nobody yet (it has no tables)"
        raise StorageError(f"{path} is a SQLite database of {of}; hpo leaves it as it is. Name another: --storage {DEFAULT}")
    if not os.access(path, os.R_OK):
        raise StorageError(f"{path} cannot be read by this user.")


def _tables(path: Path) -> set[str]:
    """Return the names of a SQLite file's tables; a journal left by a crash is ignored if it cannot be rolled back read-only."""
    problem = ""
    for flags in ("mode=ro", "mode=ro&immutable=1"):
        uri = f"{path.absolute().as_uri()}?{flags}"
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=LOCK_TIMEOUT)) as connection:
                return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.Error as error:
            problem = str(error)
    raise StorageError(f"{path} is a damaged SQLite database ({problem}). Restore a copy, or name another: --storage {DEFAULT}")


def _make(path: Path) -> None:
    """Build an empty database under a temporary name and link it into place, so that it is there whole or not at all."""
    temporary = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        storage = _connect(URL.create("sqlite", database=str(temporary)), make_tables=True)
        storage.engine.dispose()
        _put(temporary, path)
    except OSError as error:
        raise StorageError(f"the database {path} cannot be made: {error.filename}: {error.strerror}.") from None
    except sqlalchemy.exc.DBAPIError as error:
        raise StorageError(f"the database {path} cannot be made: {error.orig}.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _put(temporary: Path, path: Path) -> None:
    """Give a new file its name, unless another process was quicker: then that file is used."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links, such as exFAT
        if not path.exists():
            temporary.replace(path)


def _connect(url: URL, *, make_tables: bool) -> RDBStorage:
    sqlite = url.get_backend_name() == "sqlite"
    storage = optuna.storages.RDBStorage(
        url.render_as_string(hide_password=False),
        engine_kwargs={"connect_args": {"timeout": LOCK_TIMEOUT}} if sqlite else {"pool_pre_ping": True},
        skip_table_creation=not make_tables,
    )
    if sqlite:
        sqlalchemy.event.listen(storage.engine, "connect", _durable)
        storage.engine.dispose()
    return storage


def _durable(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous = FULL")


@contextlib.contextmanager
def guarded(location: Location) -> Iterator[None]:
    """Turn what Optuna and SQLAlchemy raise into a StorageError without credentials."""
    try:
        yield
    except optuna.exceptions.StorageInternalError as error:
        cause = error.__cause__.orig if isinstance(error.__cause__, sqlalchemy.exc.DBAPIError) else error.__cause__
        raise StorageError(f"the database {location} refuses: {cause}.") from None
    except sqlalchemy.exc.DBAPIError as error:
        raise StorageError(f"the database {location} refuses: {error.orig}.") from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise StorageError(f"the database {location} refuses: {type(error).__name__}.") from None
    except (RuntimeError, ImportError) as error:
        first = str(error).splitlines()[0]
        raise StorageError(
            f"the database {location} was made by another version of Optuna, or its driver is missing: {first}"
        ) from None
