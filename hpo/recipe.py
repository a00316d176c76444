"""Versions of the training recipe beyond Config, so that a study made by an older hpo continues unchanged.

A study stores the version that it was made with; a study that stores none was made with version 1. To change what a training of
the same Config does, add a version: a field here that describes the change, and one branch in training. To add a field to
Config, add to `BEFORE` the value that trains as before; a stored space that lacks the field gets this value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.parameters import Value

FIRST = 1  # the version of studies that store none
BEFORE: dict[str, Value] = {"averaging": 0.0, "tta": False}  # values that train as before the field existed


@dataclass(frozen=True)
class Recipe:
    """How trainings of one version differ from other versions.

    Attributes:
        version: The number that a study stores.
        adamw_decay: Factor between `weight_decay` and AdamW's weight decay.
        width_step: Blocks that grow have a multiple of this many filters, if the first block has.
        joined_counts: A single leftover image joins the previous batch; whether its own batch still counts as a step.
        stem_shuffled: Whether the stem's filters are computed from randomly drawn images, not from the first of the data set.
        blank_is_mean: Whether cutout blanks to the images' mean at any scale, not to the value 0.
    """

    version: int
    adamw_decay: float
    width_step: int
    joined_counts: bool
    stem_shuffled: bool
    blank_is_mean: bool


_FIRST = Recipe(FIRST, adamw_decay=1.0, width_step=1, joined_counts=True, stem_shuffled=False, blank_is_mean=False)
_SECOND = Recipe(2, adamw_decay=1000.0, width_step=8, joined_counts=False, stem_shuffled=True, blank_is_mean=True)

RECIPES = {recipe.version: recipe for recipe in (_FIRST, _SECOND)}
LATEST = max(RECIPES.values(), key=lambda recipe: recipe.version)


def of_version(version: object) -> Recipe | None:
    """Return the recipe of a stored version, or None if this hpo does not know it."""
    return RECIPES.get(version) if isinstance(version, int) else None


def as_made(space: object) -> object:
    """Add the fields of Config that are newer than a stored space, so that it trains as when it was made."""
    parameters = space.get("parameters") if isinstance(space, dict) else None
    if not isinstance(space, dict) or not isinstance(parameters, dict):
        return space
    return {**space, "parameters": {name: {"type": "fixed", "value": value} for name, value in BEFORE.items()} | parameters}
