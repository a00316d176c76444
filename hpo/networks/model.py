"""ConvNet: the network that a Config describes.

    stem     frozen 2x2 whitening of the images' patches (or none); of images above 64 pixels, of patches that do not overlap
    block    conv · norm · activation · dropout · conv · norm · activation, with one 2x2 maximum in it; `depth` times
    head     flatten · linear · activation · dropout · linear, or global maximum · dropout · linear

The maximum is taken before normalization and activation: with an increasing activation (ReLU), and a norm of positive scale or
none, this is the same function on a quarter of the data. Whitening stem and early pooling are those of cifar10-airbench
(Keller Jordan, 2024, arXiv:2404.00498). Photographs are cut into patches whose pixels become channels, as vision transformers do:
the blocks begin at 64 pixels or fewer, and cost what they cost on small images. The memory layout is channels_last.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from hpo.builtin.recipe import LATEST
from hpo.errors import SpaceError
from hpo.networks.layers import Dropout, FlattenLast, GlobalMax, Multiply, Patches, Residual, Whiten

if TYPE_CHECKING:
    from hpo.builtin.convnet import Config
    from hpo.builtin.recipe import Recipe

BLOCK_DROPOUT = 0.6  # times `dropout`, inside the blocks: the tutorial's ratio of 0.3 to 0.5
BN_MOMENTUM = 0.4  # weight of the newest batch in the running statistics (airbench): torch's 0.1 is too slow for short trainings
LOGIT_SCALE = 1 / 9  # after a global maximum (airbench): keeps the first losses and gradients small
BLOCKS_EDGE = 64  # pixels: largest edge that the first block gets

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class ConvNet(nn.Module):
    """Images (N, channels, edge, edge), scaled according to `standardize`, to logits (N, n_classes).

    Raises:
        SpaceError: The images are too small for the number of blocks.
    """

    def __init__(self, config: Config, n_classes: int, channels: int = 3, edge: int = 32, recipe: Recipe = LATEST) -> None:
        super().__init__()
        self.stem: nn.Module = nn.Identity()
        patch = patch_edge(edge)
        if config.stem == "whiten":
            whiten = Whiten(channels, patch)
            self.stem = nn.Sequential(whiten, nn.GELU())
            channels, edge = whiten.out_channels, edge - 1 if patch == 1 else edge // patch
        elif patch > 1:
            self.stem = Patches(patch)
            channels, edge = channels * patch * patch, edge // patch
        blocks: list[nn.Module] = []
        for index in range(config.depth):
            if edge < 2:
                raise SpaceError(
                    f"depth = {config.depth}: after {index} blocks the image is {edge} pixel wide and cannot be halved."
                )
            width = _width(config, index, recipe)
            blocks.append(_block(config, channels, width))
            channels, edge = width, edge // 2
        self.blocks = nn.Sequential(*blocks)
        self.head = _head(config, channels, edge, n_classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, n_classes)."""
        logits: Tensor = self.head(self.blocks(self.stem(images)))
        return logits


def patch_edge(edge: int) -> int:
    """Return the edge of the patches that images are cut into before the blocks: 1 up to 64 pixels, 2 up to 128, 4 up to 256."""
    return 1 << max(0, math.ceil(math.log2(edge / BLOCKS_EDGE)))


def _width(config: Config, index: int, recipe: Recipe) -> int:
    """Return the filters of a block: the first block's as configured, the others' rounded so that norms can form groups.

    Group norm uses eight groups, and hardware vectors are multiples of eight.
    """
    step = math.gcd(recipe.width_step, config.filters)
    width = step * max(1, round(config.filters * config.growth**index / step))
    return min(width, max(config.widest, config.filters)) if config.widest else width


def _block(config: Config, channels: int, width: int) -> nn.Sequential:
    pool = nn.MaxPool2d(2)
    early = config.pool == "early"
    layers = [
        _conv(config, channels, width),
        *([pool] if early else []),
        *_norm(config, width),
        _ACTIVATIONS[config.activation](),
        *([Dropout(BLOCK_DROPOUT * config.dropout)] if config.dropout else []),
        _conv(config, width, width),
        *([] if early else [pool]),
        *_norm(config, width),
        _ACTIVATIONS[config.activation](),
    ]
    if config.convolutions == 3:
        layers += [Residual(_conv(config, width, width), *_norm(config, width)), _ACTIVATIONS[config.activation]()]
    return nn.Sequential(*layers)


def _conv(config: Config, channels: int, width: int) -> nn.Conv2d:
    made = nn.Conv2d(channels, width, config.kernel, padding=config.kernel // 2, bias=config.norm == "none")
    if config.start == "identity":
        nn.init.dirac_(made.weight.data[:channels])
    return made


def _norm(config: Config, width: int) -> list[nn.Module]:
    if config.norm == "none":
        return []
    batch = config.norm == "batch"
    made = nn.BatchNorm2d(width, momentum=BN_MOMENTUM) if batch else nn.GroupNorm(math.gcd(8, width), width)
    made.weight.requires_grad_(config.norm_scale)
    return [made]


def _head(config: Config, channels: int, edge: int, n_classes: int) -> nn.Sequential:
    dropout = [Dropout(config.dropout)] if config.dropout else []
    if config.hidden:
        n_flat = channels * edge * edge
        hidden = [nn.Linear(n_flat, config.hidden), _ACTIVATIONS[config.activation]()]
        return nn.Sequential(FlattenLast(), *hidden, *dropout, nn.Linear(config.hidden, n_classes))
    return nn.Sequential(GlobalMax(), *dropout, nn.Linear(channels, n_classes, bias=False), Multiply(LOGIT_SCALE))


class Layer(NamedTuple):
    """A row of the table of layers; shapes without the batch dimension."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    factor: float | None = None  # of a layer that multiplies

    def row(self) -> dict[str, Any]:
        """Return it for layers.json, with what it has."""
        return {name: value for name, value in self._asdict().items() if value is not None or name != "factor"}


class Size(NamedTuple):
    """The size of a network."""

    n_parameters: int
    macs: int | None  # multiply-adds of one image, forward; None: not known
    activation_bytes: int  # float32 outputs of all layers, one image
    layers: tuple[Layer, ...]

    @property
    def known(self) -> dict[str, int | float]:
        """What of it is known, by the name that a trial stores."""
        return {"n_parameters": self.n_parameters, **({"macs": self.macs} if self.macs is not None else {})}


def measure(config: Config, n_classes: int, channels: int = 3, edge: int = 32, recipe: Recipe = LATEST) -> Size:
    """Count parameters, multiply-adds and activations without building the network.

    Raises:
        SpaceError: The network cannot be built on such images.
    """
    with torch.device("meta"):
        net = ConvNet(config, n_classes, channels, edge, recipe)
    layers: list[Layer] = []
    shape: tuple[int, ...] = (channels, edge, edge)
    for name, module in net.named_modules():  # in the order in which images pass them
        if (list(module.children()) and not isinstance(module, Residual)) or isinstance(module, nn.Identity):
            continue
        shape = _output_shape(module, shape)
        n_parameters = sum(p.numel() for p in module.parameters(recurse=False))
        macs = math.prod(shape) * module.weight[0].numel() if isinstance(module, nn.Conv2d | nn.Linear) else 0
        layers.append(Layer(name, type(module).__name__, shape, n_parameters, macs, getattr(module, "factor", None)))
    return Size(
        n_parameters=sum(p.numel() for p in net.parameters()),
        macs=sum(layer.macs for layer in layers),
        activation_bytes=4 * sum(math.prod(layer.output_shape) for layer in layers),
        layers=tuple(layers),
    )


def _output_shape(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a layer's output shape for an image of `shape`; a forward pass on the meta device would load torch's compiler."""
    match module:
        case nn.Conv2d():
            lost, step = module.kernel_size[0] - 2 * int(module.padding[0]), module.stride[0]
            return (module.out_channels, (shape[1] - lost) // step + 1, (shape[2] - lost) // step + 1)
        case Patches():
            return (shape[0] * module.patch**2, shape[1] // module.patch, shape[2] // module.patch)
        case nn.MaxPool2d():
            return (shape[0], shape[1] // 2, shape[2] // 2)
        case FlattenLast():
            return (math.prod(shape),)
        case GlobalMax():
            return shape[:1]
        case nn.Linear():
            return (module.out_features,)
    return shape
