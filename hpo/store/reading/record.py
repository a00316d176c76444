"""Stored studies for reading: used by list, show, trials, report and the Python API's `hpo.load`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo import folders
from hpo.errors import NoResultError, StorageError, UsageError, nearest
from hpo.objective import FIRST, of_study
from hpo.store import schema
from hpo.store.database import open_database
from hpo.store.own import FINISHED, are_shares, is_our_study, is_ours, ranked, state_of, stored_settings
from hpo.store.reading import reader, results, rows
from hpo.store.reading.reader import legible, names, read, study_names, unreadable
from hpo.store.schema import LONGEST_NAME

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from hpo.folders import Location
    from hpo.networks.network import Network
    from hpo.objective import Objective
    from hpo.scoring.score import Score
    from hpo.search_space import SearchSpace
    from hpo.settings import Settings
    from hpo.store.database import Database
    from hpo.store.schema import Distribution, Trial


@dataclass(frozen=True, eq=False)
class StudyRecord:
    """One study of a database, as it was when it was loaded.

    Attributes:
        name: The study's name.
        location: The database.
        study_id: The database's own.
        maximize: Whether more is better.
        attributes: The study's: settings, space, environment, command, stopped.
        trials: All trials by number.
        whole: Whether these came with what programs noted of each, and with all of their learning curves; `notes` and `curve`
            return these in any case.
    """

    name: str
    location: Location
    study_id: int
    maximize: bool
    attributes: Mapping[str, Any] = field(repr=False)
    trials: list[Trial] = field(repr=False)
    whole: bool = True

    @cached_property
    def study(self) -> optuna.Study:
        """Optuna's own object, for everything that Optuna can do with a study."""
        import optuna

        with legible(self.location, self.name):
            return optuna.load_study(study_name=self.name, storage=open_database(self.location).storage)

    @property
    def folder(self) -> Path:
        """Where its trials' checkpoints are."""
        return folders.study_folder(self.location, self.name)

    @property
    def ours(self) -> bool:
        """Whether hpo made it: only then are its values scores."""
        return is_our_study(self.attributes, maximize=self.maximize)

    @property
    def by_run(self) -> bool:
        """Whether its trials say themselves what they vary."""
        return self.space is not None and self.space.by_run

    @property
    def default(self) -> Trial | None:
        """Trial 0, where that is the default point of its space."""
        return self.trials[0] if self.trials and self.ours and not self.by_run else None

    @cached_property
    def objective(self) -> Objective:
        """What it maximizes, where hpo made it."""
        return of_study(self.attributes)

    @property
    def score(self) -> Score:
        """What its trials are judged by, where hpo made it."""
        return self.objective.score

    @cached_property
    def settings(self) -> Settings | None:
        """What it was run with; None where hpo did not make it."""
        return stored_settings(self.attributes)

    def has(self, setting: str) -> bool:
        """Whether its objective has a setting: a stranger's may know of no data set."""
        stored = self.attributes.get("settings")
        return isinstance(stored, dict) and setting in stored

    @cached_property
    def space(self) -> SearchSpace | None:
        """What it searches; None where hpo did not make it."""
        return self.objective.stored_space(self.attributes.get("space"))

    @property
    def recipe(self) -> int:
        """Version of the recipe that its trials are trained by."""
        version = self.attributes.get("recipe", FIRST)
        return version if isinstance(version, int) else FIRST

    @cached_property
    def own(self) -> list[Trial]:
        """The trials that hpo tried; in a study that hpo did not make, all."""
        return [trial for trial in self.trials if is_ours(trial, self.varied)]

    def state(self, trial: Trial) -> str:
        """Return a trial's state in lower case: Optuna's, or `foreign` for one that is not hpo's."""
        return state_of(trial, self.varied)

    @property
    def counts(self) -> Counter[str]:
        """Number of trials by state."""
        return Counter(map(self.state, self.trials))

    @property
    def n_finished(self) -> int:
        """Complete and pruned trials of hpo's own."""
        return sum(trial.state in FINISHED for trial in self.own)

    @cached_property
    def varied(self) -> dict[str, Distribution] | None:
        """What it varies; None where hpo did not make it."""
        return schema.varied(self.space) if self.space else None

    @cached_property
    def ranked(self) -> list[Trial]:
        """The complete trials of hpo's own that have a result, the best first; of equals the first."""
        return ranked(self.own, maximize=self.maximize)

    @property
    def winner(self) -> Trial | None:
        """The best trial; None where no trial is complete."""
        return self.ranked[0] if self.ranked else None

    @property
    def best(self) -> Trial:
        """The best trial.

        Raises:
            NoResultError: No trial is complete.
        """
        if self.winner is None:
            mend = f" Continue it: hpo resume {self.name}" if self.ours else ""
            raise NoResultError(f"study {self.name!r} in {self.location} has no complete trial yet.{mend}")
        return self.winner

    @cached_property
    def is_share(self) -> bool:
        """Whether its results are shares, which people read in per cent."""
        return self.ours and self.score.is_share and are_shares(trial.value or 0.0 for trial in self.ranked)

    @property
    def checkpoint(self) -> Path | None:
        """What the best trial has left to go on from, its network or last checkpoint, there or not; None without a best trial."""
        return results.left(self, self.winner) if self.winner else None

    @property
    def winner_folder(self) -> Path | None:
        """The best trial's own folder, with its checkpoint and what the report shows of it."""
        return self.checkpoint.parent if self.checkpoint else None

    def network(self, trial: int | None = None, *, device: str = "cpu") -> Network:
        """Return the network of a trial, the best one by default, ready for pictures.

        Args:
            trial: Its number.
            device: Where it computes: `cpu`, `cuda` or `cuda:N`.

        Raises:
            NoResultError: No trial is complete.
            UsageError: No such trial, or none that has a network.
            DataError: The network's file is gone or damaged; says what to do.
        """
        from hpo.networks.network import Network

        own = self.objective.source.rpartition(":")[0]  # of a network of one's own; it is run as a run of the study runs it
        return Network.open(results.path(self, trial), device=device, code=own or None)

    def notes(self, trial: Trial) -> Mapping[str, Any]:
        """Return what programs noted of a trial.

        Raises:
            StorageError: It was not loaded with the study, and cannot be read now.
        """
        return trial.user_attrs if self.whole else reader.rest(self, trial.trial_id)[0]

    def curve(self, trial: Trial) -> Mapping[int, float]:
        """Return a trial's value after each step.

        Raises:
            StorageError: It was not loaded with the study, and cannot be read now.
        """
        return trial.intermediate_values if self.whole else reader.rest(self, trial.trial_id)[1]

    def dataframe(self) -> pd.DataFrame:
        """Return one row per trial: number, state, accuracy, parameters, and what was measured."""
        import pandas as pd

        return pd.DataFrame([self.row(trial) for trial in self.trials])

    def rows(self, *, states: Collection[str] = (), sort: str = "", top: int | None = None) -> list[dict[str, Any]]:
        """Return trials as rows: those of some states, sorted, the first `top`; see `hpo.store.reading.rows.chosen`.

        Raises:
            UsageError: No such column.
        """
        return rows.chosen(self, states, sort, top)

    def row(self, trial: Trial) -> dict[str, Any]:
        """Return a trial as plain values; accuracies 0 to 1, times in UTC as ISO 8601."""
        return rows.row(self, trial)

    @property
    def measure(self) -> str:
        """What a trial's value is called."""
        name = self.score.name if self.ours else "value"
        return f"{name} (score)" if name in rows.COLUMNS else name


def load(name: str, location: Location, *, whole: bool = True) -> StudyRecord:
    """Return a stored study.

    Args:
        name: The study's.
        location: The database.
        whole: Whether to read at once what programs noted of every trial, and all of its learning curve (see `StudyRecord`).

    Raises:
        UsageError: No such study, or one of several objectives.
        StorageError: The database cannot be used, or holds values of the study that cannot be right.
    """
    database = open_database(location)
    known = names(database)
    if name not in known:
        hint = nearest(name, known) if known else " It has no studies yet; create one: hpo run"
        raise UsageError(f"there is no study {name!r} in {location}.{hint}")
    found = _loaded(name, database, whole=whole)
    if isinstance(found, int):
        raise UsageError(f"study {name!r} in {location} has {found} objectives; hpo reads studies of one.")
    return found


def load_all(
    location: Location, problems: dict[str | bytes, StorageError] | None = None, *, whole: bool = True
) -> list[StudyRecord]:
    """Return all studies of one objective, by name.

    Args:
        location: The database.
        problems: Gets an error for each study that cannot be read, by its name; None: the first one is raised.
        whole: As for `load`.

    Raises:
        StorageError: The database cannot be used.
    """
    database = open_database(location)
    every = study_names(database)
    odd: dict[str | bytes, StorageError] = {} if problems is None else problems
    odd |= {name: unreadable(location, name, "its name is no text of Optuna's") for name in every if not _is_name(name)}
    records = []
    for name in sorted(name for name in every if isinstance(name, str) and _is_name(name)):
        try:
            found = _loaded(name, database, whole=whole)
            if isinstance(found, StudyRecord):
                records.append(found)
        except StorageError as error:
            odd[name] = error
    if problems is None and odd:
        raise next(iter(odd.values()))
    return records


def _is_name(name: str | bytes) -> bool:
    return isinstance(name, str) and len(name) <= LONGEST_NAME


def _loaded(name: str, database: Database, *, whole: bool) -> StudyRecord | int:
    """Return a study, or the number of its objectives where that is not one."""
    found = read(database, name, whole=whole)
    if len(found.directions) != 1:
        return len(found.directions)
    maximize = found.directions == ["MAXIMIZE"]
    return StudyRecord(name, database.location, found.study_id, maximize, found.attributes, found.trials, whole)
