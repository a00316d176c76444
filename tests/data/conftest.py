"""Small real data sets on disk, and a web server that misbehaves as told."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def grow_tree() -> Callable[..., Path]:
    """Write an image tree under a data folder and return the folder: `n` PNGs a class, train twice as many as test."""

    def grow(data_dir: Path, classes: tuple[str, ...] = ("cat", "dog", "frog"), n: int = 2) -> Path:
        random = np.random.default_rng(0)
        for split, count in (("train", 2 * n), ("test", n)):
            for name in classes:
                folder = data_dir / "cifar10" / split / name
                folder.mkdir(parents=True)
                for i in range(count):
                    pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{i:04}.png")
        return data_dir

    return grow


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Serve a file on loopback and return its address.

    `content` None hangs up at once; `length` announces another length; `hang` says nothing more after the content.
    """
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    over = threading.Event()

    def start(content: bytes | None, length: int | None = None, status: int = 200, *, hang: bool = False) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if content is not None:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content) if length is None else length))
                    self.end_headers()
                    self.wfile.write(content)
                if hang:
                    over.wait(20)

            def log_message(self, *_: object) -> None:
                pass

        server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/archive.tar.gz"

    with contextlib.ExitStack() as stack:
        yield start
        over.set()
