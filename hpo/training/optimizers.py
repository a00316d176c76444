"""torch's own optimizers, fused, without torch's compiler."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import torch

from hpo.recipe import LATEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from hpo.recipe import Recipe
    from hpo.space import Config

ADAMW_LR = 0.01  # of `lr`: so that one range serves both optimizers


def make_optimizer(net: nn.Module, config: Config, device: torch.device, recipe: Recipe = LATEST) -> torch.optim.Optimizer:
    """Return the optimizer of a configuration for the parameters of `net` that are trained; biases and norms do not decay."""
    trained = [p for p in net.parameters() if p.requires_grad]
    decay = config.weight_decay * (recipe.adamw_decay if config.optimizer == "adamw" else 1)
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.dim() == 1], "weight_decay": 0.0},
    ]
    common: dict[str, Any] = {"params": groups, "fused": device.type in ("cpu", "cuda")}
    if config.optimizer == "adamw":
        return _eager(torch.optim.AdamW)(lr=config.lr * ADAMW_LR, betas=(config.momentum, 0.999), **common)
    nesterov = config.nesterov and config.momentum > 0
    return _eager(torch.optim.SGD)(lr=config.lr, momentum=config.momentum, nesterov=nesterov, **common)


@functools.cache
def _eager(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Return an optimizer of torch whose methods are those inside torch's decorations.

    The decorations are there for torch.compile. At their first call they import it with all that it needs (torch._dynamo,
    inductor, sympy): 77 MB and more than a second a worker, which compiles nothing.
    """
    decorated = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    bare = {name: inspect.unwrap(getattr(kind, name)) for name in decorated}
    return type(kind.__name__, (kind,), {**bare, "step": torch.no_grad()(inspect.unwrap(kind.step))})
