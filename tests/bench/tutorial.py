"""The tutorial's network and loop as in the tutorial, with which throughput.py and time_to_accuracy.py compare hpo.

Nothing is tuned: a DataLoader with its defaults, which makes a PIL image and a tensor of each image on request, float32, torch's
default layout, `nn.Dropout`, plain SGD. `network` has three parameters that a reader would change; with their defaults it is the
tutorial's. One thing is corrected: accuracy is measured with dropout off, which does not slow the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

if TYPE_CHECKING:
    import numpy as np

    from hpo.data.arrays import Split

BATCH = 32  # images
LR, MOMENTUM = 0.001, 0.9

Loader = DataLoader[Any]  # yields inputs (32, 3, 32, 32) float32, 0 to 1, and labels (32,) int64


class Pictures(Dataset[tuple[Tensor, int]]):
    """Like torchvision.datasets.CIFAR10 with `transform=ToTensor()`, with the images that hpo trains on."""

    def __init__(self, split: Split, chosen: np.ndarray) -> None:
        self.data = split.images[chosen]  # (N, 32, 32, 3) uint8
        self.targets = split.labels[chosen].tolist()
        self.transform = transforms.ToTensor()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def batches(split: Split, chosen: np.ndarray, *, shuffle: bool) -> Loader:
    """Return the chosen images in batches, in a new order each time or as they are."""
    return DataLoader(Pictures(split, chosen), batch_size=BATCH, shuffle=shuffle)


def network(depth: int = 1, filters: int = 32, dropout: float = 0.5) -> nn.Sequential:
    """Return the tutorial's network, with `depth` of its blocks and as many filters in each."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [
            nn.Conv2d(filters if index else 3, filters, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.6 * dropout),
            nn.Conv2d(filters, filters, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=2),
        ]
    n_flat = filters * (32 >> depth) ** 2
    layers += [nn.Flatten(), nn.Linear(n_flat, 512), nn.ReLU(), nn.Dropout(dropout), nn.Linear(512, 10)]
    return nn.Sequential(*layers)


def sgd(model: nn.Module, lr: float = LR) -> optim.SGD:
    """Return the tutorial's optimizer."""
    return optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM)


def train(model: nn.Module, loader: Loader, optimizer: optim.Optimizer) -> None:
    """Train for an epoch."""
    loss_fn = nn.CrossEntropyLoss()
    model.train()
    for inputs, labels in loader:
        loss = loss_fn(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def score(model: nn.Module, loader: Loader) -> float:
    """Return the accuracy, 0 to 1."""
    model.eval()
    correct, count = 0, 0
    for inputs, labels in loader:
        correct += int((model(inputs).argmax(1) == labels).sum())
        count += len(labels)
    return correct / count
