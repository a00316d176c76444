"""The study that a run writes: the database, and a mirror of it in memory for samplers and pruners.

Optuna reads everything from its storage each time. With a database that costs hundreds of milliseconds per trial, and more as
the study grows. Here Optuna's samplers and pruners work on a storage in memory, and their decisions go into the database: one
transaction per new trial, one per epoch. Every run rebuilds the mirror from the database, so nothing is kept in memory only.
Only one process may write a study; the runner's lock ensures that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState, create_trial

from hpo import folders
from hpo.search.halving import Halving, Rungs, rungs, stored_rungs
from hpo.search.memory import Memory
from hpo.search.mirror import Mirror
from hpo.search.open_trial import OpenTrial
from hpo.search.pruning import Pruning
from hpo.search.queue import Queue
from hpo.search.repeated import Repeated
from hpo.settings import derived_seed
from hpo.store import definition
from hpo.store.database import guarded
from hpo.store.ledger import Ledger
from hpo.store.own import FINISHED, is_ours, ranked
from hpo.store.reading.reader import legible
from hpo.store.schema import REFUSED, SEED, distributions
from hpo.system.failpoints import reach

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.search.mirror import Suggestion
    from hpo.search.plan import Does, Plan
    from hpo.store.database import Database
    from hpo.store.definition import Definition


class WritableStudy:
    """A study that this process runs.

    Args:
        database: Where it is.
        made: What it was made with.

    Attributes:
        plan: Decides who trains on, and keeps the trials that wait.
    """

    def __init__(self, database: Database, made: Definition) -> None:
        self.name, self.settings, self.space, self.score = made.name, made.settings, made.space, made.objective.score
        self.location, self.database, storage = database.location, database, database.storage
        self._queue = Repeated(made.space, made.repetitions) if made.repetitions else Queue(made.space, made.starts)
        self._seeds: dict[int, int] = {}  # by number
        self._distributions = distributions(made.space)
        with legible(self.location, self.name):
            self._study_id = storage.get_study_id_from_name(self.name)
            trials = storage.get_all_trials(self._study_id, deepcopy=False)
            system = storage.get_study_system_attrs(self._study_id)
        self._ledger = Ledger(database, self._study_id, self.name)
        self._ids: list[int] = []  # the record's trial ids, by number
        self._foreign: set[int] = set()  # numbers of trials that another program has begun or added
        self._withheld: dict[int, Mapping[str, Any]] = {}  # notes on trials that are to be pruned, by number
        settings, spared = made.settings, self._queue.spared
        levels = stored_rungs(system, settings.epochs)
        memory = Memory(spared, lambda number: self.plan.stopped_at(number), self.score)  # noqa: PLW0108  # the plan comes later
        self._mirror = Mirror(self.name, memory, self.score.direction, settings, self._distributions, system, levels)
        epochs = math.inf if made.space.by_run else settings.epochs
        self.plan: Plan = Pruning(epochs, spared, self._mirror)
        if settings.pruner == "halving":
            self.plan = Halving(Rungs(settings.epochs, levels, self.score), spared)
        for trial in trials:
            self._load(trial)
        self._inherited = set(self._mirror.running)  # of dead runs, and not marked as this run's yet

    def _load(self, trial: FrozenTrial) -> None:
        self._ids.append(trial._trial_id)  # noqa: SLF001  # storages speak in ids
        if trial.state == TrialState.WAITING:
            self._queue.enqueued[trial.number] = trial
            self._mirror.add(create_trial(state=TrialState.WAITING))
            return
        if not is_ours(trial, self._distributions):  # keeps its number, is nothing to learn from
            self._foreign.add(trial.number)
            self._mirror.add(create_trial(state=TrialState.FAIL))
            return
        if REFUSED not in trial.system_attrs:
            self._queue.begin(trial.number, trial.params, self._remembered(trial))
        self._mirror.add(trial)
        self.plan.load(trial, self._reopened(trial) if trial.state == TrialState.RUNNING else None)

    @property
    def folder(self) -> Path:
        """Where the trials' checkpoints are."""
        return folders.study_folder(self.location, self.name)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials by number, as in the database."""
        return self._mirror.trials

    @property
    def own(self) -> list[FrozenTrial]:
        """The trials that hpo has tried, by number."""
        return [trial for trial in self.trials if trial.number not in self._foreign and trial.state != TrialState.WAITING]

    @property
    def n_finished(self) -> int:
        """Complete and pruned trials."""
        return sum(trial.state in FINISHED for trial in self.own)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to try."""
        return self._queue.exhausted

    @property
    def ended(self) -> str:
        """Why nothing is left to try, where that is so."""
        return self._queue.ended

    @property
    def repeats(self) -> bool:
        """Whether its trials are the same points with several seeds: the best of them is only the luckiest."""
        return isinstance(self._queue, Repeated)

    @property
    def best(self) -> FrozenTrial | None:
        """The best of hpo's own complete trials."""
        return next(iter(self.ranked), None)

    @property
    def ranked(self) -> list[FrozenTrial]:
        """The complete trials of hpo's own, the best first."""
        return ranked(self.own, maximize=self.score.maximize)

    def unfinished(self) -> list[OpenTrial]:
        """Return the RUNNING trials of dead runs: this run goes on with them."""
        return [self._reopened(self.trials[number]) for number in self._mirror.running if number not in self.plan.waiting]

    def _reopened(self, t: FrozenTrial) -> OpenTrial:
        return OpenTrial(t.number, t.params, dict(t.intermediate_values), dict(t.user_attrs))

    def claim(self) -> None:
        """Mark the trials that this run goes on with: it writes to these and to its own, and to none that took an id over."""
        going_on = self._inherited & set(self._mirror.running)
        self._ledger.claim({number: self._ids[number] for number in going_on})
        self._inherited = set()

    def _id(self, number: int) -> int:
        """Return the record's id of a trial, which is this run's."""
        if number in self._inherited:
            self.claim()
        return self._ids[number]

    def seed(self, number: int) -> int:
        """Return the seed of a trial's training."""
        return self._seeds.get(number, self._derived(number))

    def _derived(self, number: int) -> int:
        return derived_seed(self.settings.seed, "trial", number)

    def _remembered(self, trial: FrozenTrial) -> int | None:
        """Return the seed that a trial was begun with, where it was stored: an older hpo did not."""
        seed = trial.user_attrs.get(SEED)
        if type(seed) is int and 0 <= seed < 2**63:
            self._seeds[trial.number] = seed
        return self._seeds.get(trial.number)

    def look_around(self) -> dict[int, str]:
        """Take note of what other programs have added; return which enqueued trials cannot be tried, and why: they have failed.

        Raises:
            StorageError: The database refuses, or another process runs this study.
        """
        with guarded(self.location):
            added = [self.database.storage.get_trial(trial_id) for trial_id in self._ledger.added(len(self._ids))]
        for trial in added:
            if trial.state == TrialState.RUNNING and is_ours(trial, self._distributions):
                raise self._ledger.added_by_another()
            self._load(trial)
        refused = self._queue.unfit()
        for number, reason in refused.items():
            self._ledger.refuse(self._ids[number], reason)
            self._mirror.refuse(number)
            del self._queue.enqueued[number]
        return refused

    def ask(self) -> OpenTrial:
        """Choose the next configuration and record it as RUNNING, in one transaction.

        Raises:
            StorageError: The database refuses, or another program has added trials.
        """
        number = min(self._queue.enqueued, default=len(self._ids))
        wished = number in self._queue.enqueued
        point = self._queue.wish(number) if wished else self._queue.named()
        seed = self._queue.seed
        self._seeds[number] = seed = self._derived(number) if seed is None else seed
        params = self._mirror.ask(number, point, self._queue.points.new)
        self._mirror.describe(number, {SEED: seed})
        reach("trial.asked")
        enqueued = self._ids[number] if wished else None
        trial_id = self._ledger.begin(number, params, self._distributions, self._mirror.notes(), seed, enqueued)
        reach("trial.recorded")
        reach("trial.open")
        if wished:
            del self._queue.enqueued[number]
        else:
            self._ids.append(trial_id)
        self._queue.begin(number, params, seed)
        return OpenTrial(number, params)

    def suggest(self, trial: OpenTrial, name: str, distribution: str) -> Suggestion:
        """Give a running trial a parameter that it asks for, and record it, in one transaction; asked again, it is the same.

        Raises:
            ValueError: What it is to be drawn from is wrong, or not what earlier trials drew it from; says how.
            StorageError: The database refuses, or another program has ended the trial.
        """
        found = self._mirror.suggest(trial.number, name, distribution)
        if found.is_new:
            where = self._id(trial.number), name
            self._ledger.suggest(*where, found.value, found.distribution, found.of_trial, found.of_study)
            reach("trial.suggested")
            trial.params[name] = found.value
        return found

    def report(self, trial: OpenTrial, epoch: int, score: float) -> Does:
        """Record an epoch's score and return what the plan would have the trial do; if that is to wait, it waits.

        Reporting a known epoch again records nothing. If the process died before a stopped trial was ended, the epoch is judged
        again, with the same result. Three kinds of trials are never stopped: trial 0, which the others are compared with; the
        space's starting points, which are known to be good; and trials at their last epoch, which are complete.
        """
        known = epoch in trial.scores
        if not known:
            trial.scores[epoch] = score
            self._mirror.report(trial.number, epoch, score)
        does, notes = self.plan.judge(trial, epoch)
        self._mirror.mark(trial.number, notes)
        if does == "stop":  # a rung that is recorded is not judged again: only with the trial's end
            self._withheld[trial.number], notes = notes, {}
        if not known or notes:
            kept = self._stints(trial) if does == "wait" else {}
            self._ledger.report(self._id(trial.number), {} if known else {epoch: score}, notes, kept)
        reach("epoch.judged")
        return does

    def leave(self, trial: OpenTrial) -> None:
        """Leave a trial for another run to continue."""
        self._ledger.report(self._id(trial.number), {}, {}, self._stints(trial))

    def _stints(self, trial: OpenTrial) -> dict[str, Any]:
        self._mirror.describe(trial.number, trial.stints)
        return trial.stints

    def complete(self, trial: OpenTrial, score: float) -> None:
        """End a trial that was trained to its last epoch."""
        self._end(trial, TrialState.COMPLETE, score)

    def prune(self, trial: OpenTrial) -> None:
        """End a trial early; its value is its last score, if it has one."""
        self._end(trial, TrialState.PRUNED, trial.last_score)

    def fail(self, trial: OpenTrial) -> None:
        """End a trial that cannot be finished."""
        self._end(trial, TrialState.FAIL, None)

    def _end(self, trial: OpenTrial, state: TrialState, value: float | None) -> None:
        trial_id, notes = self._id(trial.number), self._withheld.pop(trial.number, {})
        self.plan.end(trial.number, failed=state == TrialState.FAIL)
        self._ledger.end(trial_id, state, value, trial.attributes, notes)
        reach("trial.ended")
        self._mirror.describe(trial.number, trial.attributes)
        self._mirror.end(trial.number, state, value if state == TrialState.COMPLETE else None)

    def note(self, key: str, value: object) -> None:
        """Store an attribute of the study."""
        self._ledger.note(key, value)


def create(database: Database, made: Definition) -> WritableStudy:
    """Create a study with all that repeating it needs, and open it.

    Raises:
        UsageError: An empty study of that name has another direction.
    """
    steps = made.objective.steps(made.space.point(), made.environment)  # of the default point: rungs are the same for all trials
    definition.create(database, made, rungs(made.settings.epochs, steps))
    return WritableStudy(database, made)
