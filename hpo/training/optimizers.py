"""torch's own optimizers, fused, without torch's compiler; and Muon."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hpo.builtin.recipe import LATEST
from hpo.networks.device import fast_dtype, has_fused_optimizers

if TYPE_CHECKING:
    from hpo.builtin.recipe import Recipe, TrainingConfig

SHARE = "share"  # of the rate that a group of parameters gets
ADAMW_LR = 0.01  # times `lr`, so that one range of rates suits both optimizers
# With Muon, of what is no convolution (airbench): rates per image of a batch, relative to `lr`; decay relative to `weight_decay`.
BIAS_SHARE = 0.22
HEAD_SHARE = 0.0035
MUON_DECAY = 0.004
OTHERS_MOMENTUM = 0.85
WARM_UP = 0.25  # share of a one-cycle training before the peak rate


def make_optimizer(
    net: nn.Module, config: TrainingConfig, device: torch.device, recipe: Recipe = LATEST
) -> torch.optim.Optimizer:
    """Return the optimizer of a configuration for the trained parameters of `net`, without decay of biases and norms."""
    trained = [p for p in net.parameters() if p.requires_grad]
    groups = _muon_groups if config.optimizer == "muon" else _groups
    if rate := getattr(net, "rate", 0.0):  # of what has learnt already
        backbone = set(net.backbone.parameters())  # type: ignore[union-attr]
        parts = [p for p in trained if p in backbone], [p for p in trained if p not in backbone]
        params = [
            group | {SHARE: share * group.get(SHARE, 1.0)}
            for part, share in zip(parts, (rate, 1.0), strict=True)
            for group in groups(net, part, config, recipe)
        ]
    else:
        params = groups(net, trained, config, recipe)
    if config.optimizer == "muon":
        return _eager(Muon)(params, config.lr, config.momentum, fast_dtype(device))
    common: dict[str, Any] = {"params": params, "fused": has_fused_optimizers(device)}
    if config.optimizer == "adamw":
        return _eager(torch.optim.AdamW)(lr=config.lr * ADAMW_LR, betas=(config.momentum, 0.999), **common)
    nesterov = config.nesterov and config.momentum > 0
    return _eager(torch.optim.SGD)(lr=config.lr, momentum=config.momentum, nesterov=nesterov, **common)


def _groups(_net: nn.Module, trained: list[nn.Parameter], config: TrainingConfig, recipe: Recipe) -> list[dict[str, Any]]:
    """Return what decays, and what does not: biases and norms."""
    decay = config.weight_decay * (recipe.adamw_decay if config.optimizer == "adamw" else 1)
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _muon_groups(net: nn.Module, trained: list[nn.Parameter], config: TrainingConfig, recipe: Recipe) -> list[dict[str, Any]]:
    """Return convolutions; matrices with norms' scales; biases. Rates and decays of the latter two are per image of a batch."""
    gain = math.sqrt(max(1.0, recipe.muon_batch / config.batch_size))

    def others(parameters: list[nn.Parameter], share: float) -> dict[str, Any]:
        share *= config.batch_size * gain
        decay = config.weight_decay * MUON_DECAY * config.batch_size / (config.lr * share)
        return {"params": parameters, SHARE: share, "weight_decay": decay, "momentum": OTHERS_MOMENTUM}

    convolutions, rest = [p for p in trained if p.dim() >= 4], [p for p in trained if p.dim() < 4]
    kinds = nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm  # noqa: SLF001  # batch norms have no other base
    scales = {module.weight for module in net.modules() if isinstance(module, kinds)}
    biases = [p for p in rest if p.dim() <= 1 and p not in scales]
    matrices = [p for p in rest if p.dim() > 1 or p in scales]
    return [{"params": convolutions, "orthogonal": True}, others(matrices, HEAD_SHARE), others(biases, BIAS_SHARE)]


def learning_rate(config: TrainingConfig, progress: float) -> float:
    """Return the learning rate at `progress` (0 to 1) of the training: constant, a linear fall, or a linear rise and fall."""
    peak = config.lr * (ADAMW_LR if config.optimizer == "adamw" else 1)
    if config.schedule == "constant":
        return peak
    if config.schedule == "falling":
        return peak * (1 - progress)
    up, down = 0.1 + 0.9 * progress / WARM_UP, (1 - progress) / (1 - WARM_UP)
    return peak * min(up, down)


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalized by Newton-Schulz steps for convolutions, whose filters keep their norm; Nesterov's for the others.

    From cifar10-airbench (Keller Jordan, 2024): each convolution's momentum, a matrix with a row per filter, is replaced by about
    the nearest orthogonal matrix, so that all directions change equally fast.

    Args:
        params: Groups; those with `orthogonal` are convolutions.
        lr, momentum: Of groups that have none of their own.
        dtype: In which the steps compute: the narrowest that the device has in hardware.
    """

    def __init__(self, params: list[dict[str, Any]], lr: float, momentum: float, dtype: torch.dtype) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401, ARG002  # torch's signature
        """Change all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._change(parameter, group)

    def _change(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None  # noqa: S101  # as the caller has seen
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(buffer, alpha=group["momentum"])
        if group["orthogonal"]:
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
            ahead = orthogonal(ahead.flatten(1), self._dtype).view_as(ahead)
        parameter.sub_(ahead * group["lr"])  # a rate may be a tensor


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32, steps: int = 3) -> Tensor:
    """Return about the nearest matrix with orthogonal rows or columns: singular values become 0.7 to 1.2."""
    x = matrix.to(dtype)
    x = x / (x.norm() + 1e-7)
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    for _ in range(steps):
        gram = x @ x.T
        polynomial = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)  # sums within a product are not rounded
        x = torch.addmm(x, polynomial, x, beta=3.4445)
    found: Tensor = x.T if turned else x
    return found


@functools.cache
def _eager(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Return an optimizer of torch without the decorators of its methods.

    The decorators are for torch.compile. On their first call they import the compiler (torch._dynamo, inductor, sympy), which
    takes 77 MB and more than a second per worker, although workers compile nothing.
    """
    decorated = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    bare = {name: inspect.unwrap(getattr(kind, name)) for name in decorated}
    return type(kind.__name__, (kind,), {**bare, "step": torch.no_grad()(inspect.unwrap(kind.step))})
