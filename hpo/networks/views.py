"""Views of an image when it is scored (test-time augmentation): itself, its mirror image, and both shifted by a pixel.

The logits of the views are averaged. The shifted ones are those of cifar10-airbench (Keller Jordan, 2024, arXiv:2404.00498): up
and left, and down and right, together as heavy as the image in its place. Pixels shifted in from outside are reflections.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SHIFTED = "shifted"  # the value of `tta` that has all six views


def views_of(inputs: Tensor, tta: bool | str) -> tuple[Tensor, ...]:  # the value of a knob
    """Return the views of images (N, channels, H, W), each of the same shape; pairs of a place and its mirror image."""
    if not tta:
        return (inputs,)
    places = [inputs]
    if tta == SHIFTED:
        padded = functional.pad(inputs, (1, 1, 1, 1), mode="reflect")
        places += [padded[:, :, :-2, :-2], padded[:, :, 2:, 2:]]
    return tuple(view for place in places for view in (place, place.flip(3)))


def at_most(number: int, tta: bool | str) -> bool | str:
    """Return the value of `tta` that has no more views than a number: 1, 2 or 6."""
    return tta if number >= 6 else bool(tta) and number >= 2


def mean(logits: list[Tensor]) -> Tensor:
    """Return the mean of the logits (N, n_classes) of an image's views, weighted as this module says."""
    stacked = torch.stack(logits)
    if len(logits) <= 2:
        return stacked.mean(0)
    return (stacked[:2].mean(0) + stacked[2:].mean(0)) / 2
