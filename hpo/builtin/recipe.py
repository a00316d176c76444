"""How a network is trained, whichever it is: the parameters that all networks share, and the versions of the recipe. No torch.

A network's own parameters are beside these in its configuration: the built-in's in convnet.py, another's in models.py. To add a
parameter, add a field here with its bounds and the value that spaces fix it to, and the line in training/ that obeys it.
What a training does beyond its configuration is a `Recipe`: a study stores the version that it was made with (none: version 1),
and continues by it. To change what a training of the same configuration does, add a version: a field of `Recipe` that describes
the change, and one branch in training. A field that is younger than a stored space gets its value from `BEFORE`, which trains as
before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from hpo.objective import FIRST

if TYPE_CHECKING:
    from hpo.parameters import Value


FEWEST, MOST = 128, 500  # images per step where their number decides


def batch_size(configured: int, n_train: int) -> int:
    """Return the images per step for so many training images: as configured, or where that is 0 a hundredth, within limits."""
    return configured or min(max(n_train // 100, FEWEST), MOST)


class TrainingConfig(BaseModel):
    """How to train a network; the configuration of each kind of network adds what that is built from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The training.
    lr: float = Field(0.05, gt=0, le=100, description="peak learning rate per batch; adamw uses a hundredth")
    optimizer: Literal["sgd", "adamw", "muon"] = Field("sgd", description="muon: of convolutions, and sgd of the rest")
    momentum: float = Field(0.9, ge=0, lt=1, description="of the optimizer; adamw: its first beta")
    nesterov: bool = Field(default=True, description="of sgd: Nesterov's momentum; muon always has it")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="of convolutions, linear layers; adamw: since recipe 2 1,000 times")
    batch_size: int = Field(
        128, ge=0, le=65536, description=f"images per step; 0: a hundredth of the training images, {FEWEST} to {MOST}"
    )
    schedule: Literal["constant", "one-cycle", "falling"] = Field("one-cycle", description="course of the learning rate")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the label that is spread over all classes")
    averaging: float = Field(0.1, ge=0, le=1, description="of the scored weights, over this share of the training; 0: none")
    class_weights: float = Field(0.0, ge=0, le=1, description="weight of rare classes in the loss; 0: none, 1: all classes alike")
    # The images.
    tta: bool | Literal["shifted"] = Field(
        default=True, description="test-time augmentation: score mirror images too, at the end; shifted: also moved by a pixel"
    )
    standardize: bool = Field(default=True, description="zero mean and unit variance per channel; else values 0 to 1")
    flip: bool = Field(default=True, description="mirror half of the training images")
    shift: int = Field(2, ge=0, le=16, description="move training images by up to this many pixels of 32")
    cutout: int = Field(0, ge=0, le=32, description="edge of a square blanked in each training image, pixels of 32")
    crop: float = Field(1.0, ge=0.05, le=1, description="least share of a training image that a random crop shows; 1: all of it")
    jitter: float = Field(0.0, ge=0, le=0.9, description="random brightness, contrast and saturation, up to this share; 0: none")

    def on(self, n_train: int) -> Self:
        """Return the configuration with the batch size that it has on so many training images."""
        return self.model_copy(update={"batch_size": batch_size(self.batch_size, n_train)})


# Values that train as before the field existed; where that is its default, for checkpoints, which hold every field.
# Those of the built-in network are in convnet.py.
BEFORE: dict[str, Value] = {"averaging": 0.0, "tta": False, "class_weights": 0.0, "crop": 1.0, "jitter": 0.0}


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
        early_views: In how many views images are scored, at most, after an epoch that is not the last: `tta` is for the result.
        muon_batch: With Muon, of what is no convolution: the batch up to which the rate per image increases as the root of
            the batch falls, so that it stays where `lr` falls with the root of the batch; 0: it is the same for every batch.
    """

    version: int
    adamw_decay: float
    width_step: int
    joined_counts: bool
    stem_shuffled: bool
    blank_is_mean: bool
    early_views: int
    muon_batch: int


_FIRST = Recipe(
    FIRST,
    adamw_decay=1.0,
    width_step=1,
    joined_counts=True,
    stem_shuffled=False,
    blank_is_mean=False,
    early_views=6,
    muon_batch=0,
)
_SECOND = replace(
    _FIRST, version=2, adamw_decay=1000.0, width_step=8, joined_counts=False, stem_shuffled=True, blank_is_mean=True
)
_THIRD = replace(_SECOND, version=3, early_views=2, muon_batch=2000)
_FOURTH = replace(_THIRD, version=4, early_views=1)

RECIPES = {recipe.version: recipe for recipe in (_FIRST, _SECOND, _THIRD, _FOURTH)}
LATEST = max(RECIPES.values(), key=lambda recipe: recipe.version)


def of_version(version: object) -> Recipe | None:
    """Return the recipe of a stored version, or None if this hpo does not know it."""
    return RECIPES.get(version) if isinstance(version, int) else None


def steps(point: Mapping[str, Value], environment: Mapping[str, Any]) -> int | None:
    """Return the batches of an epoch of a point; None where the number of images is not known."""
    n_train = environment.get("n_train")
    if not isinstance(n_train, int) or n_train <= 0:
        return None
    return math.ceil(n_train / batch_size(int(point["batch_size"]), n_train))
