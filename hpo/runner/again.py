"""One trial trained again, by one worker, as it was: `hpo reproduce`.

It goes the way of every trial: a worker process, a checkpoint per epoch, and whatever interrupts it, the same command continues.
Nothing of the study is written. Once it is done, it is compared (report/reproduction.py); a network that is the trial's own, bit
for bit, takes the place of one that is gone, another one is kept beside the trials.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo import folders
from hpo.errors import NoResultError, StorageError, UsageError
from hpo.messages import EpochDone, Job, Started, Tick, TrialDone, TrialFailed, Verdict
from hpo.pools import Died
from hpo.pools.devices import seats
from hpo.pools.local import LocalPool
from hpo.report.reproduction import Reproduction, compared, differences
from hpo.runner import provenance
from hpo.runner.board import Board, Row, Watcher, logged_to
from hpo.runner.mishaps import TRIAL_DEATHS
from hpo.runner.signals import stopping_by_signals
from hpo.runner.workers.crew import Crew
from hpo.scoring import correct
from hpo.settings import PLACES, RunOptions, data_folder
from hpo.store import definition
from hpo.store.database import open_database
from hpo.store.own import FINISHED
from hpo.store.reading import results
from hpo.system.failpoints import reach
from hpo.system.files import refusal
from hpo.system.locks import Lock

if TYPE_CHECKING:
    from hpo.messages import Epoch
    from hpo.objective import Objective
    from hpo.pools import Event
    from hpo.pools.devices import Seat
    from hpo.settings import Settings
    from hpo.store.definition import Definition
    from hpo.store.reading.record import StudyRecord
    from hpo.store.schema import Trial

FOLDER = "reproduced"  # in a study's folder


def reproduce(
    record: StudyRecord, number: int | None, objective: Objective, options: RunOptions, watcher: Watcher
) -> Reproduction:
    """Train a trial again from what the study stores of it, and compare.

    Args:
        record: The study.
        number: The trial's; None for the best one.
        objective: Its objective, as it is now where it is somebody's own code.
        options: Device and folder of data sets; by default those that it was trained with.
        watcher: Is shown how far it is.

    Raises:
        NoResultError: No trial is complete, or this one cannot be trained to its end now.
        UsageError: No such trial, or it has failed.
        DataError, DeviceError: Data or device are missing.
        StorageError: The disk refuses, or another process does the same.
    """
    trial = record.best if number is None else results.chosen(record, number)
    if trial not in record.own or trial.state not in FINISHED:
        state = record.state(trial)
        raise UsageError(f"trial {trial.number} of study {record.name!r} is {state}: there is no result to compare with.")
    made = definition.stored(open_database(record.location), record.name)
    if made is None:
        raise UsageError(f"study {record.name!r} was not made by hpo: it does not say how its trials were trained.")
    place = record.folder / FOLDER
    lock = Lock(place / "lock", holder=provenance.holder())
    with contextlib.ExitStack() as stack:
        stack.enter_context(logged_to(watcher))
        lock.take(f"a trial of study {record.name!r} is being trained again", "Wait for it.")
        stack.callback(lock.release)
        settings, data_dir = _places(made, options)
        pool = LocalPool([_seat(made, options)], settings, data_dir, objective, made.recipe)
        stack.callback(pool.close)
        runners = stack.enter_context(stopping_by_signals())
        watcher.preparing("starting a worker: loading what the trial was trained with", 0, 0)
        crew = Crew(pool, watcher)
        now = crew.assemble() | provenance.environment(1)
        differs = differences(record, objective, made.environment, now)
        if any(what == "data digest" for what, _, _ in differs):
            return Reproduction(record, trial, differs=differs)  # other images: there is nothing to compare
        training = Training(record, trial, crew, pool, folders.trial_folder(place, trial.number).absolute(), watcher)
        runners.append(training)
        point, seed = made.space.point(trial.params), results.seed(record, trial)
        reason = training.run(Job(trial=trial.number, point=point, folder=training.folder, seed=seed))
        if reason:
            done = len(training.epochs)
            return Reproduction(record, trial, differs, stopped=reason, why=f"{reason} after epoch {done} of {trial.last_step}")
        found = compared(record, trial, training.epochs, training.folder, differs)
        return _kept(found, training.folder)


class Training:
    """A worker that trains one trial, and what it says of it.

    Attributes:
        board: The state, as of any run; it says whether to stop.
        epochs: Done so far.
    """

    def __init__(self, record: StudyRecord, trial: Trial, crew: Crew, pool: LocalPool, folder: Path, watcher: Watcher) -> None:
        self._trial, self._crew, self._pool, self._watcher = trial, crew, pool, watcher
        self._last = trial.last_step or 0
        self._complete = trial.state.name == "COMPLETE"
        self._what = f"training trial {trial.number} of {record.name} again"
        self.folder = folder
        self.epochs: list[Epoch] = []
        self.board = Board(record.name, (), self._last, 1, record.score, rows=[Row()])

    def stop(self, reason: str) -> None:
        """Let the worker finish its epoch; the same command continues."""
        self.board.stop(reason)

    def run(self, job: Job) -> str:
        """Train until it is done; return why it was stopped before, or nothing.

        Raises:
            NoResultError: It fails this time, or its workers die.
        """
        deaths, sent = 0, False
        while True:
            if not sent and self._crew.idle:
                self._crew.send(0, job)
                sent = True
            event = self._crew.listen()
            if event is None:
                if self.board.stopping and not sent:
                    return self.board.stopping
                continue
            if isinstance(event.message, Died):
                deaths, sent = deaths + 1, False
                self._buried(event.message, deaths)
            elif self._is_over(event):
                return "" if len(self.epochs) >= self._last or isinstance(event.message, TrialDone) else self.board.stopping

    def _buried(self, died: Died, deaths: int) -> None:
        who = f"worker 0 {died.why}"
        if deaths == TRIAL_DEATHS:
            raise NoResultError(
                f"trial {self._trial.number} cannot be trained again: its worker died {deaths} times. {died.last_line}"
            )
        self._watcher.warned(
            f"{who} in trial {self._trial.number}, which continues from its last epoch. {died.last_line}".strip()
        )
        self._crew.idle.discard(0)
        self._pool.restart(0)

    def _is_over(self, event: Event) -> bool:
        """Take what a worker says; return whether it has nothing more to do."""
        match event.message:
            case Started() as started:
                self.epochs = list(started.epochs)
                for sentence in started.passed_over:
                    self._watcher.warned(f"trial {self._trial.number}: {sentence}")
                return self._answered()
            case EpochDone() as done:
                self.epochs.append(done.epoch)
                return self._answered()
            case Tick() as tick:
                self._watcher.preparing(self._what, round(100 * (tick.epoch - 1 + tick.fraction)), 100 * self._last)
            case TrialFailed() as failed:
                raise NoResultError(f"trial {self._trial.number} cannot be trained again: {failed.reason}")
            case TrialDone():
                return True
        return False

    def _answered(self) -> bool:
        """Tell the worker what to do after an epoch; return whether it is to leave the trial."""
        done = len(self.epochs)
        self._watcher.preparing(self._what, 100 * done, 100 * self._last)
        go_on = (done < self._last and not self.board.stopping) or (self._complete and done >= self._last)
        self._crew.send(0, Verdict(trial=self._trial.number, go_on=go_on))
        reach("verdict.sent")
        return not go_on


def _places(made: Definition, options: RunOptions) -> tuple[Settings, Path]:
    """Return a study's settings with the places of its last run, and the folder of data sets."""
    named = {key: Path(place) for key in PLACES if isinstance(place := made.options.get(key), str)}
    remembered = made.options.get("data_dir")
    return made.settings.model_copy(update=named), data_folder(options.data_dir, Path(remembered) if remembered else None)


def _seat(made: Definition, options: RunOptions) -> Seat:
    """Return a place for the worker: on the kind of device that the study was made on, with as many threads."""
    before: Any = made.environment.get("device")
    device = "cpu" if options.device == "auto" and before == "cpu" else options.device
    seat, threads = seats(1, device)[0], made.environment.get("threads")
    return seat._replace(threads=threads) if isinstance(threads, int) and 0 < threads < 1025 else seat


def _kept(found: Reproduction, work: Path) -> Reproduction:
    """Put the network where it belongs, and remove what else the training has left.

    Raises:
        StorageError: The disk refuses.
    """
    record, trial, network = found.record, found.trial, work / folders.NETWORK
    target = None
    try:
        if network.is_file():
            home = folders.trial_folder(record.folder, trial.number)
            left = results.left(record, trial)
            if found.verdict == "identical" and not (left and left.is_file()):
                home.mkdir(parents=True, exist_ok=True)
                for path in sorted(work.iterdir(), key=lambda path: path == network):  # the network last: then all is there
                    if path.is_file() and path.name != correct.FILE:
                        path.replace(home / path.name)
                target = home / folders.NETWORK
            elif found.verdict == "identical":
                target = left
            else:
                target = work.parent / f"trial-{trial.number:05d}.safetensors"
                network.replace(target)
        shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"cannot write the network of trial {trial.number}: {refusal(error, work)}") from error
    return found.with_network(target)
