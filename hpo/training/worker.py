"""The worker process: reads Setup and Jobs from standard input, trains, writes messages to standard output.

    python -m hpo.training.worker

It ends when its input ends, even in the middle of a batch: a thread waits for that, so that no worker outlives the runner.
Standard output carries only messages; other output to it is redirected to standard error.
"""

from __future__ import annotations

import os
import platform
import queue
import signal
import threading
import traceback
from importlib import metadata
from typing import TYPE_CHECKING, Any

from hpo.errors import DeviceError, HpoError, StorageError, UsageError
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
from hpo.recipe import of_version

if TYPE_CHECKING:
    from typing import BinaryIO

    import torch

    from hpo.data.arrays import DataSet
    from hpo.messages import FromWorker, ToWorker
    from hpo.training.objective import Task


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


def main() -> None:
    """Work for one runner until it closes the connection."""
    for name in (
        "SIGINT",
        "SIGHUP",
        "SIGTERM",
        "SIGUSR1",
    ):  # sent to all processes, for the runner to handle
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # Copies of both: a thread that waits for sys.stdin itself would abort the interpreter's exit.
    line = Line(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    setup = line.receive()
    if not isinstance(setup, Setup):
        raise TypeError(f"expected Setup, got {setup!r}")
    try:
        task, environment = prepare(setup, line)
    except HpoError as error:
        line.send(CannotWork(error=type(error).__name__, message=str(error)))
        return
    line.send(Ready(environment=environment))
    while True:
        job = line.receive()
        if isinstance(job, Job):
            serve(job, task, line)


def prepare(setup: Setup, line: Line) -> tuple[Task, dict[str, Any]]:
    """Map the data into memory and describe the environment that all trials of this worker share.

    Raises:
        DataError, DeviceError, UsageError: The data, the device or the settings are at fault.
    """
    import torch

    from hpo.data import datasets
    from hpo.training.objective import Task, out_of_memory

    recipe = of_version(setup.recipe)
    if recipe is None:
        raise UsageError(f"this worker's hpo is older than the study's: it does not know recipe {setup.recipe}.")
    torch.set_flush_denormal(True)
    device = _device(setup.device)
    try:
        loaded = datasets.load(
            setup.settings.dataset,
            setup.data_dir,
            progress=lambda what, done, total: line.send(Progress(what=what, done=done, total=total)),
        )
        task = Task.of(setup.settings, loaded, device, setup.memory, recipe)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise DeviceError(
            f"{setup.device} has no memory left for the images of {setup.settings.dataset}. "
            f"Use fewer workers, --workers 1, or another device."
        ) from None
    return task, _environment(task, loaded, device)


def _device(name: str) -> torch.device:
    import torch

    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
            there = torch.cuda.device_count() if torch.cuda.is_available() else 0
            raise DeviceError(
                f"device {name} does not exist here: torch {torch.__version__} sees {there} CUDA devices. Use --device cpu."
            )
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    return device


def _environment(task: Task, loaded: DataSet, device: torch.device) -> dict[str, Any]:
    import torch

    from hpo.training.train import fast_dtype

    return {
        "data": loaded.source,
        "data_digest": loaded.digest,
        "classes": list(task.classes),
        "n_train": len(task.train),
        "n_scored": len(task.score),
        "channels": _channels(task),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "mirroring": "as flip and tta say" if task.mirrorable else "off: flip and tta do not apply to these images",
        "precision": str(fast_dtype(device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": metadata.version("torchvision"),  # importing it would cost a second
    }


def _channels(task: Task) -> int:
    """Return 3 for pictures in colour, 1 for grey ones, which are stored in the same way."""
    some = task.score.pixels[task.score.chosen[:1000]]
    return 3 if bool((some != some[..., :1]).any()) else 1


def serve(job: Job, task: Task, line: Line) -> None:
    """Train one job to its end, or to the epoch after which the runner stops it."""
    from hpo.training.objective import TrialError

    try:
        _train(job, task, line)
    except TrialError as error:
        line.send(TrialFailed(trial=job.trial, cause=error.cause, reason=str(error)))
    except StorageError as error:  # not the trial's fault: the run ends, and the trial can be continued later
        line.send(CannotWork(error=type(error).__name__, message=str(error)))
    except HpoError as error:
        line.send(TrialFailed(trial=job.trial, cause=type(error).__name__, reason=str(error)))
    except Exception as error:  # noqa: BLE001  # a bug fails this trial, with the reason, and not the study
        traceback.print_exc()
        line.send(TrialFailed(trial=job.trial, cause=type(error).__name__, reason=f"{type(error).__name__}: {error}"[:500]))


def _train(job: Job, task: Task, line: Line) -> None:
    from hpo.training.objective import Trial

    trial = Trial(task, job.config, job.seed, job.folder)
    line.send(
        Started(
            trial=job.trial,
            n_parameters=trial.size.n_parameters,
            macs=trial.size.macs,
            epochs=tuple(trial.history),
            passed_over=tuple(trial.passed_over),
        )
    )
    if not _goes_on(job, line):
        return

    def tick(epoch: int, fraction: float, images_per_second: float) -> None:
        line.send(Tick(trial=job.trial, epoch=epoch, fraction=fraction, images_per_second=images_per_second))

    for epoch in trial.epochs(tick):
        line.send(EpochDone(trial=job.trial, epoch=epoch))
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
