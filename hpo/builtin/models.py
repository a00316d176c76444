"""Networks other than the built-in one, as objectives: those of torchvision by name, and functions of one's own. No torch.

All are trained by the same loop with the knobs of recipe.py. A network of torchvision adds `dropout`; with weights that it begins
with, also how far these are kept; and a function of one's own, what its file declares. A study stores the model in `source`: a
name, or `FILE.py:build`; and in `weights` what it begins with. Whether there is such a model is found out by the first worker.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model

from hpo.builtin.convnet import suited
from hpo.builtin.recipe import BEFORE, LATEST, TrainingConfig, steps
from hpo.errors import UsageError
from hpo.objective import MODEL, PRETRAINED, Objective
from hpo.scoring.score import SHARE, Score
from hpo.settings import TASK
from hpo.system.files import expanded

if TYPE_CHECKING:
    from hpo.search_space import Knobs, SearchSpace

LOADER = "hpo.training.objective"
_ATTENTIVE = ("vit_", "swin_", "maxvit", "convnext")  # families that plain SGD trains poorly


class NetworkConfig(TrainingConfig):
    """A network of torchvision and how to train it."""

    dropout: float = Field(0.0, ge=0, le=0.95, description="rate before the last layer")


class AdaptiveConfig(NetworkConfig):
    """One that a study may begin from trained weights."""

    pretrained: bool = Field(default=True, description="begin with the trained weights; else from scratch")
    freeze: Literal["none", "half", "all"] = Field("all", description="layers of trained weights that stay as they are")
    backbone_lr: float = Field(0.1, gt=0, le=10, description="rate of trained weights that are not frozen, times lr")


def of_name(model: str, weights: str = "") -> Objective:
    """Return the objective of a network of torchvision.

    Args:
        model: Its name.
        weights: What it begins with: `pretrained`, the path of a file, or nothing.
    """
    place = weights if weights in ("", PRETRAINED) else os.path.abspath(expanded(weights))  # noqa: PTH100  # links stay
    knobs = AdaptiveConfig if weights else NetworkConfig
    shown = f"{model}, {Path(place).name}" if place else model
    return _of(shown, model, place, knobs, {name: _preset(name, model, begun=bool(weights)) for name in ("basic", "wide")})


def of_file(source: str) -> Objective:
    """Return the objective of a function in a file of one's own.

    Args:
        source: `FILE.py:build`; `:build` may be left out.

    Raises:
        UsageError: There is no such file, it cannot be imported, or it declares something that is none; says what and where.
        SpaceError: Its space breaks the bounds of what training has.
    """
    from hpo.own import describe

    told = describe.told(source, describe.MODEL)
    declared = told.space.model_dump()["parameters"] if told.space else {}
    table = {"lr": _table("network-basic")["lr"], **({} if told.space else _table("network-basic")), **declared}
    table = {name: table[name] for name in [*declared, *(name for name in table if name not in declared)]}
    presets = {told.space.name if told.space else "basic": table}
    return _of(f"{told.path.name}:{told.name}", f"{told.path}:{told.name}", "", _knobs(told.space), presets, told.digest)


def of_model(model: str, weights: str = "") -> Objective:
    """Return the objective of a model as a person or a study names it: a name of torchvision's, or `FILE.py:build`.

    Raises:
        UsageError: Weights are named for a file, which loads its own. Others as for `of_file`.
    """
    if not is_file(model):
        return of_name(model, weights)
    if weights:
        raise UsageError(f"--pretrained and --weights are for networks of torchvision: {model} loads its weights itself.")
    return of_file(model)


def of_stored(told: Mapping[str, str], score: Score, recipe: int) -> Objective:
    """Return the objective that a study stores, as far as showing and continuing it needs; nothing is imported for it."""
    model, weights = told.get("source", ""), told.get("weights", "")
    made = _of(told.get("name", ""), model, weights, None, {}, told.get("digest", ""))
    return dataclasses.replace(made, score=score, recipe=recipe)


def is_file(model: str) -> bool:
    """Whether a model is a function in a file."""
    return ".py" in model or "/" in model or os.sep in model


def _of(name: str, model: str, weights: str, knobs: Knobs | None, presets: Mapping[str, Any], digest: str = "") -> Objective:
    return Objective(
        name=name,
        knobs=knobs,
        presets=presets,
        score=Score(name="accuracy", unit=SHARE),
        loader=LOADER,
        settings=TASK,
        recipe=LATEST.version,
        before=BEFORE,
        steps=steps,
        suited=suited,
        kind=MODEL,
        source=model,
        digest=digest,
        weights=weights,
        study=Path(model.rpartition(":")[0]).stem or model,
    )


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "presets" / f"{name}.toml").read_text(encoding="utf-8"))


def _preset(name: str, model: str, *, begun: bool) -> dict[str, Any]:
    """Return a space for a network of torchvision: the parameters of training, and of its dropout and its weights."""
    table = _table(f"network-{name}") | {"dropout": {"type": "float", "low": 0.0, "high": 0.5, "default": 0.0}}
    if model.startswith(_ATTENTIVE):
        table["optimizer"] = {"choices": ["adamw", "sgd"], "default": "adamw"} if name == "wide" else "adamw"
    return table | (_table(f"adaptive-{name}") if begun else {})


def _knobs(space: SearchSpace | None) -> Knobs:
    """Return what can be set of a file's network: what it declares, in its order, and what training has."""
    given = {name: p.default for name, p in space.parameters.items()} if space else {}
    fields: dict[str, Any] = {name: (Any, default) for name, default in given.items()}
    known: dict[str, Any] = {}
    for name in given.keys() & TrainingConfig.model_fields.keys():
        field = copy.copy(TrainingConfig.model_fields[name])
        field.default = given[name]
        known[name] = (field.annotation, field)
    declared = create_model("Declared", **fields)
    knobs: Knobs = create_model("Knobs", __base__=(TrainingConfig, declared), **known)
    return knobs
