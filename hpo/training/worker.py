"""The worker process: reads Setup and Jobs from standard input, trains, writes messages to standard output.

    python -m hpo.training.worker

What it trains is the objective's business: Setup names the module to load, whose `prepare` returns what begins a trial.
It ends when its input ends, even in the middle of a batch: a thread waits for that, so that no worker outlives the runner.
Standard output carries only messages; other output to it is redirected to standard error.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import threading
import traceback
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

from hpo.errors import HpoError, StorageError, UsageError
from hpo.messages import (
    CannotWork,
    EpochDone,
    Job,
    Progress,
    Ready,
    Setup,
    Started,
    Tick,
    TrialDone,
    TrialFailed,
    Verdict,
    read_job_side,
)
from hpo.objective import Asking, TrialError

if TYPE_CHECKING:
    from hpo.messages import FromWorker, ToWorker
    from hpo.objective import Begin


class Line:
    """The conversation with the runner."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._inbox: queue.Queue[ToWorker] = queue.Queue()
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    def _listen(self) -> None:
        code = 1
        try:
            for line in self._source:
                self._inbox.put(read_job_side(line))
            code = 0
        except ValueError:  # not a message: a runner of another version
            traceback.print_exc()
        finally:
            os._exit(code)  # the runner has ended: the results would reach nobody

    def receive(self) -> ToWorker:
        """Wait for the next message and return it."""
        return self._inbox.get()

    def send(self, message: FromWorker) -> None:
        """Send a message to the runner."""
        try:
            self._sink.write(message.line())
            self._sink.flush()
        except OSError:
            os._exit(0)  # as in _listen

    def ask(self, message: FromWorker) -> ToWorker:
        """Send a message to the runner, and return its answer."""
        self.send(message)
        return self.receive()

    def tell(self, what: str, done: int, total: int) -> None:
        """Tell how far a step of the set-up is; `total` 0 if that is unknown."""
        self.send(Progress(what=what, done=done, total=total))


def main() -> None:
    """Work for one runner until it closes the connection."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM", "SIGUSR1"):  # sent to all processes, for the runner to handle
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # Copies of both: a thread that waits for sys.stdin itself would abort the interpreter's exit.
    line = Line(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    setup = line.receive()
    if not isinstance(setup, Setup):
        raise TypeError(f"expected Setup, got {setup!r}")
    gc.disable()  # what the imports of an objective make is no garbage: to look for some took a seventh of a worker's start
    try:
        environment, begin = _loaded(setup.objective).prepare(setup, line.tell)
    except HpoError as error:
        line.send(CannotWork(error=type(error).__name__, message=str(error)))
        return
    gc.freeze()
    gc.enable()
    line.send(Ready(environment=environment))
    while True:
        job = line.receive()
        if isinstance(job, Job):
            serve(job, begin, line)


def _loaded(module: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses another
        raise UsageError(f"workers cannot find the objective's module {module!r}. Put its folder on PYTHONPATH.") from None


def serve(job: Job, begin: Begin, line: Line) -> None:
    """Train one job to its end, or to the epoch after which the runner stops it."""
    try:
        _train(job, begin, line)
    except TrialError as error:
        line.send(TrialFailed(trial=job.trial, cause=error.cause, reason=str(error)))
    except StorageError as error:  # not the trial's fault: the run ends, and the trial can be continued later
        line.send(CannotWork(error=type(error).__name__, message=str(error)))
    except HpoError as error:
        line.send(TrialFailed(trial=job.trial, cause=type(error).__name__, reason=str(error)))
    except Exception as error:  # noqa: BLE001  # a bug fails this trial, with the reason, and not the study
        traceback.print_exc()
        line.send(TrialFailed(trial=job.trial, cause=type(error).__name__, reason=f"{type(error).__name__}: {error}"[:500]))


def _train(job: Job, begin: Begin, line: Line) -> None:
    trial = begin(job.point, job.seed, job.folder)
    if isinstance(trial, Asking):
        line.send(Started(trial=job.trial))
        if _goes_on(job, line) and (end := trial.hold(job.trial, line.ask)):
            line.send(end)
        return
    line.send(
        Started(trial=job.trial, measured=dict(trial.measured), epochs=tuple(trial.history), passed_over=tuple(trial.passed_over))
    )
    if not _goes_on(job, line):
        return

    def tick(epoch: int, fraction: float, images_per_second: float) -> None:
        line.send(Tick(trial=job.trial, epoch=epoch, fraction=fraction, images_per_second=images_per_second))

    for epoch in trial.epochs(tick):
        line.send(EpochDone(trial=job.trial, epoch=epoch, kept=trial.is_kept))
        if not _goes_on(job, line):
            return
    line.send(TrialDone(trial=job.trial, checkpoint=trial.finish()))


def _goes_on(job: Job, line: Line) -> bool:
    verdict = line.receive()
    if not isinstance(verdict, Verdict) or verdict.trial != job.trial:
        raise TypeError(f"expected a Verdict for trial {job.trial}, got {verdict!r}")
    return verdict.go_on


if __name__ == "__main__":
    main()
