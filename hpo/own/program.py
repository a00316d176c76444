"""What workers load for any program: it runs, and its lines of JSON are a trial's epochs."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hpo.errors import StorageError
from hpo.messages import Epoch
from hpo.objective import TrialError
from hpo.own.command import CHECKPOINT, places_in, words_of
from hpo.own.log import open_log, path_of
from hpo.system.failpoints import reach
from hpo.system.files import refusal, write_atomically

if TYPE_CHECKING:
    from hpo.messages import Setup
    from hpo.objective import Begin, Telling
    from hpo.parameters import Value

_HISTORY, _OUTPUT = "epochs.json", "output"
_SOONEST, _LATEST = 0.002, 0.05  # seconds between two looks at the output
_CHUNK = 1 << 20  # bytes
_PATIENCE = 5.0  # seconds that a program has to end after SIGTERM
_LONGEST = 200  # characters of a program's last words that a reason keeps


def prepare(setup: Setup, _tell: Telling) -> tuple[dict[str, Any], Begin]:
    """Return the environment that all trials of this worker share, and what begins one."""
    words, key = words_of(setup.source), setup.score
    given = {"epochs": setup.settings.epochs, "device": setup.device}

    def begin(point: Mapping[str, Value], seed: int, folder: Path) -> Trial:
        return Trial(words, key, {**point, **given, "seed": seed}, folder)

    return {"command": setup.source, "device": setup.device, "python": platform.python_version()}, begin


class Trial:
    """One configuration, trained by a program.

    The program's standard output is a file, of which this reads on from where it was: a program that is ended between two epochs
    may have said more than was heard, and that is not lost.

    Attributes:
        measured: Nothing.
        history: Finished epochs, if the program keeps a checkpoint of its own.
        passed_over: A sentence where what it kept cannot be used.
        is_kept: Whether it goes on from where it was.
    """

    def __init__(self, words: list[str], key: str, values: Mapping[str, Any], folder: Path) -> None:
        self._key, self._epochs, self._folder = key, int(values["epochs"]), folder
        self.measured: Mapping[str, int | float] = {}
        self.history: list[Epoch] = []
        self.passed_over: list[str] = []
        self.is_kept = CHECKPOINT in places_in(words)
        self._words = [word.format(**values, checkpoint=folder / CHECKPOINT) for word in words]
        self._kept, self._heard = folder / _HISTORY, 0  # bytes of the output that were read
        if self.is_kept and self._kept.exists():
            try:
                self._heard, rows = json.loads(self._kept.read_text("utf-8"))
                self.history = [Epoch(*row) for row in rows]
            except (OSError, ValueError, TypeError):
                self.passed_over = [f"{self._kept} cannot be read.", "it starts from the beginning."]
        if not self.history:
            shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
            (folder / _OUTPUT).unlink(missing_ok=True)

    def epochs(self, tick: Callable[[int, float, float], None]) -> Iterator[Epoch]:
        """Let the program run, yielding each epoch that it prints.

        Raises:
            TrialError: It ended otherwise than with 0, or printed what is no epoch.
            StorageError: Log or folder cannot be written.
        """
        del tick
        try:
            (self._folder / CHECKPOINT).mkdir(parents=True, exist_ok=True)
            output = (self._folder / _OUTPUT).open("ab+", buffering=0)
        except OSError as error:
            raise StorageError(f"cannot write {self._folder}: {refusal(error, self._folder)}") from error
        with output, open_log(self._folder) as log:
            yield from self._told(self._left(output), log)
            if len(self.history) < self._epochs:
                with self._running(output, log) as process:
                    yield from self._told(self._lines(output, process), log)
                    self._end(process)
        if not self.history:
            raise TrialError("empty", f'the program ended without an epoch: it should print {{"epoch": 1, "{self._key}": 0.5}}.')

    def finish(self) -> Path | None:
        """Return what the program goes on from; None if it keeps nothing."""
        return self._kept if self.is_kept else None

    def _told(self, lines: Iterator[bytes], log: BinaryIO) -> Iterator[Epoch]:
        """Yield the epochs that lines tell of, until there are enough; what else they say goes into the log."""
        began = time.perf_counter()
        for line in lines:
            epoch = self._read(line, time.perf_counter() - began)
            if epoch is None:
                log.write(line)
            elif epoch.number > len(self.history):
                self._keep(epoch)
                began = time.perf_counter()
                yield epoch
                if epoch.number >= self._epochs:
                    return

    def _left(self, output: BinaryIO) -> Iterator[bytes]:
        """Yield what a program that was ended had said and nobody has heard; half a line is cut off."""
        said = os.pread(output.fileno(), os.fstat(output.fileno()).st_size, self._heard)
        whole = said[: said.rfind(b"\n") + 1]
        os.ftruncate(output.fileno(), self._heard + len(whole))
        for line in whole.splitlines(keepends=True):
            self._heard += len(line)
            yield line

    @contextlib.contextmanager
    def _running(self, output: BinaryIO, log: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
        try:
            process = subprocess.Popen(  # noqa: S603  # the user's own program
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
                preexec_fn=_dies_with_us if sys.platform == "linux" else None,  # noqa: PLW1509  # one call of the kernel
            )
        except OSError as error:
            raise TrialError("program", f"{self._words[0]} cannot be started: {error.strerror}.") from None
        try:
            yield process
        finally:
            _ended(process)

    def _lines(self, output: BinaryIO, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        """Yield the lines that were not heard yet, until the program has ended."""
        rest, pause = b"", _SOONEST
        while True:
            ended = process.poll() is not None
            said = os.pread(output.fileno(), _CHUNK, self._heard + len(rest))
            *lines, rest = (rest + said).splitlines(keepends=True) or [b""]
            if rest.endswith(b"\n") or (ended and not said and rest):
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._heard += len(line)
                yield line
            if said:
                pause = _SOONEST
            elif ended:
                return
            else:
                time.sleep(pause)
                pause = min(2 * pause, _LATEST)

    def _read(self, line: bytes, seconds: float) -> Epoch | None:
        """Return the epoch that a line tells of; None where it tells of none."""
        try:
            told = json.loads(line)
        except ValueError:
            return None
        if not isinstance(told, dict) or self._key not in told:
            return None
        numbers = {str(key): float(value) for key, value in told.items() if isinstance(value, int | float)}
        number, score = told.get("epoch", len(self.history) + 1), numbers.pop(self._key, None)
        if score is None or not isinstance(number, int) or not 1 <= number <= len(self.history) + 1:
            said = line.decode(errors="replace").strip()[:_LONGEST]
            raise TrialError("no epoch", f"after epoch {len(self.history)} came {said}")
        if not math.isfinite(score):
            raise TrialError("diverged", f"the {self._key} of epoch {number} is {score}.")
        numbers.pop("epoch", None)
        return Epoch(number, score, numbers.pop("seconds", seconds), numbers.pop("images_per_second", 0.0), numbers)

    def _keep(self, epoch: Epoch) -> None:
        self.history.append(epoch)
        reach("epoch.trained")
        if self.is_kept:
            try:
                write_atomically(self._kept, json.dumps([self._heard, self.history]).encode())
            except OSError as error:
                raise StorageError(f"cannot write {self._kept}: {refusal(error, self._kept)}") from error
        reach("epoch.saved")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of a program that has said all, and see whether it was a good one."""
        if len(self.history) >= self._epochs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            if process.returncode is None:
                return  # it does more than it was asked for
        code = process.wait()
        if code:
            how = f"ended with code {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
            raise TrialError("program", f"the program {how}{_last_words(self._folder)}")


def _last_words(folder: Path) -> str:
    lines = path_of(folder).read_text("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:_LONGEST]}" if lines else "."


def _ended(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _dies_with_us() -> None:
    """Ask the kernel to end this process when its worker dies, in whatever way."""
    if _libc is not None:
        _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
