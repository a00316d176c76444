"""The layers that ConvNet adds to torch's own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

DIRECTIONS = 48  # principal directions of patches that are kept: all of 4x4 patches in colour
WHITEN_EPS = 5e-4  # added to the patches' eigenvalues (airbench)


class Whiten(nn.Conv2d):
    """Frozen convolution to the patches' principal directions with unit variance, and their negatives.

    Args:
        channels: Of the images.
        patch: 1: patches of 2x2 pixels at every position, which become 2 x 4 x channels; else patches of this edge side by side,
            of which at most 48 directions are kept.
    """

    def __init__(self, channels: int, patch: int = 1) -> None:
        edge = max(2, patch)
        n = min(channels * edge * edge, DIRECTIONS)
        super().__init__(channels, 2 * n, kernel_size=edge, stride=patch, bias=False)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Compute the filters from batches of images (B, channels, H, W), scaled as for the network."""
        products, n_patches = torch.zeros((), dtype=torch.float64, device=self.weight.device), 0
        for images in batches:
            (edge, _), (step, _) = self.kernel_size, self.stride
            patches = (
                images.float().contiguous().unfold(2, edge, step).unfold(3, edge, step)
            )  # (B, channels, rows, columns, e, e)
            flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, self.weight[0].numel()).double()
            products = products + flat.T @ flat
            n_patches += len(flat)
        covariance = products / n_patches
        values, vectors = torch.linalg.eigh(covariance)
        vectors = torch.where(
            vectors.sum(0) < 0, -vectors, vectors
        )  # eigh does not fix the sign; the same data give the same net
        filters = (vectors / (values + WHITEN_EPS).sqrt()).T.reshape(-1, *self.weight.shape[1:])[-self.out_channels // 2 :]
        self.weight.copy_(torch.cat((filters, -filters)).flip(0))


class Patches(nn.Module):
    """(N, C, H, W) to (N, C x patch², H / patch, W / patch): each patch becomes channels; an incomplete one is cut off."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        """Return the patches."""
        height, width = (edge // self.patch * self.patch for edge in x.shape[2:])
        return nn.functional.pixel_unshuffle(x[:, :, :height, :width], self.patch).contiguous(memory_format=torch.channels_last)


class Residual(nn.Sequential):
    """Layers whose output is added to their input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        added: Tensor = x + super().forward(x)  # type: ignore[no-untyped-call]  # torch's
        return added


class Dropout(nn.Module):
    """`nn.Dropout` with masks from bulk random bits.

    Each 64-bit number gives eight bytes, which are compared with a threshold: on a CPU this takes a tenth of the time of torch's
    serial generator. The rate is rounded to a 256th, and the scale is that of the rounded rate, so the expectation is exact.
    """

    generator: torch.Generator | None = None  # None: torch's own, which all of the process share

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.threshold = min(255, round(rate * 256))  # bytes below it are dropped

    def forward(self, x: Tensor) -> Tensor:
        """Set a share of x to zero during training, and scale the other values up."""
        if not self.training or self.threshold == 0:
            return x
        bits = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
        bits.random_(-(2**63), None, generator=self.generator)
        kept = (bits.view(torch.uint8)[: x.numel()] >= self.threshold).view(x.shape)
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            n, c, h, w = x.shape
            kept = kept.view(n, h, w, c).permute(0, 3, 1, 2)  # the same memory layout makes the product fast
        return x * (kept * (256 / (256 - self.threshold))).to(x.dtype)

    def extra_repr(self) -> str:
        """Show the rounded rate."""
        return f"rate={self.threshold}/256"


class FlattenLast(nn.Module):
    """(N, C, H, W) to (N, H·W·C): without a copy for channels_last; the order does not matter to the next linear layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a view."""
        return x.permute(0, 2, 3, 1).flatten(1)


class GlobalMax(nn.Module):
    """(N, C, H, W) to (N, C): the largest value of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima."""
        return x.amax(dim=(2, 3))


class Multiply(nn.Module):
    """x times a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Return the product."""
        return x * self.factor
