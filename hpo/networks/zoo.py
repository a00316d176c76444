"""torchvision's classification networks, by name, for any images and classes.

    images -> [scaled up to the least edge that the network works on] -> backbone -> (N, features) -> dropout · linear -> logits

The last linear layer of a network is replaced by one for these classes; auxiliary classifiers are left out. Images smaller than
64 pixels are scaled up: these networks halve an image five times, and 32 pixels would end as a single one. Grey images become
three equal channels. So weights of the same network fit whatever the images are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from hpo.errors import SpaceError, UsageError, nearest
from hpo.networks.layers import Dropout

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_EDGE = 64  # pixels: edge that a network gets at least
_MIN_EDGES = {"inception_v3": 96}
_STEPS = {
    "maxvit_t": 224,
    "vit_h_14": 14,
    "vit_b_32": 32,
    "vit_l_32": 32,
    "vit_b_16": 16,
    "vit_l_16": 16,
}  # the edge is a multiple
_CHANNELS = 3


class Adapted(nn.Module):
    """A network for images (N, 1 or 3, any edge, any edge), to logits (N, n_classes).

    Attributes:
        backbone: torchvision's network without its last layer: its states fit.
        head: Dropout and a linear layer.
        edge: Of the images that the backbone gets.
        frozen: Modules of the backbone that are not trained: they stay as for scoring.
        rate: Of the backbone's learning, times that of the head; 0: it has not learnt yet, and there is one rate.
    """

    def __init__(self, name: str, n_classes: int, edge: int, dropout: float) -> None:
        super().__init__()
        self.edge = edge_of(name, edge)
        self.backbone = _constructed(name, self.edge)
        features = _beheaded(self.backbone)
        self.head = nn.Sequential(*([Dropout(dropout)] if dropout else []), nn.Linear(features, n_classes))
        self.frozen: list[nn.Module] = []
        self.rate = 0.0

    @property
    def is_frozen(self) -> bool:
        """Whether only the head is trained."""
        return self.frozen == [self.backbone]

    def features(self, images: Tensor) -> Tensor:
        """Return what the head gets, (N, features)."""
        if images.shape[1] != _CHANNELS:
            images = images.expand(-1, _CHANNELS, -1, -1)
        if images.shape[2] != self.edge:
            size = (self.edge, self.edge)
            images = nn.functional.interpolate(images, size, mode="bilinear", align_corners=False)
        found: Tensor = self.backbone(images)
        return found.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, n_classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def freeze(self, what: str) -> None:
        """Leave the backbone as it is: `all` of it, the first `half` of its layers, or `none`."""
        layers = [module for module in self.backbone.modules() if any(True for _ in module.parameters(recurse=False))]
        self.frozen = {"all": [self.backbone], "half": layers[: len(layers) // 2], "none": []}[what]
        for module in self.frozen:
            for parameter in module.parameters(recurse=what == "all"):
                parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Adapted:
        """Switch to training, but for what is frozen, whose statistics stay."""
        super().train(mode)
        for module in self.frozen:
            module.train(False)
        return self


def names() -> list[str]:
    """Return the names of all networks."""
    from torchvision import models

    found: list[str] = models.list_models(module=models)
    return found


def check(name: str) -> None:
    """Refuse a name that torchvision does not know.

    Raises:
        UsageError: Names the nearest.
    """
    if name not in (known := names()):
        raise UsageError(
            f"there is no model {name!r}.{nearest(name, ['convnet', *known])} "
            f"Or name a function in a file of your own: --model FILE.py:build"
        )


def edge_of(name: str, edge: int) -> int:
    """Return the edge of the images that a network gets: that of the pictures, or the next larger one that it takes."""
    step = _STEPS.get(name, 1)
    return math.ceil(max(edge, _MIN_EDGES.get(name, MIN_EDGE)) / step) * step


def _constructed(name: str, edge: int) -> nn.Module:
    from torchvision import models

    more: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        more = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        more = {"image_size": edge}
    elif name.startswith("maxvit"):
        more = {"input_size": (edge, edge)}
    make: Callable[..., nn.Module] = models.get_model_builder(name)
    try:
        return make(weights=None, **more)
    except (ValueError, AssertionError) as error:
        raise SpaceError(f"{name} cannot be built for images of {edge} pixels: {error}") from None


def _beheaded(net: nn.Module) -> int:
    """Take the last layer off, and the dropout before it; return the number of features."""
    if isinstance(getattr(net, "dropout", None), nn.Dropout):
        net.dropout = nn.Identity()
    if type(net).__name__ == "SqueezeNet":  # its last layer is a convolution of 1x1, before the mean over the image
        features: int = net.classifier[1].in_channels  # type: ignore[union-attr, index]
        net.classifier = nn.AdaptiveAvgPool2d(1)
        return features
    name, last = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, own = name.rpartition(".")
    container = net.get_submodule(parent)
    setattr(container, own, nn.Identity())
    if isinstance(container, nn.Sequential) and own.isdecimal() and int(own) and isinstance(container[int(own) - 1], nn.Dropout):
        container[int(own) - 1] = nn.Identity()
    return last.in_features
