"""A download that breaks off is continued, where the server can, and is checked as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hpo.data.download import CHUNK, download
from hpo.errors import DataError

CONTENT = np.random.default_rng(0).bytes(3 * CHUNK + 5)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[str, list[str | None]]]]:
    """Serve `content`, of which each answer gives `most` bytes at most; return the address, and which ranges were asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def start(content: bytes = CONTENT, most: int = 1 << 30, *, ranges: bool = True) -> tuple[str, list[str | None]]:
        asked: list[str | None] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers["Range"]
                asked.append(wanted)
                first = int(wanted[6:-1]) if wanted and ranges else 0
                if first >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206 if first else 200)
                self.send_header("Content-Length", str(len(content) - first))
                self.end_headers()
                self.wfile.write(content[first : first + most])

            def log_message(self, *_: object) -> None:
                pass

        made = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        stack.callback(made.shutdown)
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{made.server_port}/file", asked

    with contextlib.ExitStack() as stack:
        yield start


def break_off(server: Callable[..., tuple[str, list[str | None]]], target: Path, content: bytes = CONTENT) -> None:
    """Leave the first two chunks and a half of a download."""
    with pytest.raises(DataError, match="the connection ended after"):
        download([server(content, 2 * CHUNK + CHUNK // 2)[0]], MD5, target, lambda *_: None)
    assert not target.exists()


def test_a_download_that_broke_off_goes_on_where_it_was(tmp_path: Path, server) -> None:
    target, said = tmp_path / "file", []
    break_off(server, target)
    url, asked = server()
    download([url], MD5, target, lambda _, done, total: said.append((done, total)))
    [wanted] = asked
    first = int(wanted[6:-1])
    assert first >= 2 * CHUNK
    assert (said[0], said[-1]) == ((first, len(CONTENT)), (len(CONTENT), len(CONTENT)))
    assert target.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_server_that_gives_no_parts_gives_all(tmp_path: Path, server) -> None:
    break_off(server, tmp_path / "file")
    download([server(ranges=False)[0]], MD5, tmp_path / "file", lambda *_: None)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_of_another_file_is_not_kept(tmp_path: Path, server) -> None:
    break_off(server, tmp_path / "file", bytes(len(CONTENT)))
    url, _ = server()
    with pytest.raises(DataError, match="MD5"):
        download([url], MD5, tmp_path / "file", lambda *_: None)
    assert list(tmp_path.iterdir()) == []
    download([url], MD5, tmp_path / "file", lambda *_: None)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_not_kept(tmp_path: Path, server) -> None:
    (tmp_path / ".file.part").write_bytes(CONTENT + b"more")
    download([server()[0]], MD5, tmp_path / "file", lambda *_: None)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_too_small_to_matter_is_not_kept(tmp_path: Path, server) -> None:
    with pytest.raises(DataError, match="the connection ended after"):
        download([server(most=1000)[0]], MD5, tmp_path / "file", lambda *_: None)
    assert list(tmp_path.iterdir()) == []
