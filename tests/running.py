"""The whole program: `python -m hpo` in a folder of its own, on digits, with networks that train in no time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import psutil

from hpo.store.database import locate
from hpo.store.reading.record import StudyRecord, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHORT = """
depth = { type = "int", low = 1, high = 2, default = 1 }
filters = { type = "int", low = 2, high = 6, default = 4 }
lr = { type = "float", low = 0.01, high = 0.5, log = true, default = 0.05 }
dropout = 0.1
stem = "none"
batch_size = 64
"""
LONG = """
lr = { type = "float", low = 0.01, high = 0.5, log = true, default = 0.05 }
filters = 96
batch_size = 50
"""
DIGITS = ("--dataset", "digits", "--limit-train", "200", "--limit-test", "100", "--no-report")


class Program:
    """A running command, with what it says in files.

    Args:
        words: The command line.
        folder: Where it runs.
        environment: On top of ours.
        signals: Called in the new process, to ignore some; else it obeys all.
    """

    def __init__(
        self,
        words: tuple[object, ...],
        folder: Path,
        environment: dict[str, str],
        signals: Callable[[], object] | None = None,
    ) -> None:
        name = f"{time.monotonic_ns()}"
        self._out, self._err = folder / "logs" / f"{name}.out", folder / "logs" / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            command = [sys.executable, *map(str, words)]
            environment, begin = os.environ | environment, signals or usual_signals
            self.process = subprocess.Popen(  # what begins sets signals, and takes no lock
                command,
                cwd=folder,
                env=environment,
                stdout=out,
                stderr=err,
                preexec_fn=begin,  # noqa: PLW1509
            )
        on_one_core(self.process.pid)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def says(self, text: str, seconds: float = 100) -> Program:
        """Wait until it has said something."""
        end = time.monotonic() + seconds
        while text not in self.err + self.out:
            assert self.process.poll() is None, f"ended without saying {text!r}: {self.err}"
            assert time.monotonic() < end, f"did not say {text!r}: {self.err}"
            time.sleep(0.01)
        return self

    def children(self) -> list[psutil.Process]:
        """Return its worker processes."""
        return psutil.Process(self.process.pid).children()

    def trains(self) -> Program:
        """Wait until its workers, which are ready, have used a second of CPU: they are in the middle of an epoch then."""
        self.says("epochs each at most")
        workers = self.children()
        before = [sum(process.cpu_times()[:2]) for process in workers]
        while any(sum(p.cpu_times()[:2]) < seconds + 1 for p, seconds in zip(workers, before, strict=True)):
            time.sleep(0.05)
        return self

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = 100) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(seconds)


class Hpo:
    """`python -m hpo` in a folder; whatever still runs at the end is killed."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        (folder / "logs").mkdir()
        (folder / "short.toml").write_text(SHORT)
        (folder / "long.toml").write_text(LONG)
        self._environment = {"HPO_CACHE_DIR": str(cache), "https_proxy": "http://127.0.0.1:9"}  # no network
        self._programs: list[Program] = []

    def start(self, *words: object, signals: Callable[[], object] | None = None, **environment: str) -> Program:
        """Start a command."""
        return self.start_python("-m", "hpo", *words, signals=signals, **environment)

    def start_python(self, *words: object, signals: Callable[[], object] | None = None, **environment: str) -> Program:
        self._programs.append(Program(words, self.folder, self._environment | environment, signals))
        return self._programs[-1]

    def shell(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a line of bash in which `hpo` is the command."""
        script = f'hpo() {{ "{sys.executable}" -m hpo "$@"; }}; {script}'
        environment = os.environ | self._environment | environment
        return subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=100
        )

    def on_terminal(self, *words: object, columns: int = 80, **environment: str) -> tuple[int, str]:
        """Run a command on a terminal of its own; return its exit code and what the terminal got."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        command = [sys.executable, "-m", "hpo", *map(str, words)]
        environment = {"TERM": "xterm-256color"} | os.environ | self._environment | environment
        environment.pop("COLUMNS", None)
        with subprocess.Popen(command, cwd=self.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            got = b""
            with contextlib.suppress(OSError):  # the terminal's end
                while part := os.read(ours, 1 << 16):
                    got += part
        os.close(ours)
        return process.returncode, got.decode()

    def __call__(self, *words: object) -> Program:
        """Run a command to its end."""
        program = self.start(*words)
        program.ended()
        return program

    def study(self, name: str, storage: str = "studies/hpo.db") -> StudyRecord:
        return load(name, locate(str(self.folder / storage)))

    def close(self) -> None:
        for program in self._programs:
            program.process.kill()
            program.process.wait()


def on_one_core(process: int = 0) -> None:
    """Keep a process on the core of these tests: a worker has one thread there, while two wait for each other on a busy machine.

    Tests that run beside these (`pytest -n 2`) have another core.
    """
    if hasattr(os, "sched_setaffinity"):
        cores, beside = sorted(os.sched_getaffinity(0)), os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        os.sched_setaffinity(process, {cores[int(beside) % len(cores)]})


def usual_signals() -> None:
    """Obey signals, even in tests that were started with `nohup` or in the background."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def left_over(processes: list[psutil.Process], seconds: float = 5) -> list[psutil.Process]:
    """Return which of the processes live on after some seconds; those that nobody buries are dead enough."""
    end = time.monotonic() + seconds
    while (living := [p for p in processes if _lives(p)]) and time.monotonic() < end:
        time.sleep(0.05)
    return living


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
