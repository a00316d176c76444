"""The one way to a network: it is built from its model, a configuration and the images' shape, all of which a study stores.

A model is `convnet`, the built-in one; the name of one of torchvision's (zoo.py); or `FILE.py:build`, a function of one's own.
Weights are random: whoever has a state loads it, and a study that begins with trained weights calls `begin`.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from pydantic import ConfigDict
from torch import nn

from hpo.builtin.convnet import BEFORE as BEFORE_CONVNET
from hpo.builtin.convnet import Config
from hpo.builtin.models import AdaptiveConfig, NetworkConfig, is_file
from hpo.builtin.recipe import BEFORE, LATEST, TrainingConfig
from hpo.errors import UsageError
from hpo.networks import model as convnet
from hpo.networks import zoo
from hpo.networks.measuring import passed
from hpo.objective import FIRST_BUILT_IN, TrialError
from hpo.own import describe
from hpo.own.declare import Shape

if TYPE_CHECKING:
    from hpo.builtin.recipe import Recipe
    from hpo.networks.model import Size
    from hpo.networks.weights import Weights
    from hpo.parameters import Value

CONVNET = FIRST_BUILT_IN


class OwnConfig(TrainingConfig):
    """How to train a network of one's own, and what its file declares beside that."""

    model_config = ConfigDict(extra="allow")


def configuration(model: str, point: Mapping[str, Value]) -> TrainingConfig:
    """Return the configuration that a point is.

    Raises:
        ValidationError: It is no point of that model.
    """
    if model == CONVNET:
        return Config.model_validate(point)
    if is_file(model):
        return OwnConfig.model_validate(point)
    return (AdaptiveConfig if point.keys() >= {"freeze"} else NetworkConfig).model_validate(point)


def before(model: str) -> Mapping[str, Value]:
    """Return values of the parameters that are younger than a stored configuration: they train as before there were any."""
    return BEFORE_CONVNET if model == CONVNET else BEFORE


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
        UsageError: There is no such model, or its file cannot be imported.
        SpaceError: It cannot be built so for such images.
        TrialError: A file's function raised an error, or returned no network.
    """
    if model == CONVNET:
        return convnet.ConvNet(cast("Config", config), n_classes, channels, edge, recipe)
    if is_file(model):
        net = _own(model, config, Shape(n_classes, channels, edge))
    else:
        zoo.check(model)
        net = zoo.Adapted(model, n_classes, edge, cast("NetworkConfig", config).dropout)
    return net.to(memory_format=torch.channels_last)  # as the images' batches are


def begin(net: nn.Module, config: TrainingConfig, weights: Weights | None) -> bool:
    """Put trained weights into a network of torchvision, and freeze what is to stay; return whether the configuration says so."""
    if weights is None or not isinstance(config, AdaptiveConfig) or not config.pretrained or not isinstance(net, zoo.Adapted):
        return False
    weights.load(net.backbone, net.edge)
    net.freeze(config.freeze)
    net.rate = config.backbone_lr
    return True


def with_head(net: nn.Module, head: nn.Module) -> nn.Module:
    """Return a network of the same backbone, not copied, with another head."""
    made = copy.deepcopy(net, {id(part): part for part in net.children()})
    made.add_module("head", head)
    return made


def measure(
    model: str, config: TrainingConfig, n_classes: int, channels: int = 3, edge: int = 32, recipe: Recipe = LATEST
) -> Size:
    """Return what the network costs; arguments and errors as for `build`."""
    if model == CONVNET:
        return convnet.measure(cast("Config", config), n_classes, channels, edge, recipe)
    own = tuple((name, value) for name, value in config if name not in TrainingConfig.model_fields)
    if not is_file(model):
        config, own = config.model_copy(update={"dropout": 0.0}), ()  # its size depends on the images alone
    return _measured(model, _Same(config, own or ()), n_classes, channels, edge)


class _Same:
    """A configuration that is equal to others of the same architecture."""

    def __init__(self, config: TrainingConfig, own: tuple[tuple[str, Any], ...]) -> None:
        self.config, self._key = config, own

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._key == other._key


@functools.lru_cache(maxsize=64)
def _measured(model: str, same: _Same, n_classes: int, channels: int, edge: int) -> Size:
    net = build(model, same.config, n_classes, channels, edge)
    try:
        size, logits = passed(net, channels, edge)
    except Exception as error:
        if not is_file(model):
            raise
        raise TrialError(type(error).__name__, describe.said(error, Path(model.rpartition(":")[0]))) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, n_classes):
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise TrialError("shape", f"for one image the network returns {shape}; expected are logits (1, {n_classes}).")
    return size


def _own(model: str, config: TrainingConfig, shape: Shape) -> nn.Module:
    """Return what a file's function builds; random numbers of Python and numpy depend on torch's seed."""
    from hpo.own.train import Config as Given

    path = Path(model.rpartition(":")[0])
    function = _function(model)
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)  # what a stranger's file may use
    try:
        net = function(Given(config.model_dump()), shape)
    except Exception as error:
        raise TrialError(type(error).__name__, describe.said(error, path)) from error
    if not isinstance(net, nn.Module):
        raise TrialError("no network", f"{path.name} returned a {type(net).__name__}: it should return a torch.nn.Module.")
    return net


@functools.cache
def _function(model: str) -> Callable[..., Any]:
    path, _, name = model.rpartition(":")
    try:
        return describe.function(describe.imported(Path(path)), name, describe.MODEL)
    except describe.ImportedError as error:
        raise UsageError(f"{Path(path).name} cannot be imported: {describe.said(error.args[0], Path(path))}") from None


def named(model: str) -> str:
    """Return a model without the place of its file."""
    return Path(model).name if is_file(model) else model


@functools.cache
def digest(model: str) -> str:
    """Return the SHA-256 of the file that a model is in, as it was when it was asked for first; of others nothing."""
    return hashlib.sha256(Path(model.rpartition(":")[0]).read_bytes()).hexdigest() if is_file(model) else ""


def check(model: str) -> None:
    """Refuse a model that cannot be built, before any trial.

    Raises:
        UsageError: There is no such model; or its file cannot be imported, or has no such function.
    """
    if is_file(model):
        digest(model)  # before it may change
        _function(model)
    elif model != CONVNET:
        zoo.check(model)
