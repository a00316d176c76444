"""The running average of a network's weights and of its norms' statistics, which is what is scored.

While the learning rate is high, the weights fluctuate. Their average is some points better, and closer to the final result
(tests/bench/recipe.md; Polyak and Juditsky, 1992; EMA as in torch.optim.swa_utils).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERY = 5  # steps between two updates


class RunningAverage(AveragedModel):
    """The average over about a share of a training; `module` is a network with the averaged weights.

    It has the state of torch's class. But it knows on the host how many updates there were, so that an update on a GPU waits for
    nothing.

    Args:
        net: Whose weights are averaged.
        share: Of the training's steps over which the average extends.
        steps: Of the training.
    """

    def __init__(self, net: nn.Module, share: float, steps: int) -> None:
        super().__init__(net, use_buffers=True)
        self.horizon = max(1.0, share * steps / EVERY)  # updates
        self._count: int | None = 0

    @property
    def count(self) -> int:
        """Number of updates so far."""
        if self._count is None:
            self._count = int(self.n_averaged)
        return self._count

    def weight(self, count: int) -> float:
        """Return the weight of the newest weights in the update after `count` others; at first, the average forgets faster."""
        return 1.0 if count == 0 else max(1 / self.horizon, 9 / (10 + count))

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take the weights of `net` in."""
        floats, counters = self.pairs(net)
        if self.count == 0:
            torch._foreach_copy_(*floats)
        else:
            torch._foreach_lerp_(*floats, self.weight(self.count))
        if counters[0]:
            torch._foreach_copy_(*counters)
        self.n_averaged += 1
        self._count = self.count + 1

    def pairs(self, net: nn.Module) -> tuple[tuple[list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor]]]:
        """Return the averaged and the current tensors: those of floats, and the counters."""
        own, others = (
            [tensor.detach() for tensor in itertools.chain(of.parameters(), of.buffers())] for of in (self.module, net)
        )
        both = list(zip(own, others, strict=True))
        floats, counters = ([pair for pair in both if pair[0].is_floating_point() == kind] for kind in (True, False))
        return ([a for a, _ in floats], [b for _, b in floats]), ([a for a, _ in counters], [b for _, b in counters])

    def counted(self) -> None:
        """Know of an update that a graph has made."""
        self._count = self.count + 1

    def load_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any, **more: Any) -> Any:  # noqa: ANN401  # as torch's
        """Continue from a state."""
        self._count = None
        return super().load_state_dict(state_dict, *arguments, **more)
