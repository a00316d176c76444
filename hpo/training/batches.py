"""Batches as whole tensors: one indexing of the uint8 images selects, mirrors and shifts a batch at once.

There is no DataLoader and no copy of the data: images stay uint8 until they become a batch, mapped from a file on a CPU, resident
on a GPU, or, where they are too many for it, mapped on the host, from where the GPU gets each batch. As in cifar10-airbench, a
training image is mirrored in every other epoch instead of at random, so that each pair of epochs shows both views. Pixels shifted
in from outside are reflections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from hpo.builtin.recipe import LATEST
from hpo.training.augmentation import augmented, drawn
from hpo.training.steps.tables import Tables

if TYPE_CHECKING:
    import numpy as np

    from hpo.builtin.recipe import Recipe, TrainingConfig


@dataclass(frozen=True, eq=False)
class Images:
    """Images of a split, and which of them to use.

    Attributes:
        pixels: (all of the split, H, W, channels) uint8, on the device or on the host.
        labels: (all of the split,) int64, on the device.
        chosen: (N,) int64: positions that belong to this set; where the pixels are.
    """

    pixels: Tensor
    labels: Tensor
    chosen: Tensor

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def device(self) -> torch.device:
        """Where batches of them come to lie."""
        return self.labels.device

    @classmethod
    def of(
        cls, pixels: np.ndarray, labels: np.ndarray, chosen: np.ndarray, device: torch.device, home: torch.device | None = None
    ) -> Images:
        """Put arrays on a device, the pixels at `home` if it is another; on a CPU nothing is copied."""
        home = home or device
        return cls(torch.from_numpy(pixels).to(home), torch.from_numpy(labels).to(device), torch.from_numpy(chosen).to(home))

    def some(self, n: int, seed: int | None) -> Images:
        """Return `n` of them at most, drawn with a seed, or without one from the beginning, evenly."""
        if seed is None:
            return replace(self, chosen=self.chosen[:: max(1, len(self) // n)][:n])
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return replace(self, chosen=self.chosen[order[:n].sort().values.to(self.chosen.device)])

    def batch(self, pixels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixels that lie where all do, and the labels of `index`, on the device."""
        if pixels.device != self.device:
            pixels = pixels.pin_memory() if self.device.type == "cuda" else pixels
            pixels, index = pixels.to(self.device, non_blocking=True), index.to(self.device)
        return pixels, self.labels[index]


class Scale(NamedTuple):
    """Scaling of pixels, per channel: value = pixel * factor + offset."""

    factor: Tensor  # (1, channels, 1, 1) float32
    offset: Tensor
    blank: tuple[float, ...]  # value of a blanked pixel, by channel

    @classmethod
    def of(cls, images: Images, *, standardize: bool, recipe: Recipe = LATEST) -> Scale:
        """Return the scale to values 0 to 1, or to zero mean and unit variance per channel over `images`."""
        mean, deviation = _statistics(images)
        if standardize:
            return cls(_per_channel(1 / deviation), _per_channel(-mean / deviation), (0.0,) * len(mean))
        blank = tuple((mean / 255).tolist()) if recipe.blank_is_mean else (0.0,) * len(mean)
        return cls(_per_channel(torch.full_like(mean, 1 / 255)), _per_channel(torch.zeros_like(mean)), blank)

    @classmethod
    def given(cls, mean: tuple[float, ...], deviation: tuple[float, ...], images: Images) -> Scale:
        """Return the scale of weights that were trained with a mean and a deviation, pixels being 0 to 1."""
        channels, device = images.pixels.shape[3], images.device
        centre, width = (torch.tensor(values, dtype=torch.float64, device=device) for values in (mean, deviation))
        if len(centre) != channels:
            centre, width = centre.mean().repeat(channels), width.mean().repeat(channels)
        return cls(_per_channel(1 / (255 * width)), _per_channel(-centre / width), (0.0,) * channels)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Turn (N, H, W, channels) uint8 into (N, channels, H, W) float32, channels_last in memory."""
        return self.scaled(values_of(pixels))

    def scaled(self, values: Tensor) -> Tensor:
        """Scale values of pixels (N, channels, H, W) float32, in place."""
        return values.mul_(self.factor).add_(self.offset)


def values_of(pixels: Tensor) -> Tensor:
    """Return (N, H, W, channels) uint8 as (N, channels, H, W) float32, channels_last in memory."""
    return pixels.permute(0, 3, 1, 2).float()


def _statistics(images: Images) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel's pixels, (channels,) float64, on the images' device."""
    channels, device = images.pixels.shape[3], images.device
    n = 0
    total, squares = torch.zeros(2, channels, dtype=torch.float64, device=device).unbind()
    for part in torch.split(images.chosen, 256):
        pixels = images.batch(images.pixels[part], part)[0].reshape(-1, channels).float()
        n += len(pixels)
        total += pixels.sum(0).double()
        squares += pixels.square().sum(0).double()
    mean = total / n
    return mean, (squares / n - mean**2).clamp_min(1.0).sqrt()  # at least one grey level: a blank channel stays finite


def _per_channel(values: Tensor) -> Tensor:
    return values.float().view(1, -1, 1, 1)


def training_batches(
    images: Images, config: TrainingConfig, scale: Scale, epoch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of batches: inputs (B, channels, H, W) float32 and labels (B,) int64, on the images' device."""
    tables = training_tables(images, config, scale, epoch, seed)
    yield from map(tables.batch, tables.parts())


def training_tables(images: Images, config: TrainingConfig, scale: Scale, epoch: int, seed: int) -> Tables:
    """Draw an epoch, depending on (seed, epoch) alone, so that a repeated epoch has the same batches.

    Whatever a configuration uses, all numbers are drawn in the same order.
    """
    n, home, (height, width) = len(images), images.pixels.device, images.pixels.shape[1:3]
    mirrored = torch.randint(2, (n,), generator=torch.Generator().manual_seed(seed)).bool() ^ bool(epoch % 2)
    generator = torch.Generator().manual_seed(seed + epoch)
    order = torch.randperm(n, generator=generator)
    shift, cutout = (pixels_of(knob, height) for knob in (config.shift, config.cutout))
    shifts = torch.randint(-shift, shift + 1, (n, 2), generator=generator)
    centres = (torch.rand((n, 2), generator=generator) * torch.tensor([height, width])).long()
    views = drawn(config, n, generator)
    for name, view, used in (("mirrored", mirrored, config.flip), ("shifts", shifts, shift), ("centres", centres, cutout)):
        if used:
            views[name] = view

    def make(part: Tensor, rows: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        index = images.chosen[part]
        pixels, labels = images.batch(_select(images.pixels, index, rows.get("mirrored"), rows.get("shifts")), index)
        inputs = scale.scaled(augmented(values_of(pixels), rows))
        if cutout:
            _blank(inputs, rows["centres"].to(inputs.device), cutout, scale.blank)
        return inputs, labels

    return Tables(order.to(home), {name: view.to(home) for name, view in views.items()}, config.batch_size, make)


def pixels_of(knob: int, edge: int) -> int:
    """Return the pixels that a knob means: itself, or in images larger than 32 pixels that part of the edge."""
    return knob * max(edge, 32) // 32


def scoring_batches(images: Images, scale: Scale, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images in order and unchanged, in batches of at most `size`."""
    for index in torch.split(images.chosen, size):
        pixels, labels = images.batch(images.pixels[index], index)
        yield scale(pixels), labels


def _select(pixels: Tensor, index: Tensor, flips: Tensor | None, shifts: Tensor | None) -> Tensor:
    """Return pixels[index], mirrored and shifted, (B, H, W, channels), with one gather."""
    if flips is None and shifts is None:
        return pixels[index]
    height, width = pixels.shape[1:3]
    rows = torch.arange(height, device=index.device).expand(len(index), -1)
    columns = torch.arange(width, device=index.device).expand(len(index), -1)
    if shifts is not None:
        rows = _reflect(rows + shifts[:, :1], height)
        columns = _reflect(columns + shifts[:, 1:], width)
    if flips is not None:
        columns = torch.where(flips[:, None], width - 1 - columns, columns)
    return pixels[index[:, None, None], rows[:, :, None], columns[:, None, :]]


def _reflect(position: Tensor, size: int) -> Tensor:
    position = position.abs()
    return torch.where(position >= size, 2 * (size - 1) - position, position)


def _blank(inputs: Tensor, centres: Tensor, edge: int, values: tuple[float, ...]) -> None:
    """Set a square of each input to a value per channel, in place (cutout); the square may extend beyond the border."""
    height, width = inputs.shape[2:]
    rows = torch.arange(height, device=inputs.device) - centres[:, :1] + edge // 2  # (B, H)
    columns = torch.arange(width, device=inputs.device) - centres[:, 1:] + edge // 2
    square = ((rows >= 0) & (rows < edge))[:, :, None] & ((columns >= 0) & (columns < edge))[:, None, :]
    for channel, value in enumerate(values):
        inputs[:, channel].masked_fill_(square, value)
