"""Augmentation of photographs: random crops, enlarged to the whole image, and colour jitter; whole batches at once.

Crops are those of Inception (Szegedy et al., arXiv:1409.4842): the area is uniform between a least share and all of the image,
the ratio of the edges log-uniform between 3:4 and 4:3, as far as such a crop fits, so that none is drawn twice. Crops and jitter
work on pixel values as floats, before they are scaled. Random numbers are drawn for an epoch as a whole.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from hpo.builtin.recipe import TrainingConfig

RATIO = 4 / 3  # of the longer edge of a crop to the shorter one, at most
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601)


def drawn(config: TrainingConfig, n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw what happens to n images in an epoch: `boxes` (n, 4) as in `boxes`, and `factors` (n, 3) as in `tinted`."""
    views = {}
    if config.crop < 1:
        views["boxes"] = boxes(n, config.crop, generator)
    if config.jitter:
        views["factors"] = 1 + config.jitter * (torch.rand((n, 3), generator=generator) * 2 - 1)
    return views


def augmented(values: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """Return the values (B, channels, H, W) of images by their rows of what was drawn; all are 0 to 255 and channels_last."""
    if not rows.keys() & {"boxes", "factors"}:
        return values
    if "boxes" in rows:
        values = cropped(values, rows["boxes"].to(values.device))
    if "factors" in rows:
        values = tinted(values, rows["factors"].to(values.device))
    return values.contiguous(memory_format=torch.channels_last)


def boxes(n: int, least: float, generator: torch.Generator) -> Tensor:
    """Draw crops as (n, 4) shares of the image's edge: left, top, width, height."""
    area, ratio, *corner = torch.rand((4, n), generator=generator)
    area = least + (1 - least) * area
    widest = (-area.log()).clamp_max(math.log(RATIO))  # a crop of almost all of the image is almost square
    ratio = (widest * (2 * ratio - 1)).exp()
    width, height = (area * ratio).sqrt(), (area / ratio).sqrt()
    return torch.stack((corner[0] * (1 - width), corner[1] * (1 - height), width, height), 1)


def cropped(values: Tensor, crops: Tensor) -> Tensor:
    """Return crops (B, 4) of images (B, channels, H, W), enlarged to the whole image."""
    left, top, width, height = (share[:, None] for share in crops.unbind(1))
    n, _, rows, columns = values.shape
    x, y = (start + size * _centres(edge, values.device) for start, size, edge in ((left, width, columns), (top, height, rows)))
    grid = torch.stack((x[:, None, :].expand(n, rows, columns), y[:, :, None].expand(n, rows, columns)), 3)
    return functional.grid_sample(values, 2 * grid - 1, padding_mode="border", align_corners=False)


def _centres(edge: int, device: torch.device) -> Tensor:
    """Return where the centres of pixels are, as shares of the edge."""
    return (torch.arange(edge, device=device) + 0.5) / edge


def tinted(values: Tensor, factors: Tensor) -> Tensor:
    """Multiply brightness, contrast (around an image's mean grey) and saturation (around a pixel's grey) by factors (B, 3).

    All three are linear: each image has a matrix from its channels to the new ones. One multiplication by it is six times as fast
    as one step after the other.
    """
    n, channels, rows, columns = values.shape
    brightness, contrast, saturation = factors[:, :, None, None].unbind(1)  # (B, 1, 1)
    grey = _luma(channels, values.device)
    same = torch.eye(channels, device=values.device)
    matrix = brightness * contrast * (saturation * same + (1 - saturation) * grey)
    planes = values.reshape(n, channels, rows * columns)
    mean = (planes.mean(2) @ grey)[:, None, None]
    lifted = (brightness * (1 - contrast) * mean).expand(n, channels, 1)
    return torch.baddbmm(lifted, matrix, planes).clamp_(0, 255).view(n, channels, rows, columns)


@functools.cache
def _luma(channels: int, device: torch.device) -> Tensor:
    """Return the weights of the channels in grey. They are kept, because a CUDA graph can copy nothing from the host."""
    return torch.tensor(LUMA if channels == len(LUMA) else [1 / channels] * channels, device=device)
