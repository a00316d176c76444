"""The study that a run writes: the record in the database, and a mirror of it in memory that samplers and pruners look at.

Optuna asks its storage for everything, each time; on a database that costs hundreds of milliseconds a trial, growing with the
study. Here Optuna's own samplers and pruners work on a storage in memory, and what they decided goes into the database: one
transaction a new trial, one an epoch. The mirror is rebuilt from the database at the start of every run, so nothing lives in
memory alone. Only one process may write a study; the runner's lock sees to that.
"""

from __future__ import annotations

import contextlib
import warnings
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.trial import TrialState, create_trial

from hpo.failpoints import reach
from hpo.search import layout
from hpo.search.halving import Rungs
from hpo.search.ledger import Ledger
from hpo.search.memory import FOR_PRUNERS, Memory
from hpo.search.open_trial import OpenTrial
from hpo.search.record import FINISHED, ranked
from hpo.search.samplers import derived_seed, distributions, history_for, make_pruner, make_sampler
from hpo.search.storage import guarded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from hpo.parameters import Value
    from hpo.search.storage import Location
    from hpo.settings import Settings
    from hpo.space import SearchSpace

Judgement = Literal["go on", "wait", "stop"]

WAITS = "hpo:waits"  # a trial's system attribute: the epoch, a rung of halving, after which it waits
UNEARNED = "hpo:unearned"  # likewise: the epoch after which Optuna's pruner would have stopped a trial that is spared


class WritableStudy:
    """A study that this process runs.

    Args:
        storage: The open database.
        location: Where it is.
        name: The study's name; the study exists.
        settings: As stored.
        space: As stored.
        starts: Points to try after the default one, before those of the space and what the sampler chooses.
    """

    def __init__(
        self,
        storage: RDBStorage,
        location: Location,
        name: str,
        settings: Settings,
        space: SearchSpace,
        starts: Sequence[Mapping[str, Value]] = (),
    ) -> None:
        self.name, self.settings, self.space, self.location = name, settings, space, location
        own = [point for point in space.first[1:] if point not in starts]
        self._starts = [space.default, *starts, *own]
        self._spared = {0, *range(1 + len(starts), len(self._starts))}  # trials that are trained to the end
        self._record = storage
        self._distributions = distributions(space)
        self._waiting: dict[int, OpenTrial] = {}  # at a rung of halving, by number
        self._memory = Memory(self._spared, self._counts_as_stopped)
        with guarded(location):
            self._study_id = storage.get_study_id_from_name(name)
            trials = storage.get_all_trials(self._study_id, deepcopy=False)
            system = _of_samplers(storage.get_study_system_attrs(self._study_id))
        self._ledger = Ledger(storage.engine, location, self._study_id, name)
        with experimental():
            pruner = make_pruner(settings)
        self._mirror = optuna.create_study(study_name=name, storage=self._memory, direction="maximize", pruner=pruner)
        self._mirror_id = self._memory.get_study_id_from_name(name)
        for key, value in system.items():
            self._memory.set_study_system_attr(self._mirror_id, key, value)
        self._system = dict(system)
        self._ids: list[int] = []  # the record's trial ids, by number
        self._open: dict[int, optuna.Trial] = {}  # the mirror's, by number
        self._withheld: dict[int, dict[str, Any]] = {}  # rungs reached by trials that are to be pruned, by number
        self._rungs = Rungs(settings.epochs)
        for trial in trials:
            self._load(trial)
        self._inherited = set(self._open)  # RUNNING trials of dead runs that are not marked as this run's yet

    def _load(self, trial: FrozenTrial) -> None:
        self._ids.append(trial._trial_id)  # noqa: SLF001  # storages speak in ids
        if trial.state == TrialState.WAITING:  # queued by another program: keeps its number, is nothing to learn from
            now = datetime.now()  # noqa: DTZ005  # Optuna's times are naive and local
            trial = create_trial(state=TrialState.FAIL)
            trial.datetime_start = trial.datetime_complete = now
        mirrored = self._memory.create_new_trial(self._mirror_id, template_trial=trial)
        if trial.state != TrialState.FAIL:
            for epoch, accuracy in trial.intermediate_values.items():
                self._rungs.note(trial.number, epoch, accuracy, competes=trial.number not in self._spared)
        if trial.state in FINISHED and trial.number not in self._spared:
            self._rungs.end(trial.number, failed=False)
        if trial.state == TrialState.RUNNING:
            self._open[trial.number] = optuna.Trial(self._mirror, mirrored)
            if trial.last_step in self._rungs.levels and trial.system_attrs.get(WAITS) == trial.last_step:
                self.wait(self._reopened(trial))

    @property
    def folder(self) -> Path:
        """Where the trials' checkpoints are."""
        return layout.study_folder(self.location, self.name)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials by number, as in the database."""
        return self._mirror.get_trials(deepcopy=False)

    @property
    def n_finished(self) -> int:
        """Complete and pruned trials."""
        return sum(trial.state in FINISHED for trial in self.trials)

    @property
    def best(self) -> FrozenTrial | None:
        """The complete trial of the highest accuracy; of equals the first."""
        return next(iter(ranked(self.trials)), None)

    def unfinished(self) -> list[OpenTrial]:
        """Return the RUNNING trials of dead runs: this run goes on with them."""
        orphans = [self.trials[number] for number in sorted(self._open) if number not in self._waiting]
        return [self._reopened(t) for t in orphans if t.params or not self._distributions]  # else another program has begun it

    def _reopened(self, t: FrozenTrial) -> OpenTrial:
        return OpenTrial(t.number, t.params, self.space.config(t.params), dict(t.intermediate_values), dict(t.user_attrs))

    def claim(self) -> None:
        """Mark the trials that this run goes on with: it writes to these and to its own, and to none that took an id over."""
        going_on = self._inherited & {*(trial.number for trial in self.unfinished()), *self._waiting}
        self._ledger.claim({number: self._ids[number] for number in going_on})
        self._inherited = set()

    def _id(self, number: int) -> int:
        """Return the record's id of a trial, which is this run's."""
        if number in self._inherited:
            self.claim()
        return self._ids[number]

    # -- trials that wait at a rung ------------------------------------------------------------------------------------

    @property
    def n_waiting(self) -> int:
        """Trials that wait at a rung of halving."""
        return len(self._waiting)

    def wait(self, trial: OpenTrial) -> None:
        """Let a trial wait; to the sampler it is as one that was stopped, until it goes on."""
        self._waiting[trial.number] = trial

    def calls(self, *, last: bool = False) -> int | None:
        """Return the number of the waiting trial that may go on now; `last` if no trial begins any more."""
        return self._rungs.next(self._waiting, last=last)

    def call(self, number: int) -> OpenTrial:
        """Let a waiting trial go on."""
        return self._waiting.pop(number)

    def hopeless(self, total: int) -> list[OpenTrial]:
        """Return the waiting trials that will not go on in a study of so many trials."""
        return [self._waiting[number] for number in self._rungs.hopeless(self._waiting, total - len(self._spared))]

    def left_waiting(self) -> list[OpenTrial]:
        """Return the waiting trials, the worst first."""
        return [self._waiting[number] for number in self._rungs.worst(self._waiting)]

    def seed(self, number: int) -> int:
        """Return the seed of a trial's training."""
        return derived_seed(self.settings.seed, "trial", number)

    def ask(self) -> OpenTrial:
        """Choose the next configuration and record it as RUNNING, in one transaction.

        Raises:
            StorageError: The database refuses, or another program has added trials.
        """
        number = len(self._ids)
        if number < len(self._starts):
            self._mirror.enqueue_trial(dict(self._starts[number]))
        with experimental(), self._memory.showing(history_for(self.settings.sampler)):
            self._mirror.sampler = make_sampler(self.settings, self._distributions, number)
            trial = self._mirror.ask(self._distributions)
        if trial.number != number:
            raise AssertionError(f"the mirror is at trial {trial.number}, the record at {number}")
        reach("trial.asked")
        notes = {k: v for k, v in self._memory.get_study_system_attrs(self._mirror_id).items() if self._system.get(k) != v}
        trial_id = self._ledger.begin(number, trial.params, self._distributions, notes)
        reach("trial.recorded")
        self._system |= notes
        reach("trial.open")
        self._ids.append(trial_id)
        self._open[number] = trial
        return OpenTrial(number, trial.params, self.space.config(trial.params))

    def report(self, trial: OpenTrial, epoch: int, accuracy: float) -> Judgement:
        """Record an epoch's accuracy and return what the pruner would have the trial do.

        An epoch that is known already changes nothing. Where it was to stop the trial, and this process died before it did, it is
        judged again, and alike. Trial 0 is never stopped: the others are compared with it. Nor is one that the space names to
        begin with: it is known to be good. Nor is a trial at its last epoch: it is complete.
        """
        known = epoch in trial.accuracies
        if not known:
            trial.accuracies[epoch] = accuracy
            self._open[trial.number].report(accuracy, epoch)
            self._rungs.note(trial.number, epoch, accuracy, competes=trial.number not in self._spared)
        judgement, notes = self._judge(trial.number, epoch, known=known) if epoch < self.settings.epochs else ("go on", {})
        if judgement == "stop":  # a rung that is recorded is not judged again: only with the trial's end
            self._withheld[trial.number], notes = notes, {}
        if not known or notes:
            kept = self._stints(trial) if judgement == "wait" else {}
            self._ledger.report(self._id(trial.number), {} if known else {epoch: accuracy}, notes, kept)
        reach("epoch.judged")
        return judgement

    def leave(self, trial: OpenTrial) -> None:
        """Leave a trial for another run to continue."""
        self._ledger.report(self._id(trial.number), {}, {}, self._stints(trial))

    def _stints(self, trial: OpenTrial) -> dict[str, Any]:
        for key, value in trial.stints.items():
            self._open[trial.number].set_user_attr(key, value)
        return trial.stints

    def _judge(self, number: int, epoch: int, *, known: bool) -> tuple[Judgement, dict[str, Any]]:
        """Return what a trial shall do, and the system attributes that are new with that."""
        if self.settings.pruner == "halving":
            if number in self._spared or known or self._rungs.passes(number, epoch):
                return "go on", {}
            self._memory.set_trial_system_attr(self._mirrored(number), WAITS, epoch)
            return "wait", {WAITS: epoch}
        before = self._system_attributes(number)
        with self._memory.showing(FOR_PRUNERS):
            prune = self._open[number].should_prune()
        if prune and number in self._spared:
            prune = False
            if UNEARNED not in before:
                self._memory.set_trial_system_attr(self._mirrored(number), UNEARNED, epoch)
        notes = {k: v for k, v in self._system_attributes(number).items() if before.get(k) != v}
        return "stop" if prune else "go on", notes

    def _counts_as_stopped(self, number: int) -> int | None:
        """Return the epoch after which samplers see a trial as stopped, though it waits or is trained on; None for any other."""
        if number in self._waiting:
            return max(self._waiting[number].accuracies)
        if number not in self._spared:
            return None
        if self.settings.pruner == "halving":
            return self._rungs.unearned(number)
        return self._system_attributes(number).get(UNEARNED)

    def _system_attributes(self, number: int) -> dict[str, Any]:
        return dict(self._memory.get_trial_system_attrs(self._mirrored(number)))

    def _mirrored(self, number: int) -> int:
        return self._memory.get_trial_id_from_study_id_trial_number(self._mirror_id, number)

    def complete(self, trial: OpenTrial, accuracy: float) -> None:
        """End a trial that was trained to its last epoch."""
        self._end(trial, TrialState.COMPLETE, accuracy)

    def prune(self, trial: OpenTrial) -> None:
        """End a trial early; its value is its last accuracy."""
        self._end(trial, TrialState.PRUNED, trial.accuracies[max(trial.accuracies)])

    def fail(self, trial: OpenTrial) -> None:
        """End a trial that cannot be finished."""
        self._end(trial, TrialState.FAIL, None)

    def _end(self, trial: OpenTrial, state: TrialState, value: float | None) -> None:
        trial_id = self._id(trial.number)
        mirrored, notes = self._open.pop(trial.number), self._withheld.pop(trial.number, {})
        self._waiting.pop(trial.number, None)
        if trial.number not in self._spared:
            self._rungs.end(trial.number, failed=state == TrialState.FAIL)
        self._ledger.end(trial_id, state, value, trial.attributes, notes)
        reach("trial.ended")
        for key, attribute in trial.attributes.items():
            mirrored.set_user_attr(key, attribute)
        self._mirror.tell(mirrored, value if state == TrialState.COMPLETE else None, state)

    def note(self, key: str, value: object) -> None:
        """Store an attribute of the study."""
        self._ledger.note(key, value)


def _of_samplers(system: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the dashboard's notes and artifacts: there may be thousands, and the mirror is looked through at every trial."""
    return {key: value for key, value in system.items() if not key.startswith(("dashboard:", "artifacts:", "hpo:"))}


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """Use what Optuna calls experimental without its warning: names of metrics, GP and QMC are years old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
