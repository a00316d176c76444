"""The loss that a training minimizes: cross-entropy with smoothed labels, in which rare classes may weigh more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from hpo.builtin.recipe import TrainingConfig
    from hpo.training.batches import Images


@dataclass(frozen=True, eq=False)
class Loss:
    """Logits (B, n_classes) float32 and labels (B,) to the mean loss of a batch.

    Attributes:
        smoothing: Of the labels.
        weights: (n_classes,) float32: what an image of each class weighs; None: all the same.
    """

    smoothing: float
    weights: Tensor | None = None

    @classmethod
    def of(cls, images: Images, n_classes: int, config: TrainingConfig) -> Loss:
        """Return the loss of a configuration on its training images."""
        rarity = config.class_weights
        return cls(config.label_smoothing, class_weights(images, n_classes, rarity) if rarity else None)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return it."""
        if self.weights is None:
            return cross_entropy(logits, labels, label_smoothing=self.smoothing)
        # Not by cross_entropy's own weights: these divide by the sum of a batch's weights, which differs from batch to batch.
        each = cross_entropy(logits, labels, label_smoothing=self.smoothing, reduction="none")
        return (each * self.weights[labels]).mean()


def class_weights(images: Images, n_classes: int, power: float) -> Tensor:
    """Return the weight of each class's images, (n_classes,) float32: rarity to a power, with mean 1 over the images."""
    counts = torch.bincount(images.labels[images.chosen.to(images.device)], minlength=n_classes).double()
    rarity = counts.clamp_min(1) ** -power
    return (rarity * counts.sum() / (rarity * counts).sum()).float()
