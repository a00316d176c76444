"""torch's own optimizers, fused, without torch's compiler."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from hpo.networks.device import has_fused_optimizers
from hpo.recipe import LATEST

if TYPE_CHECKING:
    from torch import nn

    from hpo.recipe import Recipe, TrainingConfig

SHARE = "share"  # of the rate that a group of parameters gets
ADAMW_LR = 0.01  # times `lr`, so that one range of rates suits both optimizers


def make_optimizer(
    net: nn.Module, config: TrainingConfig, device: torch.device, recipe: Recipe = LATEST
) -> torch.optim.Optimizer:
    """Return the optimizer of a configuration for the trained parameters of `net`, without decay of biases and norms."""
    trained = [p for p in net.parameters() if p.requires_grad]
    decay = config.weight_decay * (recipe.adamw_decay if config.optimizer == "adamw" else 1)
    groups = _groups(trained, decay)
    if rate := getattr(net, "rate", 0.0):  # of what has learnt already
        backbone = set(net.backbone.parameters())  # type: ignore[union-attr]
        parts = [p for p in trained if p in backbone], [p for p in trained if p not in backbone]
        groups = [
            group | {SHARE: share} for part, share in zip(parts, (rate, 1.0), strict=True) for group in _groups(part, decay)
        ]
    common: dict[str, Any] = {"params": groups, "fused": has_fused_optimizers(device)}
    if config.optimizer == "adamw":
        return _eager(torch.optim.AdamW)(lr=config.lr * ADAMW_LR, betas=(config.momentum, 0.999), **common)
    nesterov = config.nesterov and config.momentum > 0
    return _eager(torch.optim.SGD)(lr=config.lr, momentum=config.momentum, nesterov=nesterov, **common)


def _groups(trained: list[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]


@functools.cache
def _eager(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Return an optimizer of torch without the decorators of its methods.

    The decorators are for torch.compile. On their first call they import the compiler (torch._dynamo, inductor, sympy), which
    takes 77 MB and more than a second per worker, although workers compile nothing.
    """
    decorated = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    bare = {name: inspect.unwrap(getattr(kind, name)) for name in decorated}
    return type(kind.__name__, (kind,), {**bare, "step": torch.no_grad()(inspect.unwrap(kind.step))})
