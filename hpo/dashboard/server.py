"""optuna-dashboard on this machine alone, and behind a gate (gate.py), since it has no login."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, BinaryIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.artifacts import FileSystemArtifactStore

from hpo.dashboard.gate import gate
from hpo.errors import StorageError
from hpo.store.database import open_database

if TYPE_CHECKING:
    from hpo.folders import Location

HOST = "127.0.0.1"


class _Threaded(ThreadingMixIn, WSGIServer):
    """One thread per request, since a browser sends many requests at the same time."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Do not log requests."""


def artifacts_folder(location: Location) -> Path:
    """Return the folder of a database's artifacts, common to all its studies."""
    return location.folder / "artifacts"


class _Store(FileSystemArtifactStore):
    """Creates its folder only when an artifact is stored, so that looking at a database leaves no folder behind."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        super().write(artifact_id, content_body)


@contextlib.contextmanager
def server(location: Location, port: int = 0) -> Iterator[WSGIServer]:
    """Yield the server, whose `serve_forever` is to be called.

    Args:
        location: The database; it must exist.
        port: 0 for a free one; it is then in the server's `server_port`.

    Raises:
        StorageError: The database cannot be used, or the port is taken.
    """
    from optuna_dashboard import wsgi

    app = wsgi(open_database(location).storage, artifact_store=_Store(artifacts_folder(location)))
    try:
        made = make_server(HOST, port, gate(app), _Threaded, _Silent)
    except OSError as error:
        raise StorageError(
            f"the dashboard cannot listen on {HOST}:{port}: {error.strerror}. Leave --port out for a free one."
        ) from None
    with made:
        yield made
