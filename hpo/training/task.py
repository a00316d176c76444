"""What all trials of a study share: images to train and to score on, on one device."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from hpo.builtin.recipe import LATEST
from hpo.data.datasets import MIRRORABLE
from hpo.data.sampling import chosen
from hpo.networks.device import home_of_pixels
from hpo.objective import FIRST_BUILT_IN
from hpo.settings import PLACES, TASK
from hpo.training.batches import Images
from hpo.training.memory import Room

if TYPE_CHECKING:
    from hpo.builtin.recipe import Recipe
    from hpo.data.datasets import DataSet
    from hpo.networks.weights import Weights
    from hpo.settings import Settings


@dataclass(frozen=True)
class Task:
    """Common to all trials of a study: images to train on and to score, on one device.

    Attributes:
        memory: Bytes that the trainings of this process may use on the device.
        recipe: The parts of training that no configuration describes.
        model: The network, as a study stores it (hpo/networks/models.py).
        digest: Of the data set.
        weights: Trained ones that the network begins with, as far as a configuration says so.
        room: The memory, and what of it is taken.
    """

    settings: Settings
    classes: tuple[str, ...]
    train: Images
    score: Images
    memory: int
    recipe: Recipe = LATEST
    model: str = FIRST_BUILT_IN
    digest: str = ""
    weights: Weights | None = None
    room: Room = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Nothing of the memory is taken yet."""
        object.__setattr__(self, "room", Room(self.memory))

    @cached_property
    def key(self) -> dict[str, Any]:
        """What a network's outputs for these images depend on, beside the network itself."""
        chosen = self.settings.model_dump(mode="json", include={*TASK} - {*PLACES, "metric"}) | {"seed": self.settings.seed}
        return {"model": self.model, "weights": self.weights and self.weights.digest, "data": self.digest, "settings": chosen}

    @cached_property
    def grey(self) -> bool:
        """Whether the pictures are grey, stored in the same way as those in colour."""
        some = self.score.pixels[self.score.chosen[:1000]]
        return not bool((some != some[..., :1]).any())

    @property
    def mirrorable(self) -> bool:
        """Whether a mirrored image is of the same class; otherwise `flip` and `tta` are off for every configuration."""
        return self.settings.data is not None or self.settings.dataset in MIRRORABLE

    @classmethod
    def of(
        cls,
        settings: Settings,
        data: DataSet,
        device: torch.device,
        memory: int,
        recipe: Recipe = LATEST,
        model: str = FIRST_BUILT_IN,
    ) -> Task:
        """Choose the images according to the settings.

        Raises:
            UsageError: A limit does not fit the data.
        """
        train, (trained, score_split, scored) = data.train, chosen(data, settings)
        home = home_of_pixels(device, train.images.nbytes + data.test.images.nbytes, memory)
        memory -= train.images.nbytes + data.test.images.nbytes if home.type != "cpu" else 0
        pixels = torch.from_numpy(train.images).to(home)
        labels = torch.from_numpy(train.labels).to(device)
        if score_split is train:
            score = Images(pixels, labels, torch.from_numpy(scored).to(home))
        else:
            score = Images.of(score_split.images, score_split.labels, scored, device, home)
        images = Images(pixels, labels, torch.from_numpy(trained).to(home))
        return cls(settings, data.classes, images, score, memory, recipe, model, data.digest)
