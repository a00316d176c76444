"""Pictures, opened or decoded by all cores.

Each core has a child process that reads requests from its standard input and writes pixels directly into a file: memory stays
flat, and children end with their parent. A picture that ends its child, in whatever library, is listed as broken.
`multiprocessing` would import the program's main module again, which is not ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hpo.data.pictures.picture import Unusable, content_of, decode, sides
from hpo.errors import DataError
from hpo.system.children import python

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    from hpo.data.arrays import OnProgress

PART = 32  # pictures per request
ALONE = 256  # fewer pictures than this are decoded here: children take 0.3 s to start
TOLD = 0.1  # seconds between two messages about the progress

Row = list[Any]  # of a picture: [digest, width, height], or [None, why]
Part = tuple[list[int], list[str]]  # pictures that are asked for at once: positions, and paths below the root


@dataclass(frozen=True)
class Work:
    """What is to be done with the pictures below a folder.

    Attributes:
        root: The folder.
        size: Edge of the results, pixels; 0: pictures are only looked at, and their digest is that of their file.
        fit: As in picture.py.
        exact: Likewise.
        target: The file that pixels are written into, (N, size, size, 3) uint8.
    """

    root: str
    size: int = 0
    fit: str = "crop"
    exact: bool = False
    target: str = ""

    def do(self, positions: Sequence[int], names: Sequence[str]) -> list[Row]:
        """Do it with the pictures at these positions, which have these names."""
        if not self.size:
            return [_look(Path(self.root, name)) for name in names]
        with open(self.target, "r+b", buffering=0) as file:  # noqa: PTH123
            return [self._decode(position, name, file) for position, name in zip(positions, names, strict=True)]

    def _decode(self, position: int, name: str, file: IO[bytes]) -> Row:
        try:
            pixels, *told = decode(Path(self.root, name), self.size, self.fit, exact=self.exact)
        except Unusable as error:
            return [None, str(error)]
        file.seek(position * pixels.nbytes)
        file.write(np.ascontiguousarray(pixels).data)
        return told


def _look(path: Path) -> Row:
    """Return what a file's beginning says of the picture; width 0 where it cannot be told."""
    try:
        content = content_of(path)
    except Unusable as error:
        return [None, str(error)]
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    try:
        return [digest, *sides(content)]
    except Unusable:
        return [digest, 0, 0]


def each(work: Work, names: Sequence[str], rows: list[Row | None], what: str, progress: OnProgress) -> Iterator[list[int]]:
    """Do what is not done yet, fill `rows`, and yield the positions of each finished part.

    Args:
        work: What to do.
        names: Of all pictures.
        rows: By picture, None where it is not done.
        what: The name of the step.
        progress: Called a few times per second.
    """
    left = [position for position, row in enumerate(rows) if row is None]
    done, told = len(names) - len(left), 0.0
    progress(what, done, len(names))
    cut = [left[first : first + PART] for first in range(0, len(left), PART)]
    doers = _Children(work, len(cut)) if len(left) >= ALONE else _Here(work)
    with contextlib.closing(doers):
        for positions, found in doers.do([(positions, [names[position] for position in positions]) for positions in cut]):
            for position, row in zip(positions, found, strict=True):
                rows[position] = row
            done += len(positions)
            if time.monotonic() - told > TOLD or done == len(names):
                told = time.monotonic()
                progress(what, done, len(names))
            yield positions


class _Doers(Protocol):
    def do(self, parts: Sequence[Part]) -> Iterator[tuple[list[int], list[Row]]]: ...

    def close(self) -> None: ...


class _Here:
    """Decodes in this process."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def do(self, parts: Sequence[Part]) -> Iterator[tuple[list[int], list[Row]]]:
        for positions, names in parts:
            yield positions, self._work.do(positions, names)

    def close(self) -> None:
        pass


class _Children:
    """Decodes in one process per core; a thread each talks to it."""

    def __init__(self, work: Work, most: int) -> None:
        self._work = work
        self._n = max(1, min(most, n_cores()))
        self._todo: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[list[int], list[Row]] | Exception] = queue.SimpleQueue()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._closed = False

    def do(self, parts: Sequence[Part]) -> Iterator[tuple[list[int], list[Row]]]:
        for part in [*parts, *[None] * self._n]:
            self._todo.put(part)
        for seat in range(self._n):
            threading.Thread(target=self._serve, args=(seat,), name=f"decoder-{seat}", daemon=True).start()
        for _ in parts:
            found = self._done.get()
            if isinstance(found, Exception):
                raise found
            yield found

    def close(self) -> None:
        """End the children; what they have in hand is lost."""
        self._closed = True
        for process in list(self._processes.values()):
            process.kill()

    def _serve(self, seat: int) -> None:
        try:
            while (part := self._todo.get()) is not None and not self._closed:
                rows = self._ask(seat, part)
                if rows is None:  # it died: one after the other, who kills the next one is broken
                    alone = [([position], [name]) for position, name in zip(*part, strict=True)]
                    rows = [row for one in alone for row in self._ask(seat, one) or [_DEADLY]]
                self._done.put((part[0], rows))
        except Exception as error:  # noqa: BLE001  # for whoever waits
            self._done.put(error)
        finally:
            if process := self._processes.pop(seat, None):
                _end(process)

    def _ask(self, seat: int, part: Part) -> list[Row] | None:
        """Return a child's answer; None if it died over it."""
        process = self._processes.get(seat)
        if process is None:
            process = self._processes[seat] = self._born()
        stdin, stdout = process.stdin, process.stdout
        with contextlib.suppress(OSError):
            stdin.write(json.dumps(part).encode() + b"\n")  # type: ignore[union-attr]  # pipes were asked for
            stdin.flush()  # type: ignore[union-attr]
            if (line := stdout.readline()).endswith(b"\n"):  # type: ignore[union-attr]
                answer: list[Row] | dict[str, str] = json.loads(line)
                if isinstance(answer, dict):
                    raise DataError(answer["error"])
                return answer
        _end(self._processes.pop(seat))
        return None

    def _born(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603  # our own module
            python("from hpo.data.pictures import cores; cores.child()"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what C libraries complain of
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"},
            start_new_session=True,  # a terminal's Ctrl-C is the parent's
        )
        process.stdin.write(json.dumps(vars(self._work)).encode() + b"\n")  # type: ignore[union-attr]
        return process


_DEADLY: Row = [None, "cannot be read as an image: the process that decoded it died (a damaged file, or too little memory)"]


def child() -> None:
    """Answer requests until standard input ends."""
    lines = sys.stdin.buffer
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    work = Work(**json.loads(lines.readline()))
    for line in lines:
        try:
            answer: list[Row] | dict[str, str] = work.do(*json.loads(line))
        except OSError as error:
            answer = {"error": f"decoded images cannot be written: {error}."}
        sink.write(json.dumps(answer).encode() + b"\n")
        sink.flush()


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()  # type: ignore[union-attr]
