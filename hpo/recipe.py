"""What a training does beyond its Config, by version, so that a study made by an older hpo continues as it was made.

A study stores the version that it was made with; one that stores none was made with version 1. To change what a training of the
same Config does, add a version: a field here that says what is new, and one branch where training obeys it. To add a field to
Config, say in `BEFORE` which value trains as before; a stored space that lacks the field takes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.parameters import Value

FIRST = 1  # the version of studies that store none
BEFORE: dict[str, Value] = {"averaging": 0.0, "tta": False}  # what trains as it was before the field existed


@dataclass(frozen=True)
class Recipe:
    """What trainings of one version do.

    Attributes:
        version: As a study stores it.
        adamw_decay: AdamW's weight decay over `weight_decay`.
        width_step: Filters of blocks that grow are multiples of this, as far as those of the first block are.
        joined_counts: The batch that a lone last image would have been counts as a step, though the image joins the batch before.
        stem_shuffled: The images that the stem's filters are computed from are drawn at random, not in the order of the data set.
        blank_is_mean: Cutout blanks to the images' mean whatever their scale, not to the value 0.
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
    """Return the recipe of a stored version, or None where this hpo does not know it."""
    return RECIPES.get(version) if isinstance(version, int) else None


def as_made(space: object) -> object:
    """Complete a stored space by the fields of Config that are younger than it, so that it trains as when it was made."""
    parameters = space.get("parameters") if isinstance(space, dict) else None
    if not isinstance(space, dict) or not isinstance(parameters, dict):
        return space
    return {**space, "parameters": {name: {"type": "fixed", "value": value} for name, value in BEFORE.items()} | parameters}
