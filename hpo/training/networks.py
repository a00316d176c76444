"""The one way to a network: it is built from its model, a configuration and the images' shape, all of which a study stores.

A model is `convnet`, the built-in one. Weights are random: whoever has a state loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from hpo.convnet import Config
from hpo.errors import UsageError
from hpo.objective import FIRST_BUILT_IN
from hpo.recipe import LATEST, TrainingConfig
from hpo.training import model as convnet

if TYPE_CHECKING:
    from torch import nn

    from hpo.parameters import Value
    from hpo.recipe import Recipe
    from hpo.training.model import Size

CONVNET = FIRST_BUILT_IN


def configuration(model: str, point: Mapping[str, Value]) -> TrainingConfig:
    """Return the configuration that a point is.

    Raises:
        UsageError: There is no such model.
        ValidationError: It is no point of that model.
    """
    _check(model)
    return Config.model_validate(point)


def build(
    model: str, config: TrainingConfig, n_classes: int, channels: int = 3, edge: int = 32, recipe: Recipe = LATEST
) -> nn.Module:
    """Return a network for images (N, channels, edge, edge), scaled, that returns logits (N, n_classes).

    Args:
        model: As a study stores it.
        config: From `configuration`.
        n_classes, channels, edge: Of the images.
        recipe: The study's.

    Raises:
        UsageError: There is no such model.
        SpaceError: It cannot be built so for such images.
    """
    _check(model)
    return convnet.ConvNet(cast("Config", config), n_classes, channels, edge, recipe)


def measure(
    model: str, config: TrainingConfig, n_classes: int, channels: int = 3, edge: int = 32, recipe: Recipe = LATEST
) -> Size:
    """Return what the network costs; arguments and errors as for `build`."""
    _check(model)
    return convnet.measure(cast("Config", config), n_classes, channels, edge, recipe)


def _check(model: str) -> None:
    if model != CONVNET:
        raise UsageError(f"there is no model {model!r}.")
