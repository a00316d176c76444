"""Which objective is meant, by what a person names or a study stores. What describes its kind is imported where it is meant."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.builtin.convnet import OBJECTIVE
from hpo.errors import UsageError
from hpo.objective import MODEL, PRETRAINED, Objective
from hpo.search_space import SearchSpace
from hpo.settings import IMAGES, Settings

if TYPE_CHECKING:
    from hpo.scoring.score import Score
    from hpo.store.reading.record import StudyRecord


def of_file(source: str, *, with_data: bool) -> Objective:
    """Return a file with training code as an objective."""
    from hpo.own import describe

    objective = describe.of_file(source)
    return dataclasses.replace(objective, settings=IMAGES) if with_data else objective


def of_model(model: str | None, weights: Path | str | None, settings: Settings, *, pretrained: bool) -> Objective:
    """Return a network by its name or its file; None is the built-in one."""
    for named, given in (("model", model), ("weights", weights)):
        if given is not None and not str(given).strip():
            raise UsageError(f"{named} is empty: name one, or leave it out.")
    if pretrained and weights is not None:
        raise UsageError("--pretrained and --weights both name weights to begin with: leave one out.")
    begun = PRETRAINED if pretrained else str(weights or "")
    if model in (None, OBJECTIVE.name):
        if begun:
            raise UsageError("trained weights are of a network of torchvision. Name it, such as: --model resnet18 --pretrained")
        return OBJECTIVE
    from hpo.builtin import models

    made = models.of_model(str(model), begun)
    return dataclasses.replace(made, study=f"{settings.images}-{made.study}"[:100])


def of_optuna(source: str, score: Score | None, space: SearchSpace | str | None) -> Objective:
    """Return a file with an Optuna objective as an objective."""
    from hpo.own import optuna_file

    if space is not None:
        raise UsageError("an Optuna objective says itself what it varies: leave --space out.")
    return optuna_file.of_optuna(source, score)


def of_command(command: str, score: Score | None, space: SearchSpace | str | None) -> Objective:
    """Return any program as an objective."""
    from hpo.own import command as program
    from hpo.own.declare import maximize

    if isinstance(space, SearchSpace):
        raise UsageError("with a command, space should be the path of a space file.")
    objective = program.of_command(command, score or maximize("accuracy"), space)
    return dataclasses.replace(objective, guessed=score is None)


def of_record(found: StudyRecord, command: str | None = None, *, by: str = "run") -> Objective:
    """Return the objective of a study, as it is now where it is somebody's own file.

    Args:
        found: The study.
        command: Its program, where it is trained by one: named again, as `hpo run` asks for it.
        by: The command that is to name it.

    Raises:
        UsageError: It is trained by a program that is not named, or by what hpo does not know.
    """
    stored = found.objective
    if command is not None and stored.kind != "command":
        raise UsageError(f"study {found.name!r} is not trained by a program. Leave --command out.")
    if command is not None:
        return of_command(command, stored.score, None)
    if stored.kind == "train":
        return of_file(stored.source, with_data=found.has("dataset") or found.has("data"))
    if stored.kind == MODEL:
        from hpo.builtin import models

        return models.of_model(stored.source, stored.weights)
    if stored.kind == "optuna":
        return of_optuna(stored.source, stored.score, None)
    if stored.kind == "command":
        raise UsageError(
            f"study {found.name!r} is trained by a program, and none is run because a database says so. Name it again: "
            f"hpo {by} {found.name} {shlex.join(stored.options if by == 'run' else stored.options[:2])}"
        )
    if not stored.loader:
        raise UsageError(
            f"study {found.name!r} is of the objective {stored.name!r}, which hpo does not know. Name it, as for hpo.run."
        )
    return stored
