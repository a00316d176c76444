"""Many pictures, decoded by all cores into one file; what is decoded is kept when the process is killed.

Each core has a child process that reads requests from its standard input and writes pixels directly into the file: memory stays
flat, and children end with their parent. A picture that ends its child, in whatever library, is listed as broken.
`multiprocessing` would import the program's main module again, which is not ours.
"""

from __future__ import annotations

import contextlib
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

from hpo.data.pictures.listing import Broken
from hpo.data.pictures.picture import Unusable, decode, sides
from hpo.errors import DataError
from hpo.system.children import python

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    from hpo.data.arrays import OnProgress, Pixels

PART = 32  # pictures per request
ALONE = 256  # fewer pictures than this are decoded here: children take 0.3 s to start
SAVE = 1.0  # seconds between two notes of what is decoded
TOLD = 0.1  # seconds between two messages about the progress
PIXELS, JOURNAL = "pixels.bin", "decoded.jsonl"

Row = list[Any]  # of a picture: [digest, width, height], or [None, why]


@dataclass(frozen=True)
class Work:
    """What is to be made of the pictures below a folder.

    Attributes:
        root: The folder.
        size: Edge of the results, pixels; 0: only the pictures' own sides are read.
        fit: As in picture.py.
        exact: Likewise.
        target: The file that pixels are written into, (N, size, size, 3) uint8.
    """

    root: str
    size: int = 0
    fit: str = "crop"
    exact: bool = False
    target: str = ""

    def do(self, first: int, names: Sequence[str]) -> list[Row]:
        """Decode pictures; `first` is the position of the first one."""
        if not self.size:
            return [self._row(first + i, name, None) for i, name in enumerate(names)]
        with open(self.target, "r+b", buffering=0) as file:  # noqa: PTH123
            return [self._row(first + i, name, file) for i, name in enumerate(names)]

    def _row(self, position: int, name: str, file: IO[bytes] | None) -> Row:
        path = Path(self.root, name)
        try:
            if file is None:
                return ["", *sides(path)]
            pixels, *told = decode(path, self.size, self.fit, exact=self.exact)
        except Unusable as error:
            return [None, str(error)]
        file.seek(position * pixels.nbytes)
        file.write(np.ascontiguousarray(pixels).data)
        return told


@dataclass(frozen=True)
class Decoded:
    """Decoded pictures.

    Attributes:
        pixels: (N, size, size, 3) uint8, mapped; zeros where a picture is broken.
        digests: Of each picture's pixels, as it is stored; empty where it is broken.
        broken: What could not be used.
    """

    pixels: Pixels
    digests: list[str]
    broken: list[Broken]


def decode_all(work: Work, names: Sequence[str], folder: Path, progress: OnProgress) -> Decoded:
    """Decode all pictures, continuing what a killed process has begun in `folder`.

    Args:
        work: What to do; its target is chosen here.
        names: Paths below the root.
        folder: For pixels and notes; the caller gives another one for other pictures.
        progress: Called a few times per second.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / PIXELS
    shape = (len(names), work.size, work.size, 3)
    n_bytes = int(np.prod(shape))
    rows: list[Row | None] = [None] * len(names)
    if target.exists() and target.stat().st_size == n_bytes:
        rows = read_journal(folder, len(names))
    else:
        (folder / JOURNAL).unlink(missing_ok=True)
        with target.open("wb") as file:
            file.truncate(n_bytes)
    what = f"decoding images to {work.size}x{work.size}"
    work = Work(work.root, work.size, work.fit, work.exact, str(target))
    with target.open("r+b") as pixels, (folder / JOURNAL).open("a", encoding="utf-8") as journal:
        notes: list[str] = []
        saved = time.monotonic()
        for first, part in _each(work, names, rows, what, progress):
            notes.append(json.dumps([first, part]) + "\n")
            if time.monotonic() - saved > SAVE:
                _save(pixels, journal, notes)
                saved = time.monotonic()
        _save(pixels, journal, notes)
    whole = [row or [None, "was not decoded"] for row in rows]
    broken = [Broken(name, row[1]) for name, row in zip(names, whole, strict=True) if row[0] is None]
    return Decoded(np.memmap(target, np.uint8, "r", shape=shape), [row[0] or "" for row in whole], broken)


def short_sides(root: str, names: Sequence[str], progress: OnProgress) -> list[int]:
    """Return the short side of each picture that can be opened, pixels."""
    rows: list[Row | None] = [None] * len(names)
    for _ in _each(Work(root), names, rows, "looking at the images' sizes", progress):
        pass
    return [min(row[1:]) for row in rows if row and row[0] is not None]


def _save(pixels: IO[bytes], journal: IO[str], notes: list[str]) -> None:
    """Note what is decoded, once its pixels are on the disk."""
    os.fsync(pixels.fileno())
    journal.write("".join(notes))
    journal.flush()
    os.fsync(journal.fileno())
    notes.clear()


def read_journal(folder: Path, n: int) -> list[Row | None]:
    """Return what is noted of each of `n` pictures; None of those that are not decoded yet."""
    rows: list[Row | None] = [None] * n
    with contextlib.suppress(OSError, ValueError, TypeError):  # the last line may be half of one
        for line in (folder / JOURNAL).read_text(encoding="utf-8").splitlines():
            first, part = json.loads(line)
            rows[first : first + len(part)] = part
    return rows


def _each(
    work: Work, names: Sequence[str], rows: list[Row | None], what: str, progress: OnProgress
) -> Iterator[tuple[int, list[Row]]]:
    """Do what is not done yet, fill `rows`, and yield each finished part with the position of its first picture."""
    parts = [first for first in range(0, len(names), PART) if None in rows[first : first + PART]]
    done = len(names) - sum(len(names[first : first + PART]) for first in parts)
    told = 0.0
    progress(what, done, len(names))
    doers = _Children(work, len(parts)) if len(parts) * PART >= ALONE else _Here(work)
    with contextlib.closing(doers):
        for first, part in doers.do([(first, names[first : first + PART]) for first in parts]):
            rows[first : first + len(part)] = part
            done += len(part)
            if time.monotonic() - told > TOLD or done == len(names):
                told = time.monotonic()
                progress(what, done, len(names))
            yield first, part


class _Doers(Protocol):
    def do(self, parts: Sequence[tuple[int, Sequence[str]]]) -> Iterator[tuple[int, list[Row]]]: ...

    def close(self) -> None: ...


class _Here:
    """Decodes in this process."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def do(self, parts: Sequence[tuple[int, Sequence[str]]]) -> Iterator[tuple[int, list[Row]]]:
        for first, names in parts:
            yield first, self._work.do(first, names)

    def close(self) -> None:
        pass


class _Children:
    """Decodes in one process per core; a thread each talks to it."""

    def __init__(self, work: Work, most: int) -> None:
        self._work = work
        self._n = max(1, min(most, n_cores()))
        self._todo: queue.SimpleQueue[tuple[int, Sequence[str]] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, list[Row]] | Exception] = queue.SimpleQueue()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._closed = False

    def do(self, parts: Sequence[tuple[int, Sequence[str]]]) -> Iterator[tuple[int, list[Row]]]:
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
                first, names = part
                rows = self._ask(seat, first, names)
                if rows is None:  # it died: one after the other, who kills the next one is broken
                    rows = [row for i, name in enumerate(names) for row in self._ask(seat, first + i, [name]) or [_DEADLY]]
                self._done.put((first, rows))
        except Exception as error:  # noqa: BLE001  # for whoever waits
            self._done.put(error)
        finally:
            if process := self._processes.pop(seat, None):
                _end(process)

    def _ask(self, seat: int, first: int, names: Sequence[str]) -> list[Row] | None:
        """Return a child's answer; None if it died over it."""
        process = self._processes.get(seat)
        if process is None:
            process = self._processes[seat] = self._born()
        stdin, stdout = process.stdin, process.stdout
        with contextlib.suppress(OSError):
            stdin.write(json.dumps([first, list(names)]).encode() + b"\n")  # type: ignore[union-attr]  # pipes were asked for
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
            python("from hpo.data.pictures import decoding; decoding.child()"),
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
