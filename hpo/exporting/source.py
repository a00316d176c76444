"""The built-in network as a plain PyTorch file: each layer of this one network written out, as a person would write it.

The text is made from the network itself, layer by layer, and not from its configuration: so it has the widths, patches and norms
that the recipe made of it. The names of the weights stay, so that one weights.safetensors fits both.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import TYPE_CHECKING

from torch import nn

from hpo.networks import layers
from hpo.networks.views import SHIFTED

if TYPE_CHECKING:
    from hpo.networks.model import ConvNet
    from hpo.networks.stored import Description

_WIDTH = 100  # characters of a list
_ONE_VIEW = "        return self.logits(images)"
_TWO_VIEWS = """\
        # Scored like this: the mean of a picture's logits and its mirror image's. The first alone takes half the time.
        return (self.logits(images) + self.logits(images.flip(3))) / 2"""
_SIX_VIEWS = """\
        # Scored like this: a picture and its mirror image, in their place and shifted by a pixel in two directions, which weigh
        # as much together. The first alone takes a sixth of the time.
        padded = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
        shifted = [padded[:, :, :-2, :-2], padded[:, :, 2:, 2:]]
        in_place, *others = [self.logits(view) + self.logits(view.flip(3)) for view in (images, *shifted)]
        return in_place / 4 + sum(others) / 8"""
_VIEWS = {False: _ONE_VIEW, True: _TWO_VIEWS, SHIFTED: _SIX_VIEWS}
_GREY = "grey(pixels).expand(-1, -1, -1, {channels})"
_GREY_FUNCTION = '''
def grey(pixels):
    """Pixels (N, H, W, 3) to (N, H, W, 1), whole numbers as Pillow's: all pictures that it was trained on are grey."""
    weights = torch.tensor([19595.0, 38470.0, 7471.0], device=pixels.device)
    return torch.floor(((pixels.float() * weights).sum(3, keepdim=True) + 32768) / 65536)
'''
_CLASSES = {
    layers.GlobalMax: '''
class GlobalMax(nn.Module):
    """(N, C, H, W) to (N, C): the largest value of each channel."""

    def forward(self, x):
        return x.amax(dim=(2, 3))
''',
    layers.FlattenLast: '''
class FlattenLast(nn.Module):
    """(N, C, H, W) to (N, H * W * C)."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)
''',
    layers.Residual: '''
class Residual(nn.Sequential):
    """Layers whose output is added to their input."""

    def forward(self, x):
        return x + super().forward(x)
''',
    layers.Multiply: '''
class Multiply(nn.Module):
    """x times a constant, which keeps the first losses of a training small."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor
''',
    layers.Patches: '''
class Patches(nn.Module):
    """(N, C, H, W) to (N, C * n * n, H / n, W / n): each patch becomes channels; an incomplete one is cut off."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def forward(self, x):
        height, width = x.shape[2] // self.n * self.n, x.shape[3] // self.n * self.n
        return nn.functional.pixel_unshuffle(x[:, :, :height, :width], self.n)
''',
}


def model_source(net: ConvNet, about: Description) -> str:
    """Return model.py: this network's layers, and what loads its weights."""
    parts = {name: module for name, module in net.named_children() if not isinstance(module, nn.Identity)}
    composed = "images"
    for name in parts:
        composed = f"self.{name}({composed})"
    kinds, images = {type(module) for module in net.modules()}, about.images
    grey = images.grey or images.channels == 1
    helpers = [*([_GREY_FUNCTION] if grey else []), *(text for kind, text in _CLASSES.items() if kind in kinds)]
    return _text("model.txt").format(
        size=images.size,
        n_classes=len(about.classes),
        classes=_list(map(_literal, about.classes)),
        fit=_literal(images.fit),
        factor=_list(map(repr, images.factor)),
        offset=_list(map(repr, images.offset)),
        helpers="".join(f"{text.strip()}\n\n\n" for text in helpers),
        layers="".join(textwrap.indent(f"self.{name} = {_written(module)}\n", " " * 8) for name, module in parts.items()),
        values=_GREY.format(channels=images.channels) if grey else "pixels.float()",
        result=_VIEWS[about.tta],
        composed=composed,
    )


def predict_source() -> str:
    """Return predict.py: it reads pictures as they were read for the training, and prints what model.py says of them."""
    return _text("predict.txt")


def _list(items: Iterable[str]) -> str:
    """Return a list of expressions, on one line if they fit."""
    whole = list(items)
    line = f"[{', '.join(whole)}]"
    return line if len(line) <= _WIDTH else "[\n" + "".join(f"    {item},\n" for item in whole) + "]"


def _literal(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # a name that is no text, as file systems allow
        return ascii(text)
    if '"' in text and "'" not in text:
        return repr(text)
    return json.dumps(text, ensure_ascii=False)


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _written(module: nn.Module) -> str:
    """Return the expression that makes a layer, over several lines where it contains others."""
    if isinstance(module, nn.Sequential):
        inner = "".join(textwrap.indent(f"{_written(layer)},{_remark(layer)}\n", "    ") for layer in module)
        return f"{_name(module)}(\n{inner})"
    return f"{_name(module)}({', '.join(_arguments(module))})"


def _name(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d):
        return "nn.Conv2d"
    if isinstance(module, layers.Dropout):
        return "nn.Dropout"
    kind = type(module)
    return kind.__name__ if kind in _CLASSES else f"nn.{kind.__name__}"


def _remark(module: nn.Module) -> str:
    return "  # fixed before the training: principal directions of small patches" if isinstance(module, layers.Whiten) else ""


def _arguments(module: nn.Module) -> Iterator[str]:
    """Yield a layer's arguments, without those that have torch's default."""
    match module:
        case nn.Conv2d():
            yield from (str(module.in_channels), str(module.out_channels), str(module.kernel_size[0]))
            yield from (f"stride={module.stride[0]}",) if module.stride[0] != 1 else ()
            yield from (f"padding={module.padding[0]}",) if module.padding[0] else ()
            yield from () if module.bias is not None else ("bias=False",)
        case nn.Linear():
            yield from (str(module.in_features), str(module.out_features))
            yield from () if module.bias is not None else ("bias=False",)
        case nn.MaxPool2d():
            yield str(module.kernel_size)
        case nn.BatchNorm2d():
            yield from (str(module.num_features), f"momentum={module.momentum}")
        case nn.GroupNorm():
            yield from (str(module.num_groups), str(module.num_channels))
        case layers.Dropout():
            yield f"{module.threshold / 256:.4g}"
        case layers.Multiply():
            yield "1 / 9" if module.factor == 1 / 9 else repr(module.factor)
        case layers.Patches():
            yield str(module.patch)
        case nn.ReLU() | nn.GELU() | nn.SiLU() | layers.GlobalMax() | layers.FlattenLast():
            return
        case _:
            raise TypeError(f"nobody wrote how a {type(module).__name__} is written")
