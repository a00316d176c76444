"""A study as it is stored, for whoever only reads: list, show, trials, report, and the Python API's `hpo.load`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import optuna
from optuna.trial import TrialState
from pydantic import BaseModel, ValidationError

from hpo.errors import NoResultError, UsageError, nearest
from hpo.search import layout
from hpo.search.own import is_ours
from hpo.search.samplers import distributions
from hpo.search.storage import Location, guarded, open_storage
from hpo.settings import Settings
from hpo.space import SearchSpace

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

Model = TypeVar("Model", bound=BaseModel)

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def ranked(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the complete trials, the best first; of equals the first."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    return sorted(complete, key=lambda t: (-(t.value or 0), t.number))


@dataclass(frozen=True)
class StudyRecord:
    """One study of a database.

    Attributes:
        study: Optuna's own object, for everything that Optuna can do with a study.
        location: The database.
    """

    study: optuna.Study
    location: Location

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.study_name

    @property
    def folder(self) -> Path:
        """Where its trials' checkpoints are."""
        return layout.study_folder(self.location, self.name)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The study's attributes: settings, space, environment, command, stopped."""
        return self.study.user_attrs

    @property
    def settings(self) -> Settings | None:
        """What it was run with; None where hpo did not make it."""
        return validated(Settings, self.attributes.get("settings"))

    @property
    def space(self) -> SearchSpace | None:
        """What it searches; None where hpo did not make it."""
        return validated(SearchSpace, self.attributes.get("space"))

    @cached_property
    def trials(self) -> list[FrozenTrial]:
        """All trials by number."""
        with guarded(self.location):
            return self.study.get_trials(deepcopy=False)

    @cached_property
    def own(self) -> list[FrozenTrial]:
        """The trials that hpo tried; in a study that hpo did not make, all."""
        varied = distributions(self.space) if self.space else None
        return [trial for trial in self.trials if is_ours(trial, varied)]

    @property
    def counts(self) -> Counter[str]:
        """Number of trials by state, in lower case."""
        return Counter(trial.state.name.lower() for trial in self.trials)

    @property
    def n_finished(self) -> int:
        """Complete and pruned trials."""
        return sum(trial.state in FINISHED for trial in self.trials)

    @property
    def best(self) -> FrozenTrial:
        """The complete trial of the highest accuracy; of equals the first.

        Raises:
            NoResultError: No trial is complete.
        """
        complete = ranked(self.trials)
        if not complete:
            raise NoResultError(
                f"study {self.name!r} in {self.location} has no complete trial yet. Continue it: hpo resume {self.name}"
            )
        return complete[0]

    @property
    def winner_folder(self) -> Path | None:
        """The best trial's own folder, with its checkpoint and what the report shows of it."""
        checkpoint = self.best.user_attrs.get("checkpoint") if self.counts["complete"] else None
        path = layout.checkpoint(self.location, self.name, checkpoint)
        return path.parent if path else None

    def dataframe(self) -> pd.DataFrame:
        """Return one row a trial: number, state, accuracy, parameters, and what was measured."""
        import pandas as pd

        return pd.DataFrame([self.row(trial) for trial in self.trials])

    def row(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return a trial as plain values; accuracies 0 to 1, times in ISO 8601."""
        measured = ("seconds", "images_per_second", "n_parameters", "macs", "reason")
        return {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "accuracy": trial.value if trial.state in FINISHED else None,
            "epochs": trial.last_step or 0,
            **trial.params,
            **{key: trial.user_attrs.get(key) for key in measured},
            "started": trial.datetime_start.isoformat() if trial.datetime_start else None,
            "ended": trial.datetime_complete.isoformat() if trial.datetime_complete else None,
        }


def validated(model: type[Model], value: object) -> Model | None:
    """Return a stored attribute as what it was made from, or None where hpo did not make it."""
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def load(name: str, location: Location) -> StudyRecord:
    """Return a stored study.

    Raises:
        UsageError: No such study, or one of several objectives.
        StorageError: The database cannot be used.
    """
    storage = open_storage(location)
    with guarded(location):
        known = names(storage)
        if name not in known:
            hint = nearest(name, known) if known else " It has none yet; `hpo run` makes one."
            raise UsageError(f"there is no study {name!r} in {location}.{hint}")
        study = quiet_load(name, storage)
        if len(study.directions) > 1:
            raise UsageError(f"study {name!r} in {location} has {len(study.directions)} objectives; hpo reads studies of one.")
    return StudyRecord(study, location)


def load_all(location: Location) -> list[StudyRecord]:
    """Return all studies of one objective, by name."""
    storage = open_storage(location)
    with guarded(location):
        studies = [quiet_load(name, storage) for name in sorted(names(storage))]
        return [StudyRecord(study, location) for study in studies if len(study.directions) == 1]


def names(storage: RDBStorage) -> list[str]:
    """Return the names of all studies."""
    return [study.study_name for study in storage.get_all_studies()]


def quiet_load(name: str, storage: RDBStorage) -> optuna.Study:
    """Load a study without Optuna's lines on standard error."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=name, storage=storage)
