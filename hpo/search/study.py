"""The study that a run writes: the record in the database, and a mirror of it in memory that samplers and pruners look at.

Optuna asks its storage for everything, each time; on a database that costs hundreds of milliseconds a trial, growing with the
study. Here Optuna's own samplers and pruners work on an `InMemoryStorage`, and what they decided goes into the database: one
transaction a new trial, one an epoch. The mirror is rebuilt from the database at the start of every run, so nothing lives in
memory alone. Only one process may write a study; the runner's lock sees to that.
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import optuna
from optuna.trial import TrialState, create_trial

from hpo.errors import StorageError, UsageError
from hpo.failpoints import reach
from hpo.search.record import FINISHED, names, quiet_load, validated
from hpo.search.samplers import derived_seed, distributions, make_pruner, make_sampler
from hpo.search.storage import guarded
from hpo.settings import Settings
from hpo.space import SearchSpace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from hpo.search.storage import Location
    from hpo.space import Config, Value

_LASTING = (
    "data_digest",
    "n_train",
    "n_scored",
    "classes",
)  # of the environment: without these equal, scores do not compare


@dataclass
class OpenTrial:
    """A trial that is being trained, or waits to be continued.

    Attributes:
        number: Optuna's trial number.
        config: The full configuration.
        accuracies: Accuracy by epoch (from 1), as far as the database knows them.
        attributes: What will be stored with the trial when it ends.
    """

    number: int
    params: dict[str, Any]
    config: Config
    accuracies: dict[int, float] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


class WritableStudy:
    """A study that this process runs.

    Args:
        storage: The open database.
        location: Where it is.
        name: The study's name; the study exists.
        settings: As stored.
        space: As stored.
        starts: Points to try after the default one, before the sampler chooses.
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
        self._starts = [space.default, *starts]
        self._record = storage
        self._distributions = distributions(space)
        self._memory = optuna.storages.InMemoryStorage()
        with guarded(location):
            self._study_id = storage.get_study_id_from_name(name)
            trials = storage.get_all_trials(self._study_id, deepcopy=False)
            system = _of_samplers(storage.get_study_system_attrs(self._study_id))
        with experimental():
            pruner = make_pruner(settings)
        self._mirror = optuna.create_study(study_name=name, storage=self._memory, direction="maximize", pruner=pruner)
        self._mirror_id = self._memory.get_study_id_from_name(name)
        for key, value in system.items():
            self._memory.set_study_system_attr(self._mirror_id, key, value)
        self._system = dict(system)
        self._ids: list[int] = []  # the record's trial ids, by number
        self._open: dict[int, optuna.Trial] = {}  # the mirror's, by number
        self._rungs: dict[int, dict[str, Any]] = {}  # reached by trials that are to be pruned, by number
        for trial in trials:
            self._load(trial)

    def _load(self, trial: FrozenTrial) -> None:
        self._ids.append(trial._trial_id)  # noqa: SLF001  # storages speak in ids
        if trial.state == TrialState.WAITING:  # queued by another program: keeps its number, is nothing to learn from
            now = datetime.now()  # noqa: DTZ005  # Optuna's times are naive and local
            trial = create_trial(state=TrialState.FAIL)
            trial.datetime_start = trial.datetime_complete = now
        mirrored = self._memory.create_new_trial(self._mirror_id, template_trial=trial)
        if trial.state == TrialState.RUNNING:
            self._open[trial.number] = optuna.Trial(self._mirror, mirrored)

    @property
    def folder(self) -> Path:
        """Where the trials' checkpoints are."""
        return self.location.folder / self.name

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
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE and t.value is not None]
        return max(complete, key=lambda t: (t.value, -t.number), default=None)

    def unfinished(self) -> list[OpenTrial]:
        """Return the RUNNING trials of dead runs: this run goes on with them."""
        orphans = [self.trials[number] for number in sorted(self._open)]
        return [
            OpenTrial(t.number, t.params, self.space.config(t.params), dict(t.intermediate_values), dict(t.user_attrs))
            for t in orphans
            if t.params or not self._distributions  # else another program has only begun it
        ]

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
        with experimental():
            self._mirror.sampler = make_sampler(self.settings, number)
            trial = self._mirror.ask(self._distributions)
        if trial.number != number:
            raise AssertionError(f"the mirror is at trial {trial.number}, the record at {number}")
        reach("trial.asked")
        frozen = create_trial(state=TrialState.RUNNING, params=trial.params, distributions=self._distributions)
        with guarded(self.location):
            trial_id = self._record.create_new_trial(self._study_id, template_trial=frozen)
            if self._record.get_trial_number_from_id(trial_id) != number:
                raise StorageError(
                    f"another program has added trials to study {self.name!r} in {self.location} while it was run. "
                    f"Continue with what is there: hpo resume {self.name}"
                )
            reach("trial.recorded")
            self._copy_study_attributes()
        reach("trial.open")
        self._ids.append(trial_id)
        self._open[number] = trial
        return OpenTrial(number, trial.params, self.space.config(trial.params))

    def _copy_study_attributes(self) -> None:
        """Record what a sampler noted about the study (QMC: its position in the sequence)."""
        for key, value in self._memory.get_study_system_attrs(self._mirror_id).items():
            if self._system.get(key) != value:
                self._record.set_study_system_attr(self._study_id, key, value)
                self._system[key] = value

    def report(self, trial: OpenTrial, epoch: int, accuracy: float) -> bool:
        """Record an epoch's accuracy and return whether the pruner would stop the trial here.

        An epoch that is known already changes nothing, and is judged again: alike, if it was to stop the trial and this process
        died before it did. Trial 0 is never stopped: the others are compared with it. Nor is a trial at its last epoch: it is
        complete.
        """
        mirrored, trial_id = self._open[trial.number], self._ids[trial.number]
        if epoch not in trial.accuracies:
            trial.accuracies[epoch] = accuracy
            mirrored.report(accuracy, epoch)
            with guarded(self.location):
                reach("epoch.reporting")
                self._record.set_trial_intermediate_value(trial_id, epoch, accuracy)
                reach("epoch.reported")
        if epoch >= self.settings.epochs:
            return False
        before = self._system_attributes(trial.number)
        prune = mirrored.should_prune() and trial.number > 0  # trial 0 is asked about too: it competes for the rungs
        reached = {k: v for k, v in self._system_attributes(trial.number).items() if before.get(k) != v}  # halving's rungs
        if prune:  # a rung that is recorded is not judged again: only with the trial's end
            self._rungs[trial.number] = reached
        else:
            self._record_rungs(trial_id, reached)
        reach("epoch.judged")
        return prune

    def _record_rungs(self, trial_id: int, reached: Mapping[str, Any]) -> None:
        with guarded(self.location):
            for key, value in reached.items():
                self._record.set_trial_system_attr(trial_id, key, value)

    def _system_attributes(self, number: int) -> dict[str, Any]:
        mirrored = self._memory.get_trial_id_from_study_id_trial_number(self._mirror_id, number)
        return dict(self._memory.get_trial_system_attrs(mirrored))

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
        trial_id = self._ids[trial.number]
        mirrored = self._open.pop(trial.number)
        with guarded(self.location):
            for key, attribute in trial.attributes.items():
                self._record.set_trial_user_attr(trial_id, key, attribute)
            reach("trial.described")
            self._record_rungs(trial_id, self._rungs.pop(trial.number, {}))
            reach("trial.judged")
            self._record.set_trial_state_values(trial_id, state, None if value is None else [value])
        reach("trial.ended")
        for key, attribute in trial.attributes.items():
            mirrored.set_user_attr(key, attribute)
        self._mirror.tell(mirrored, value if state == TrialState.COMPLETE else None, state)

    def note(self, key: str, value: object) -> None:
        """Store an attribute of the study."""
        with guarded(self.location):
            self._record.set_study_user_attr(self._study_id, key, value)


def _of_samplers(system: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the dashboard's notes and artifacts: there may be thousands, and the mirror is looked through at every trial."""
    return {key: value for key, value in system.items() if not key.startswith(("dashboard:", "artifacts:", "hpo:"))}


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """Use what Optuna calls experimental without its warning: names of metrics, GP and QMC are years old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def create(
    storage: RDBStorage,
    location: Location,
    name: str,
    settings: Settings,
    space: SearchSpace,
    environment: Mapping[str, Any],
    command: str,
    starts: Sequence[Mapping[str, Value]] = (),
) -> WritableStudy:
    """Make a study with all that it takes to do it again; one of that name without trials and settings is made whole.

    Raises:
        UsageError: An empty study of that name has another direction.
    """
    with guarded(location):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        if study.directions != [optuna.study.StudyDirection.MAXIMIZE]:
            raise UsageError(f"study {name!r} in {location} was not made by hpo. Choose another name: hpo run {name}-2")
        reach("study.created")
        with experimental():
            study.set_metric_names(["accuracy"])
        for key, value in (
            ("space", space.model_dump(mode="json")),
            *([("starts", list(starts))] if starts else []),
            ("environment", dict(environment)),
            ("command", command),
            ("settings", settings.model_dump(mode="json")),  # last: a study with settings is whole
        ):
            reach("study.describing")
            study.set_user_attr(key, value)
    return WritableStudy(storage, location, name, settings, space, starts)


class Stored(NamedTuple):
    """What a study was made with, and what its last run was given."""

    settings: Settings
    space: SearchSpace
    environment: dict[str, Any]
    options: dict[str, Any]  # trials, data_dir
    starts: Sequence[Mapping[str, Value]] = ()  # points to try after the default one


def stored(storage: RDBStorage, location: Location, name: str) -> Stored | None:
    """Return what is known of a study, or None where there is none of that name.

    Raises:
        UsageError: The study is not one that hpo made.
    """
    with guarded(location):
        if name not in names(storage):
            return None
        study = quiet_load(name, storage)
        attributes = study.user_attrs
        if "settings" not in attributes and not study.get_trials(deepcopy=False):
            return None  # a run died while it made this study: `create` makes it whole
    settings, space = validated(Settings, attributes.get("settings")), validated(SearchSpace, attributes.get("space"))
    if settings is None or space is None:
        raise UsageError(
            f"study {name!r} in {location} was not made by hpo and cannot be continued. Choose another name: hpo run {name}-2"
        )
    return Stored(settings, space, attributes.get("environment", {}), attributes.get("options", {}), attributes.get("starts", []))


def check_same_data(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue a study on other images.

    Raises:
        UsageError: Names both values.
    """
    for key in _LASTING:
        if key in before and before[key] != now.get(key):
            raise UsageError(
                f"study {name!r} was run with {key} = {before[key]!r}, and here it is {now.get(key)!r}; "
                f"their scores would not compare. "
                f"Use the same data, or give the new study a name: hpo run {name}-2"
            )


def check_same(name: str, before: Stored, wanted: Mapping[str, Any], space: SearchSpace | None) -> None:
    """Refuse to continue a study with other settings or another space than it was made with.

    Args:
        name: The study.
        before: What it was made with.
        wanted: The settings that were asked for explicitly.
        space: The space that was asked for explicitly, or None.

    Raises:
        UsageError: Names each difference with both values, and the way out.
    """
    stored_values = before.settings.model_dump()
    differences = [f"{k} = {stored_values[k]!r}, and you asked for {v!r}" for k, v in wanted.items() if stored_values[k] != v]
    if space is not None:
        for key, parameter in before.space.parameters.items():
            if space.parameters[key] != parameter:
                old, new = _brief(parameter), _brief(space.parameters[key])
                differences.append(f"space {before.space.name!r} with {key}: {old}, and you asked for {new}")
    if differences:
        raise UsageError(
            f"study {name!r} was run with {'; '.join(differences[:4])}{' …' if len(differences) > 4 else ''}. "
            f"Scores of different settings do not compare. "
            f"Continue as it was: hpo resume {name}. Or give the new study a name: hpo run {name}-2 …"
        )


def _brief(parameter: Any) -> str:  # noqa: ANN401
    fields = parameter.model_dump(exclude_defaults=True)
    fields.pop("type", None)
    return ", ".join(f"{key} {value}" for key, value in fields.items())
