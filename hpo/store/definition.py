"""What a study was made with: stored when it is created, checked when it is continued.

Scores under different settings are not comparable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hpo.errors import UsageError
from hpo.objective import FIRST, FIRST_BUILT_IN, of_study
from hpo.settings import TASK
from hpo.store import continued, legible
from hpo.store.database import guarded, quiet_load
from hpo.store.own import stored_settings
from hpo.store.schema import LEVELS, experimental
from hpo.system.failpoints import reach

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.storages import RDBStorage

    from hpo.folders import Location
    from hpo.objective import Objective
    from hpo.parameters import Parameter, Value
    from hpo.search_space import SearchSpace
    from hpo.settings import Settings

_LASTING = ("data_digest", "n_train", "n_scored", "classes")  # of the environment: scores of others do not compare


def create(
    storage: RDBStorage,
    location: Location,
    name: str,
    objective: Objective,
    settings: Settings,
    space: SearchSpace,
    environment: Mapping[str, Any],
    command: str,
    starts: Sequence[Mapping[str, Value]],
    levels: list[int],
) -> None:
    """Create a study and store all that repeating it needs; `levels` are its rungs. One left empty by a crash is completed.

    Raises:
        UsageError: An empty study of that name has another direction.
    """
    import optuna

    others = {*TASK} - {*objective.settings}
    with guarded(location):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(storage=storage, study_name=name, direction=objective.score.direction, load_if_exists=True)
        if [direction.name.lower() for direction in study.directions] != [objective.score.direction]:
            raise UsageError(f"study {name!r} in {location} was not made by hpo. Choose another name: hpo run {name}-2")
        reach("study.created")
        with experimental():
            study.set_metric_names([objective.score.name])
        storage.set_study_system_attr(storage.get_study_id_from_name(name), LEVELS, levels)
        for key, value in (
            ("space", space.model_dump(mode="json")),
            *([("starts", list(starts))] if starts else []),
            ("environment", dict(environment)),
            ("command", command),
            ("objective", objective.stored),
            ("recipe", objective.recipe),
            ("settings", settings.model_dump(mode="json", exclude=others)),  # last: a study with settings is whole
        ):
            reach("study.describing")
            study.set_user_attr(key, value)


class Stored(NamedTuple):
    """What a study was made with, and what its last run was given."""

    settings: Settings
    space: SearchSpace
    environment: dict[str, Any]
    options: dict[str, Any]  # trials, data_dir
    starts: Sequence[Mapping[str, Value]] = ()  # points to try after the default one
    recipe: int = FIRST  # version of what its trainings do beyond their points
    objective: str = FIRST_BUILT_IN


def stored(storage: RDBStorage, location: Location, name: str) -> Stored | None:
    """Return what is known of a study, or None where there is none of that name.

    Raises:
        UsageError: The study is not one that hpo made, or a newer hpo made it.
        StorageError: The database cannot be read, or holds what no version of hpo writes.
    """
    with guarded(location):
        known = legible.names(storage.engine)
    if name not in known:
        return None
    legible.check(storage.engine, location, name)
    with legible.legible(location, name):
        study = quiet_load(name, storage)
        attributes, trials = study.user_attrs, study.get_trials(deepcopy=False)
        if "settings" not in attributes and not trials:
            return None  # a run died while it made this study: `create` makes it whole
    version = attributes.get("recipe", FIRST)
    objective = of_study(attributes)
    latest = objective.recipe
    if isinstance(version, int) and version > latest:
        raise UsageError(
            f"study {name!r} in {location} was made by a newer hpo: its recipe has version {version}, and this hpo trains by "
            f"versions {FIRST} to {latest}. Continue it with that hpo, or give the new study a name: hpo run {name}-2"
        )
    settings, space = stored_settings(attributes), objective.stored_space(attributes.get("space"))
    if settings is None or space is None or not isinstance(version, int) or version < FIRST:
        raise UsageError(
            f"study {name!r} in {location} was not made by hpo and cannot be continued. Choose another name: hpo run {name}-2"
        )
    remembered = {key: attributes.get(key, empty) for key, empty in (("environment", {}), ("options", {}), ("starts", []))}
    continued.check(location, name, remembered, space, objective.score, settings.epochs, trials)
    return Stored(settings, space, **remembered, recipe=version, objective=objective.name)


def check_same_data(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue a study on other images.

    Raises:
        UsageError: Names both values.
    """
    for key in _LASTING:
        if key in before and before[key] != now.get(key):
            raise UsageError(
                f"study {name!r} was run with {key} = {before[key]!r}, but here it is {now.get(key)!r}, "
                f"so the scores would not be comparable. "
                f"Use the same data, or give the new study a name: hpo run {name}-2"
            )


def check_same(name: str, before: Stored, objective: Objective, wanted: Mapping[str, Any], space: SearchSpace | None) -> None:
    """Refuse to continue a study with another objective, other settings or another space than it was made with.

    Args:
        name: The study.
        before: What it was made with.
        objective: The one that was asked for.
        wanted: The settings that were asked for explicitly.
        space: The space that was asked for explicitly, or None.

    Raises:
        UsageError: Names each difference with both values, and the way out.
    """
    if objective.name != before.objective:
        raise UsageError(
            f"study {name!r} is of the objective {before.objective!r}, and you asked for {objective.name!r}. "
            f"Continue it with its own objective, or give the new study a name: hpo run {name}-2"
        )
    stored_values = before.settings.model_dump()
    differences = [f"{k} = {stored_values[k]!r}, and you asked for {v!r}" for k, v in wanted.items() if stored_values[k] != v]
    if space is not None:
        for key, parameter in before.space.parameters.items():
            asked = space.parameters.get(key)  # an objective may have lost a knob since
            if asked != parameter:
                new = _brief(asked) if asked else "none"
                differences.append(f"space {before.space.name!r} with {key}: {_brief(parameter)}, and you asked for {new}")
    if differences:
        raise UsageError(
            f"study {name!r} was run with {'; '.join(differences[:4])}{' …' if len(differences) > 4 else ''}. "
            f"Scores under different settings are not comparable. "
            f"Continue as it was: hpo resume {name}. Or give the new study a name: hpo run {name}-2 …"
        )


def _brief(parameter: Parameter) -> str:
    fields = parameter.model_dump(exclude_defaults=True)
    fields.pop("type", None)
    return ", ".join(f"{key} {value}" for key, value in fields.items())
