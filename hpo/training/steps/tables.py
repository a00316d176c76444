"""What an epoch does with the training images, drawn before its first batch: their order, and how each one is seen.

All randomness of the batches is in these tables, and depends on (seed, epoch) alone. A batch is made of them by its positions in
the order, without a look at any value on the host, so the same lines make it kernel by kernel and inside a CUDA graph. A graph
reads the tables where they lie: later epochs are copied into those of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tables:
    """One epoch of batches before they are made.

    Attributes:
        order: (N,) int64: the images in the order of this epoch.
        views: By name, what happens to each image, (N, ...).
        size: Images per batch.
        make: Makes inputs and labels of a batch from its images (B,) and their rows of `views`.
    """

    order: Tensor
    views: Mapping[str, Tensor]
    size: int
    make: Callable[[Tensor, Mapping[str, Tensor]], tuple[Tensor, Tensor]]

    def parts(self) -> list[Tensor]:
        """Cut the order into batches. A single image left over joins the last batch, since batch norm needs two."""
        parts = list(torch.split(self.order, self.size))
        if len(parts) > 1 and len(parts[-1]) == 1 < self.size:
            parts[-2:] = [torch.cat(parts[-2:])]
        return parts

    def batch(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and the labels of images `part` (B,), on the device."""
        return self.make(part, {name: view[part] for name, view in self.views.items()})

    def take(self, other: Tables) -> None:
        """Become another epoch, in place."""
        self.order.copy_(other.order)
        for name, view in self.views.items():
            view.copy_(other.views[name])


def n_batches(images: int, size: int) -> int:
    """Return the number of batches for a number of images."""
    whole, left_over = divmod(images, size)
    return whole + (left_over > (1 if whole else 0))
