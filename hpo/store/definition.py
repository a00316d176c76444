"""What a study is made with: stored when it is created, looked at and compared when it is continued.

Scores under different settings are not comparable. And anybody may have edited the database since: what a run would go on with
must be what hpo writes. A run asks this before its workers start; a study that it refuses can still be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hpo.errors import SpaceError, StorageError, UsageError, explain
from hpo.objective import FIRST, of_study
from hpo.settings import PLACES, TASK, RunOptions
from hpo.store import repetitions, schema
from hpo.store.database import guarded
from hpo.store.own import is_ours, stored_settings
from hpo.store.reading import reader
from hpo.system.failpoints import reach

if TYPE_CHECKING:
    from hpo.folders import Location
    from hpo.objective import Objective
    from hpo.parameters import Parameter, Value
    from hpo.search_space import SearchSpace
    from hpo.settings import Settings
    from hpo.store.database import Database
    from hpo.store.repetitions import Repetitions
    from hpo.store.schema import Trial

_SOURCES = ("dataset", "data")  # settings that name images
_LASTING = (
    "data_digest",
    "n_train",
    "n_scored",
    "classes",
    "weights_digest",
)  # of the environment: scores of others do not compare


@dataclass(frozen=True)
class Definition:
    """What a study is made with, and what its last run was given.

    Attributes:
        name: The study's.
        objective: What it maximizes.
        settings, space: What all its trials share, and where they differ.
        environment: Data and machine of the run that made it.
        command: Which made it.
        starts: Points to try after the default one and the space's own.
        options: What its last run was given: trials, keep_checkpoints, data_dir.
        recipe: Version of what its trainings do beyond their points.
        repetitions: What is trained, where that is settled; else it is searched.
        images: Whether its settings name images.
    """

    name: str
    objective: Objective
    settings: Settings
    space: SearchSpace
    environment: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    starts: Sequence[Mapping[str, Value]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: int = FIRST
    repetitions: Repetitions | None = None
    images: bool = True

    def check_same(self, objective: Objective, wanted: Mapping[str, Any], space: SearchSpace | None) -> None:
        """Refuse to continue a study with another objective, other settings or another space than it was made with.

        Args:
            objective: The one that was asked for.
            wanted: The settings that were asked for explicitly.
            space: The space that was asked for explicitly, or None.

        Raises:
            UsageError: Names each difference with both values, and the way out.
        """
        if objective.name != self.objective.name:
            raise UsageError(
                f"study {self.name!r} is of the objective {self.objective.name!r}, and you asked for {objective.name!r}. "
                f"Continue it with its own objective, or give the new study a name: hpo run {self.name}-2"
            )
        made, asked_for = self.objective.score, objective.score
        own = objective.kind in ("train", "optuna", "command")  # of others the settings say what counts
        if own and not objective.guessed and (made.name, made.maximize) != (asked_for.name, asked_for.maximize):
            raise UsageError(
                f"study {self.name!r} {made.direction}s {made.name}, and you asked to {asked_for.direction} {asked_for.name}. "
                f"Continue it as it was: hpo resume {self.name}. Or give the new study a name: hpo run {self.name}-2 …"
            )
        stored_values = self.settings.model_dump()
        sources = self._other_source(wanted)
        differences = sources + [
            f"{k} = {_said(stored_values[k])}, and you asked for {_said(v)}"
            for k, v in wanted.items()
            if stored_values[k] != v
            and not (k in PLACES and stored_values[k])  # what lies there is compared by its digest
            and not (sources and k in _SOURCES)
        ]
        if space is not None:
            for key, parameter in self.space.parameters.items():
                asked = space.parameters.get(key)  # an objective may have lost a knob since
                if asked != parameter:
                    new = _brief(asked) if asked else "none"
                    differences.append(f"space {self.space.name!r} with {key}: {_brief(parameter)}, and you asked for {new}")
        if differences:
            raise UsageError(
                f"study {self.name!r} was run with {'; '.join(differences[:4])}{' …' if len(differences) > 4 else ''}. "
                f"Scores under different settings are not comparable. "
                f"Continue as it was: hpo resume {self.name}. Or give the new study a name: hpo run {self.name}-2 …"
            )

    def _other_source(self, wanted: Mapping[str, Any]) -> list[str]:
        """Return how the images that were asked for are named otherwise than the study's, which a default would hide."""
        asked = [f"{key} = {_said(wanted[key])}" for key in _SOURCES if wanted.get(key) is not None]
        if asked and not self.images:
            return [f"no images of hpo's, and you asked for {asked[0]}"]
        if "dataset" in wanted and self.settings.data is not None:
            return [f"data = {_said(self.settings.data)}, and you asked for {asked[0]}"]
        return []

    def check_same_data(self, now: Mapping[str, Any]) -> None:
        """Refuse to continue a study on other images.

        Raises:
            UsageError: Names both values.
        """
        for key in _LASTING:
            if key in self.environment and self.environment[key] != now.get(key):
                raise UsageError(
                    f"study {self.name!r} was run with {key} = {self.environment[key]!r}, but here it is {now.get(key)!r}, "
                    f"so the scores would not be comparable. "
                    f"Use the same data, or give the new study a name: hpo run {self.name}-2"
                )


def create(database: Database, made: Definition, levels: list[int]) -> None:
    """Create a study and store all that repeating it needs; `levels` are its rungs. One left empty by a crash is completed.

    Raises:
        UsageError: An empty study of that name has another direction.
    """
    import optuna

    name, objective, storage = made.name, made.objective, database.storage
    others = ({*TASK} - {*objective.settings}) | made.settings.unused()
    with guarded(database.location):
        study = optuna.create_study(storage=storage, study_name=name, direction=objective.score.direction, load_if_exists=True)
        if [direction.name.lower() for direction in study.directions] != [objective.score.direction]:
            raise _not_ours(name, database.location)
        reach("study.created")
        with schema.experimental():
            study.set_metric_names([objective.score.name])
        storage.set_study_system_attr(storage.get_study_id_from_name(name), schema.LEVELS, levels)
        for key, value in (
            ("space", made.space.model_dump(mode="json")),
            *([("starts", list(made.starts))] if made.starts else []),
            ("environment", dict(made.environment)),
            ("command", made.command),
            ("objective", objective.stored),
            ("recipe", made.recipe),
            *([(repetitions.KEY, made.repetitions.model_dump(mode="json"))] if made.repetitions else []),
            ("settings", made.settings.model_dump(mode="json", exclude=others)),  # last: a study with settings is whole
        ):
            reach("study.describing")
            study.set_user_attr(key, value)


def stored(database: Database, name: str) -> Definition | None:
    """Return what a study was made with, or None where there is none of that name.

    Raises:
        UsageError: The study is not one that hpo made, or a newer hpo made it.
        StorageError: The database cannot be read, or holds what no version of hpo writes.
    """
    if name not in reader.names(database):
        return None
    found, location = reader.read(database, name), database.location
    attributes = found.attributes
    if "settings" not in attributes and not found.trials and len(found.directions) == 1:
        return None  # a run died while it made this study: `create` makes it whole
    version, objective = attributes.get("recipe", FIRST), of_study(attributes)
    latest = objective.recipe
    if isinstance(version, int) and version > latest:
        raise UsageError(
            f"study {name!r} in {location} was made by a newer hpo: its recipe has version {version}, and this hpo trains by "
            f"versions {FIRST} to {latest}. Continue it with that hpo, or give the new study a name: hpo run {name}-2"
        )
    settings, space = stored_settings(attributes), objective.stored_space(attributes.get("space"))
    if settings is None or space is None or not isinstance(version, int) or version < FIRST:
        raise _not_ours(name, location)
    kept = {key: attributes.get(key, empty) for key, empty in (("environment", {}), ("options", {}), ("starts", []))}
    kept |= {
        "command": str(attributes.get("command", "")),
        "recipe": version,
        "repetitions": _repetitions(name, attributes, location),
        "images": bool({*_SOURCES} & attributes["settings"].keys()),
    }
    made = Definition(name, objective, settings, space, **kept)
    _check(made, found.trials, location)
    return made


def _repetitions(name: str, attributes: Mapping[str, Any], location: Location) -> Repetitions | None:
    found = repetitions.stored(attributes)
    if found is None and repetitions.KEY in attributes:
        raise _not_ours(name, location)
    return found


def _not_ours(name: str, location: Location) -> UsageError:
    return UsageError(
        f"study {name!r} in {location} was not made by hpo and cannot be continued. Choose another name: hpo run {name}-2"
    )


def _check(made: Definition, trials: Sequence[Trial], location: Location) -> None:
    """Refuse to continue what hpo did not write.

    Raises:
        StorageError: Says what is odd, and what to do.
    """
    try:
        _check_remembered(made)
        _check_trials(made, trials)
    except ValidationError as error:
        why = explain(error)[0]
    except (SpaceError, ValueError) as error:
        why = str(error)
    else:
        return
    raise StorageError(
        f"study {made.name!r} in {location} cannot be continued: it holds what hpo does not write ({why}). "
        f"Restore a copy of the database, or begin anew beside it: hpo run {made.name}-2"
    )


def _check_remembered(made: Definition) -> None:
    for key, kind in (("environment", dict), ("options", dict), ("starts", list)):
        if not isinstance(getattr(made, key), kind):
            raise ValueError(f"its {key} are no {kind.__name__}")  # noqa: TRY004  # as pydantic's: what somebody else wrote
    known = RunOptions.model_fields
    RunOptions.model_validate({key: value for key, value in made.options.items() if key in known and value is not None})
    for start in made.starts:
        if not isinstance(start, dict) or not start.keys() <= made.space.varied.keys():
            raise ValueError("one of its starts is no point of its space")
        made.space.point(start)
    for entry in made.repetitions.entries if made.repetitions else ():
        if entry.point.keys() != made.space.varied.keys():
            raise ValueError("one of its finalists is no point of its space")
        made.space.point(entry.point)


def _check_trials(made: Definition, trials: Sequence[Trial]) -> None:
    varied, score = schema.varied(made.space), made.objective.score
    for expected, trial in enumerate(trials):
        if trial.number != expected:
            raise ValueError(f"there is no trial {expected}")
        reported = trial.intermediate_values.items() if not made.space.by_run and is_ours(trial, varied) else ()
        for epoch, value in reported:
            if not (1 <= epoch <= made.settings.epochs and score.allows(value)):  # not a number is neither
                raise ValueError(f"the {score.name} of trial {trial.number} after epoch {epoch} is {value}")


def _said(value: object) -> str:
    return str(value) if isinstance(value, Path) else repr(value)


def _brief(parameter: Parameter) -> str:
    fields = parameter.model_dump(exclude_defaults=True)
    fields.pop("type", None)
    return ", ".join(f"{key} {value}" for key, value in fields.items())
