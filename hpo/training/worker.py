"""The worker process: reads Setup and Jobs from standard input, trains, writes messages to standard output.

    python -m hpo.training.worker

What it trains is the objective's business: Setup names the module to load, whose `prepare` returns what begins a trial.
It ends when its input ends, even in the middle of a batch: a thread waits for that, so that no worker outlives the runner.
Standard output carries only messages; other output to it is redirected to standard error.

With several lanes, each trial has a thread, and what the objective's `lanes` give it: on a GPU a stream. The kernels of one trial
fill the gaps that those of another leave.
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import threading
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO

from hpo.errors import HpoError, StorageError, UsageError
from hpo.messages import (
    DEVICE_LOST,
    CannotWork,
    DeviceLost,
    EpochDone,
    Job,
    Progress,
    Ready,
    Setup,
    Started,
    Suggested,
    Tick,
    TrialDone,
    TrialFailed,
    Verdict,
    read_job_side,
)
from hpo.objective import Asking, CrowdedError, DeviceLostError, TrialError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import ModuleType

    from hpo.messages import FromWorker, ToWorker
    from hpo.objective import Begin


class Talk:
    """What is said about one trial: to the runner, and by it.

    Args:
        say: Sends a message.
        beside: Returns how many other trials are in training in this process.
    """

    def __init__(self, say: Callable[[FromWorker], None], beside: Callable[[], int] = lambda: 0) -> None:
        self._say, self.beside = say, beside
        self._inbox: queue.SimpleQueue[ToWorker] = queue.SimpleQueue()

    def hear(self, message: ToWorker) -> None:
        """Take a message that somebody will wait for."""
        self._inbox.put(message)

    def receive(self) -> ToWorker:
        """Wait for the next message and return it."""
        return self._inbox.get()

    def send(self, message: FromWorker) -> None:
        """Send a message to the runner."""
        self._say(message)

    def ask(self, message: FromWorker) -> ToWorker:
        """Send a message to the runner, and return its answer."""
        self.send(message)
        return self.receive()


class Line(Talk):
    """The conversation with the runner."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        super().__init__(self._write)
        self._source, self._sink = source, sink
        self._writing = threading.Lock()
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    def _listen(self) -> None:
        code = 1
        try:
            for line in self._source:
                self.hear(read_job_side(line))
            code = 0
        except ValueError:  # not a message: a runner of another version
            traceback.print_exc()
        finally:
            os._exit(code)  # the runner has ended: the results would reach nobody

    def _write(self, message: FromWorker) -> None:
        with self._writing:
            try:
                self._sink.write(message.line())
                self._sink.flush()
            except OSError:
                os._exit(0)  # as in _listen
            if isinstance(message, DeviceLost):
                os._exit(DEVICE_LOST)  # before another trial takes the device's fault for its own

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
        objective = _loaded(setup.objective)
        environment, begin = objective.prepare(setup, line.tell)
    except HpoError as error:
        line.send(CannotWork(error=type(error).__name__, message=str(error)))
        return
    gc.freeze()
    gc.enable()
    line.send(Ready(environment=environment))
    if setup.lanes > 1:
        serve_together(begin, line, objective.lanes(setup) if hasattr(objective, "lanes") else contextlib.nullcontext)
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


def serve_together(begin: Begin, line: Line, lane: Callable[[], AbstractContextManager[object]]) -> None:
    """Train each job in a thread of its own, and hand it what the runner says of its trial."""
    talks: dict[int, Talk] = {}

    def train(job: Job, talk: Talk) -> None:
        try:
            with lane():
                serve(job, begin, talk)
        except BaseException:  # noqa: BLE001  # nobody would answer the runner
            traceback.print_exc()
            os._exit(1)
        finally:
            if talks.get(job.trial) is talk:  # else it was left, and has come back
                del talks[job.trial]

    while True:
        match line.receive():
            case Job() as job:
                talks[job.trial] = talk = Talk(line.send, lambda: len(talks) - 1)
                threading.Thread(target=train, args=(job, talk), name=f"trial-{job.trial}", daemon=True).start()
            case Verdict() | Suggested() as answer if answer.trial in talks:
                talks[answer.trial].hear(answer)


def serve(job: Job, begin: Begin, line: Talk) -> None:
    """Train one job to its end, or to the epoch after which the runner stops it."""
    said = None
    try:
        _train(job, begin, line)
    except HpoError as error:
        said = _unfinished(job, error, line)
        forget(error)
    except Exception as error:  # noqa: BLE001  # a bug fails this trial, with the reason, and not the study
        traceback.print_exc()
        said = TrialFailed(trial=job.trial, cause=type(error).__name__, reason=f"{type(error).__name__}: {error}"[:500])
        forget(error)
    if said:
        line.send(said)  # once the memory is free, since the runner may send the next job at once


def _unfinished(job: Job, error: HpoError, line: Talk) -> FromWorker:
    """Return what is said of a trial that met an error."""
    match error:
        case DeviceLostError():
            return DeviceLost(trial=job.trial, reason=str(error))
        case TrialError():
            crowded = isinstance(error, CrowdedError) and line.beside() > 0
            return TrialFailed(trial=job.trial, cause=error.cause, reason=str(error), crowded=crowded)
        case StorageError():  # not the trial's fault: the run ends, and the trial can be continued later
            return CannotWork(error=type(error).__name__, message=str(error))
        case _:
            return TrialFailed(trial=job.trial, cause=type(error).__name__, reason=str(error))


def forget(error: BaseException) -> None:
    """Release what the frames of an error and of those that led to it hold: tensors, where a training met it."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


def _train(job: Job, begin: Begin, line: Talk) -> None:
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
        said: tuple[str, ...] = getattr(trial, "said", tuple)()
        memory = getattr(trial, "memory", None)
        line.send(EpochDone(trial=job.trial, epoch=epoch, kept=trial.is_kept, memory=memory, said=said))
        if not _goes_on(job, line):
            return
    line.send(TrialDone(trial=job.trial, checkpoint=trial.finish()))


def _goes_on(job: Job, line: Talk) -> bool:
    verdict = line.receive()
    if not isinstance(verdict, Verdict) or verdict.trial != job.trial:
        raise TypeError(f"expected a Verdict for trial {job.trial}, got {verdict!r}")
    return verdict.go_on


if __name__ == "__main__":
    main()
