"""Open databases safely: each is first inspected read-only, and a new one appears complete or not at all.

Optuna would add thirteen tables to somebody else's SQLite file, and several processes that open a new file at once crash each
other. So a SQLite file is recognized first, and a new one is built under a temporary name and linked into place.
Rollback journal and synchronous=FULL: SQLite before 3.51.3 can corrupt a WAL.

Whoever reads a SQLite file waits for neither SQLAlchemy nor Optuna: both are imported where they are needed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import SchemaError, StorageError
from hpo.folders import Location
from hpo.store.schema import NOT_FOUND, VERSION
from hpo.store.sqlite import LOCK_TIMEOUT, PATIENCE, PatientConnection, older_optuna, recognize
from hpo.system.failpoints import reach
from hpo.system.files import GONE, beside, expanded, refusal

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import URL
    from sqlalchemy.engine import Engine

    Ask = Callable[[str, Mapping[str, object]], Any]  # returns a cursor

DEFAULT = "studies/hpo.db"
_PACKAGES = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}  # what to install for a module that is missing
_READABLE = "write a path, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"


def locate(text: str | None = None) -> Location:
    """Return the database that a path or URL names; else $HPO_STORAGE, else $OPTUNA_STORAGE, else studies/hpo.db.

    Raises:
        StorageError: A URL that cannot be read, or SQLite in memory.
    """
    text = text or os.environ.get("HPO_STORAGE") or os.environ.get("OPTUNA_STORAGE") or DEFAULT
    if "://" not in text:
        return _file(expanded(text))
    import sqlalchemy

    try:
        url = sqlalchemy.make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise StorageError(f"the storage URL cannot be read; {_READABLE}.") from None
    if url.get_backend_name() != "sqlite":
        if "@" in f"{url.host}{url.database}":  # of the password: what follows it would be shown
            raise StorageError(f"the storage URL cannot be read: write @ in a password as %40, / as %2F; {_READABLE}.")
        name = "".join(c if c.isalnum() else "-" for c in f"{url.host}-{url.database}")
        return Location(None, Path("studies") / name, text)
    if not url.database or url.database == ":memory:":
        raise StorageError("a study in memory would be lost with the process; name a file: --storage studies/hpo.db")
    return _file(expanded(url.database))


def _file(path: Path) -> Location:
    try:
        named = b"\0" not in str(path.absolute()).encode()
    except FileNotFoundError:
        raise StorageError(GONE) from None
    except UnicodeEncodeError:  # bytes that are no UTF-8; neither URLs nor messages to workers hold them
        named = False
    if not named:
        raise StorageError(f"the path {str(path)!r} is not UTF-8; name a database whose path is: --storage {DEFAULT}")
    if not path.name:  # . and /, which are folders: whoever opens them says so
        return Location(path, path)
    folder = path.with_suffix("") if path.suffix == ".db" else path.with_name(path.name + ".files")  # no two databases share one
    return Location(path, folder)


def exists(location: Location) -> bool:
    """Whether there is something at the location; a server is taken to be there."""
    return location.path is None or os.path.lexists(location.path)  # Path.exists raises where a name is too long


@dataclass(frozen=True)
class Database:
    """A database that is there and that we can use, from `open_database`. No connection stays open but Optuna's."""

    location: Location

    @contextlib.contextmanager
    def reading(self) -> Iterator[Ask]:
        """Yield what answers questions in SQL, with a cursor; values stand in it as `:name`. Nothing is changed."""
        with guarded(self.location):
            if self.location.path is None:
                import sqlalchemy

                with self.engine.connect() as connection:
                    yield lambda statement, values: connection.execute(sqlalchemy.text(statement), values)
            else:
                with contextlib.closing(PatientConnection(str(self.location.path.absolute()))) as file:
                    yield file.execute

    @cached_property
    def engine(self) -> Engine:
        """A way to write without Optuna."""
        import sqlalchemy

        url = self.location.url
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, **_options(url))
        if self.location.path is not None:
            sqlalchemy.event.listen(engine, "connect", _durable)
        return engine

    @cached_property
    def storage(self) -> RDBStorage:
        """Optuna's own.

        Raises:
            StorageError: Optuna cannot use the database.
        """
        return _storage(self.location, make_tables=False)

    @property
    def version(self) -> str:
        """Of the schema, as Optuna noted it; empty where a server has none."""
        if self.location.path is not None:
            return recognize(self.location.path)
        import sqlalchemy

        with guarded(self.location), self.engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("alembic_version"):
                return ""
            return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())


def open_database(location: Location, *, create: bool = False) -> Database:
    """Return the database at a location.

    Args:
        location: From `locate`.
        create: Make a SQLite file that is missing, its folder too, or a server's tables.

    Raises:
        StorageError: Missing, foreign, damaged, of another Optuna, or not accessible; nothing was changed.
    """
    if location.path is not None and not exists(location):
        if not create:
            raise StorageError(f"there is no database {location} yet. Create one with hpo run, or name another with --storage.")
        with guarded(location):
            _make(location.path)
    found = Database(location)
    with guarded(location), _readable(location):
        if found.version != VERSION:
            _storage(location, make_tables=create)
    return found


def _storage(location: Location, *, make_tables: bool) -> RDBStorage:
    """Return Optuna's storage; if it cannot use the database, Optuna says what that is."""
    with guarded(location), _readable(location):
        try:
            return _connect(location.url, make_tables=make_tables and location.path is None)
        except RuntimeError as error:  # Optuna compares the schema's version with its own
            if "storage upgrade" in str(error):
                raise older_optuna(location) from None
            from optuna import __version__

            found = f"{location} was made by a newer Optuna than this, {__version__}."
            raise SchemaError(found, "update it: pip install -U optuna") from None


@contextlib.contextmanager
def _readable(location: Location) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise StorageError(f"{location} is damaged: it holds texts that are none. Restore a copy.") from None
    except ImportError as error:
        module = getattr(error.__cause__ or error, "name", None) or location.url.drivername
        raise StorageError(
            f"{location} needs the Python module {module}, which is not here: pip install {_PACKAGES.get(module, module)}"
        ) from None


def _make(path: Path) -> None:
    """Build an empty database under a temporary name and link it into place, so that it is there whole or not at all."""
    temporary = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)  # SQLite would let nobody but its owner write it, whatever the umask says
        storage = _connect(Location(temporary, temporary).url, make_tables=True)
        storage.engine.dispose()
        reach("database.made")
        _put(temporary, path)
        reach("database.placed")
    except OSError as error:
        raise StorageError(f"the database {path} cannot be made: {error.filename}: {refusal(error, path)}") from None
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
    import optuna
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would tell of every study and trial on standard error
    storage = optuna.storages.RDBStorage(
        url.render_as_string(hide_password=False), engine_kwargs=_options(url), skip_table_creation=not make_tables
    )
    if url.get_backend_name() == "sqlite":
        sqlalchemy.event.listen(storage.engine, "connect", _durable)
        storage.engine.dispose()
    return storage


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"factory": PatientConnection, "timeout": PATIENCE}}
    return {"pool_pre_ping": True}


def _durable(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous = FULL")


@contextlib.contextmanager
def guarded(location: Location) -> Iterator[None]:
    """Turn what SQLite, SQLAlchemy and Optuna raise into a StorageError without credentials."""
    try:
        yield
    except sqlite3.Error as error:
        raise _refusal(location, error) from None
    except KeyError as error:
        if error.args != (NOT_FOUND,):
            raise
        raise StorageError(f"another program has removed what is being worked on from {location}.") from None
    except _known("sqlalchemy.exc", "NoSuchModuleError"):
        raise StorageError(f"there is no kind of database {location.url.drivername!r}; {_READABLE}.") from None
    except _known("sqlalchemy.exc", "SQLAlchemyError") as error:
        raise _refusal(location, getattr(error, "orig", None) or type(error).__name__) from None
    except _known("optuna.exceptions", "StorageInternalError") as error:
        raise _refusal(location, getattr(error.__cause__, "orig", error.__cause__)) from None


def _known(module: str, name: str) -> tuple[type[Exception], ...]:
    """An exception of a library; nothing while nobody uses the library."""
    found = sys.modules.get(module)
    return (getattr(found, name),) if found else ()


def _refusal(location: Location, cause: object) -> StorageError:
    text = f"the database {location} refuses: {cause}"
    if location.path and "is full" in text:
        free = shutil.disk_usage(location.path.parent).free
        return StorageError(f"{text}: {free:,} bytes are free in {location.path.parent}. Make space, then run the same command.")
    if location.path and "is locked" in text:
        return StorageError(
            f"the database {location} was locked by another program for {LOCK_TIMEOUT:.0f} seconds. "
            "End what holds it (a dashboard, a backup?), then run the same command: what was finished is kept."
        )
    secrets = () if location.path else (location.url.password, *location.url.query.values())
    for secret in secrets:  # drivers are not asked to quote them
        text = text.replace(str(secret), "***") if secret else text
    return StorageError(" ".join(text.split()) + ".")
