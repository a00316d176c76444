"""A pool that answers at once, and the small studies that it runs: everything of a run but the training.

Its workers speak the same messages as real ones and keep their checkpoints in the trials' folders, so a run on it can be
stopped, killed and continued as any other.
"""

from __future__ import annotations

import functools
import math
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.builtin.convnet import OBJECTIVE, PRESETS, Config
from hpo.messages import Epoch, EpochDone, Job, Ready, Started, TrialDone
from hpo.pools import Died, Event
from hpo.runner.board import Watcher
from hpo.runner.loop import Runner
from hpo.runner.workers.crew import Crew
from hpo.scoring import correct
from hpo.search import study
from hpo.search_space import SearchSpace
from hpo.settings import RunOptions, Settings
from hpo.store import definition
from hpo.store.database import exists, locate, open_database
from hpo.system.files import read_sealed, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hpo.messages import FromWorker, TrialFailed, Verdict
    from hpo.parameters import Value
    from hpo.search.study import WritableStudy
    from hpo.store.repetitions import Repetitions

EPOCHS = 4
FOUR = {name: given for name, given in PRESETS["basic"].items() if name != "starts"}
ALONE = SearchSpace.of("alone", FOUR, knobs=Config)  # without points to start from beside the default one
KILLED = Died("killed, signal 9 (SIGKILL); out of memory?", "Traceback\nKilled")


def curve(point: Mapping[str, Value], epoch: int) -> float:
    """A made-up accuracy: best at lr 0.2, better with more filters, growing over the epochs."""
    final = 0.9 - 0.1 * abs(math.log10(point["lr"] / 0.2)) - 2 / point["filters"] - point["dropout"] / 10
    return final * (1 - 0.5**epoch)


class InstantPool:
    """Workers without processes.

    Args:
        size: Number of processes.
        lanes: Workers of each process.
        epochs: Of a trial; as in the study's settings.
        curve: Accuracy of a point after an epoch.
        fate: What happens to a trial instead of training this epoch: a Died, a TrialFailed, or None for nothing.
        at_start: What a worker says when it is started.
        checkpoints: Write them; a benchmark does without, and its pool remembers.
    """

    def __init__(
        self,
        size: int = 1,
        epochs: int = EPOCHS,
        *,
        lanes: int = 1,
        curve: Callable[[Mapping[str, Value], int], float] = curve,
        fate: Callable[[int, int], Died | TrialFailed | None] = lambda trial, epoch: None,  # noqa: ARG005
        at_start: Callable[[int], FromWorker | Died] = lambda worker: Ready(environment={}),  # noqa: ARG005
        checkpoints: bool = True,
    ) -> None:
        self.processes = [range(lanes * n, lanes * (n + 1)) for n in range(size)]
        self._epochs, self._curve, self._fate, self._at_start = epochs, curve, fate, at_start
        self._checkpoints = checkpoints
        self._events: deque[Event] = deque()
        self._trained: dict[int, int] = {}  # epochs by trial, where there are no checkpoints
        self._jobs: dict[int, tuple[Job, int]] = {}  # by worker: what it trains, and the epochs done
        self.handed_out: list[int] = []  # trial numbers, in order
        self.verdicts: list[Verdict] = []

    def start(self) -> None:
        """Let every process say Ready."""
        for workers in self.processes:
            self.restart(workers[0])

    def end(self, worker: int) -> None:
        """Forget what the workers of a process did."""
        gone = next(workers for workers in self.processes if worker in workers)
        self._jobs = {worker: job for worker, job in self._jobs.items() if worker not in gone}
        self._events = deque(event for event in self._events if event.worker not in gone)

    def restart(self, worker: int) -> None:
        """Let another take its place."""
        self.end(worker)
        self._say(worker, self._at_start(worker))

    def send(self, worker: int, message: Job | Verdict) -> None:
        """Do at once what a worker is told."""
        if isinstance(message, Job):
            self.handed_out.append(message.trial)
            done = self._restored(message)
            self._jobs[worker] = message, done
            epochs = tuple(self._epoch(message, epoch) for epoch in range(1, done + 1))
            self._say(worker, Started(trial=message.trial, measured={"n_parameters": 1000, "macs": 2000}, epochs=epochs))
        elif worker in self._jobs:
            self.verdicts.append(message)
            job, done = self._jobs.pop(worker)
            if message.go_on:
                self._go_on(worker, job, done)

    def receive(self, timeout: float) -> Event | None:
        """Return what was said first."""
        if not self._events:
            time.sleep(min(timeout, 0.001))
            return None
        return self._events.popleft()

    def close(self) -> None:
        """Nothing to end."""

    def _go_on(self, worker: int, job: Job, done: int) -> None:
        epoch = done + 1
        fate = self._fate(job.trial, epoch)
        if fate is not None:
            self._say(worker, fate)
        elif done == self._epochs:
            self._say(worker, TrialDone(trial=job.trial, checkpoint=job.folder / "epoch"))
        else:
            if self._checkpoints:
                job.folder.mkdir(parents=True, exist_ok=True)
                (job.folder / "epoch").write_bytes(sealed(str(epoch).encode()))
                (job.folder / correct.FILE).write_bytes(b"%d" % epoch)
            else:
                self._trained[job.trial] = epoch
            self._jobs[worker] = job, epoch
            self._say(worker, EpochDone(trial=job.trial, epoch=self._epoch(job, epoch)))

    def _restored(self, job: Job) -> int:
        checkpoint = job.folder / "epoch"
        return int(read_sealed(checkpoint)) if checkpoint.exists() else self._trained.get(job.trial, 0)

    def _epoch(self, job: Job, epoch: int) -> Epoch:
        accuracy = self._curve(job.point, epoch)
        return Epoch(epoch, accuracy, 1.0, 100, {"train_loss": 1.0, "score_loss": 1.0})

    def _say(self, worker: int, message: FromWorker | Died) -> None:
        self._events.append(Event(worker, message))


class Notes(Watcher):
    """A watcher that remembers: ends as (number, state), warnings as they are; and does something after each epoch."""

    def __init__(self) -> None:
        self.after_epoch: Callable[[int], object] = lambda n_epochs: None  # noqa: ARG005
        self._epochs = 0
        self.ends: list[tuple[int, str]] = []
        self.warnings: list[str] = []

    def epoch(self, *_: object) -> None:
        """Count an epoch."""
        self._epochs += 1
        self.after_epoch(self._epochs)

    def ended(self, _board, trial, state) -> None:
        """Note an end."""
        self.ends.append((trial.number, state))

    def warned(self, text: str) -> None:
        """Note a warning."""
        self.warnings.append(text)


@functools.cache
def empty_database() -> bytes:
    """The bytes of a database without studies: to make one takes half a second, to copy it nothing."""
    with tempfile.TemporaryDirectory() as folder:
        open_database(locate(f"{folder}/hpo.db"), create=True)
        return Path(folder, "hpo.db").read_bytes()


_MADE: dict[str, bytes] = {}  # databases that hold one new study, by its definition


def new_study(
    where: Path, name: str = "first", space: SearchSpace | str = "basic", repetitions: Repetitions | None = None, **settings
) -> WritableStudy:
    """Create a study; its settings are those of tests unless given. A database that holds it alone is made once, and copied."""
    location = locate(str(where))
    chosen = Settings(**{"dataset": "digits", "epochs": EPOCHS, **settings})
    space = OBJECTIVE.whole(space)
    more = {"recipe": OBJECTIVE.recipe, "repetitions": repetitions}
    made = definition.Definition(name, OBJECTIVE, chosen, space, {"cores": 2}, "hpo run", **more)
    if exists(location):
        return study.create(open_database(location), made)
    location.path.parent.mkdir(parents=True, exist_ok=True)
    if (known := repr(made)) in _MADE:
        location.path.write_bytes(_MADE[known])
        return study.WritableStudy(open_database(location), made)
    location.path.write_bytes(empty_database())
    created = study.create(open_database(location), made)
    _MADE[known] = location.path.read_bytes()
    return created


def reopen(old: WritableStudy) -> WritableStudy:
    """Open a study anew, from nothing but its database (over the same connection: opening one takes longer than the rest)."""
    return study.WritableStudy(old.database, definition.stored(old.database, old.name))


def run(study: WritableStudy, trials: int, pool: InstantPool | None = None, watcher: Watcher | None = None, **options) -> str:
    """Run a study on a pool to its end and return the reason."""
    pool = pool or InstantPool(epochs=study.settings.epochs)
    pool.start()
    return runner_of(study, pool, watcher, trials=trials, **options).run()


def runner_of(study: WritableStudy, pool: InstantPool, watcher: Watcher | None = None, **options) -> Runner:
    """Return what runs a study on a pool that is started, or will be."""
    watcher = watcher or Watcher()
    return Runner(study, Crew(pool, watcher), RunOptions(**options), watcher)
