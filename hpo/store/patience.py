"""SQLite connections that wait up to a minute for a lock and warn after five seconds.

A reader such as the dashboard or a backup may hold the file for longer than SQLite's own five seconds, which wait in silence and
then are an error. Here a busy statement or commit is tried again for a minute (SQLite lets both be tried again), with a warning
after the first five seconds. It is logged: whoever shows a run passes it on, any other command's lands on standard error.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 5.0  # seconds of silence
LOCK_TIMEOUT = 60.0  # seconds in all

_logger = logging.getLogger(__name__)


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
