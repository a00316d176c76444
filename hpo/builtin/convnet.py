"""The built-in network: its parameters, its presets, and the objective that is made of them. No torch.

A `Config` describes a network and its training completely: what any network is trained with (recipe.py), and what this one is
built from. The presets, spaces over it, are the files in presets/.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from hpo.builtin import recipe
from hpo.builtin.recipe import LATEST, TrainingConfig, steps
from hpo.objective import FIRST_BUILT_IN, Objective
from hpo.parameters import FloatRange
from hpo.scoring.classes import of_environment
from hpo.scoring.score import SHARE, Score
from hpo.settings import METRICS, TASK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hpo.search_space import SearchSpace


class Architecture(BaseModel):
    """What the network is built from."""

    # The four parameters that the project is about.
    depth: int = Field(3, ge=1, le=8, description="blocks of two convolutions")
    filters: int = Field(32, ge=1, le=2048, description="filters of the first block")
    dropout: float = Field(0.05, ge=0, le=0.95, description="rate before the last layer; inside the blocks 0.6 of it")
    lr: float  # here for its place among the four
    # The network.
    growth: float = Field(2.0, ge=0.25, le=8, description="filters of a block relative to the block before")
    widest: int = Field(0, ge=0, le=8192, description="most filters of a block; 0: no limit")
    convolutions: Literal[2, 3] = Field(2, description="per block; the third is beside a residual path")
    kernel: Literal[1, 3, 5, 7] = Field(3, description="kernel size of the blocks' convolutions, pixels")
    stem: Literal["none", "whiten"] = Field("whiten", description="frozen layer that whitens patches of the training images")
    norm: Literal["none", "batch", "group"] = Field("batch", description="normalization after each convolution")
    norm_scale: bool = Field(default=True, description="train the norms' scales; else only their biases")
    start: Literal["random", "identity"] = Field(
        "random", description="a convolution's first filters: random, or what passes on its input"
    )
    activation: Literal["relu", "gelu", "silu"] = Field("relu", description="function after each normalization")
    pool: Literal["early", "late"] = Field("early", description="2x2 max pooling after a block's first or last convolution")
    hidden: int = Field(0, ge=0, le=8192, description="units of a hidden layer on the flattened image; 0: global max pooling")


class Config(TrainingConfig, Architecture):
    """One point of a space: a network and how to train it."""

    lr: float = Field(0.2, gt=0, le=100, description="peak learning rate per batch; adamw uses a hundredth")


def _preset(name: str) -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "presets" / f"{name}.toml").read_text(encoding="utf-8"))


PRESETS = {name: _preset(name) for name in ("basic", "wide", "tutorial", "photos", "large")}
BEFORE = recipe.BEFORE | {"widest": 0, "convolutions": 2, "norm_scale": True, "start": "random"}
CPU = "cpu"  # the name of a device that is no GPU
MANY = 40_000  # training images: 20 of the largest batches of `large`
PHOTOGRAPHS = 64  # pixels: images of this edge or a larger one are taken for photographs


def suited(objective: Objective, environment: Mapping[str, Any]) -> SearchSpace:
    """Return the space of a study that names none: `photos` for large images, `large` for many on a GPU, else the first preset.

    Where a metric counts classes and some of them are rare, their weight in the loss is varied too. The accuracy is best where an
    image weighs as much as every other.
    """
    edge, counts = environment.get("image_size"), of_environment(environment)
    fitting = None
    if isinstance(edge, int) and edge >= PHOTOGRAPHS:
        fitting = "photos"
    elif environment.get("device", CPU) != CPU and environment.get("n_train", 0) >= MANY:
        fitting = "large"
    space = objective.space(fitting if fitting in objective.presets else None)
    if counts and counts.unequal and objective.score.name != METRICS[0]:
        weights = FloatRange(type="float", low=0.0, high=1.0, default=1.0)
        space = space.model_copy(update={"parameters": space.parameters | {"class_weights": weights}})
    return space


OBJECTIVE = Objective(
    name=FIRST_BUILT_IN,
    knobs=Config,
    presets=PRESETS,
    score=Score(name="accuracy", unit=SHARE),
    loader="hpo.training.objective",
    settings=TASK,
    recipe=LATEST.version,
    before=BEFORE,
    steps=steps,
    suited=suited,
    lanes=True,
)
