"""What a frozen backbone makes of the images: computed once per study, so that trials train the last layer on it in seconds.

It depends on the model, its weights, the images and their scaling, and on the type that the device computes in: files are named
after a digest of these. There are two views of each image, itself and its mirror image; nothing else can vary. A file is written
completely or not at all; while one process computes, the others wait.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hpo.errors import StorageError
from hpo.networks.device import scoring_batch
from hpo.system.files import atomic_file, refusal
from hpo.system.locks import Lock
from hpo.training.batches import scoring_batches
from hpo.training.steps.tables import Tables

if TYPE_CHECKING:
    from hpo.builtin.recipe import TrainingConfig
    from hpo.networks.zoo import Adapted
    from hpo.training.batches import Images, Scale

FOLDER = "features"
_PAUSE = 0.5  # seconds between looks at what another process computes

Tell = Callable[[float, float], None]  # the share that is done, and images per second


@dataclass(frozen=True, eq=False)
class Features:
    """Of the images of a study.

    Attributes:
        train, score: (views, N, features) float32, on the device.
        labels: (N,) of the training images.
    """

    train: Tensor
    score: Tensor
    labels: Tensor

    def tables(self, config: TrainingConfig, epoch: int, seed: int) -> Tables:
        """Draw an epoch, in the order and the views of `batches.training_tables`."""
        n, device = len(self.labels), self.labels.device
        mirrored = torch.randint(2, (n,), generator=torch.Generator().manual_seed(seed)).bool() ^ bool(epoch % 2)
        view = mirrored.long() if config.flip and len(self.train) > 1 else torch.zeros(n, dtype=torch.long)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed + epoch))

        def make(part: Tensor, rows: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
            return self.train[rows["view"], part], self.labels[part]

        return Tables(order.to(device), {"view": view.to(device)}, config.batch_size, make)

    def views(self, tta: bool | str) -> Tensor:  # the value of a knob
        """Return what is scored, (views, N, features): in its place, and mirrored."""
        return self.score if tta else self.score[:1]


class Kept(NamedTuple):
    """Where a study keeps features.

    Attributes:
        folder: The study's.
        key: What they depend on beside the images' scaling and the type, as JSON.
        train, score: The images.
    """

    folder: Path
    key: Mapping[str, Any]
    train: Images
    score: Images

    def of(self, net: Adapted, scale: Scale, dtype: torch.dtype, tick: Callable[[int, float, float], None]) -> Features:
        """Return the features by a network; `tick` says how far it is, as in an epoch before the first."""
        return of(self.folder, dict(self.key), net, (self.train, self.score), scale, dtype, functools.partial(tick, 0))


def of(
    folder: Path, key: dict[str, Any], net: Adapted, images: tuple[Images, Images], scale: Scale, dtype: torch.dtype, tell: Tell
) -> Features:
    """Return the features of the images to train and to score on, from files in `folder`, which are made where they are missing.

    Args:
        folder: The study's.
        key: What they depend on beside the images' scaling and the type, as JSON.
        net: Whose backbone is frozen.
        images: To train and to score on.
        scale: That the backbone gets images in.
        dtype: In which it computes.
        tell: Is told how far it is.

    Raises:
        StorageError: They cannot be written.
    """
    told = key | {"dtype": str(dtype), "scale": [part.flatten().tolist() for part in (scale.factor, scale.offset)]}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
    places = [folder / FOLDER / f"{digest}-{part}.npy" for part in ("train", "score")]
    lock = Lock(folder / FOLDER / f"{digest}.lock", "a worker")

    def pause(_seconds: float) -> None:
        tell(0.0, 0.0)
        time.sleep(_PAUSE)

    try:
        if not all(path.is_file() for path in places):
            (folder / FOLDER).mkdir(parents=True, exist_ok=True)
            lock.wait(pause)
            try:
                _made(places, net, images, scale, dtype, tell)
            finally:
                lock.release()
        device = images[0].device
        train, score = (torch.from_numpy(np.load(path)).to(device) for path in places)
    except OSError as error:
        raise StorageError(f"cannot write {folder / FOLDER}: {refusal(error, folder)}") from error
    except ValueError:  # not what was written
        for path in places:
            path.unlink(missing_ok=True)
        return of(folder, key, net, images, scale, dtype, tell)
    return Features(train, score, images[0].labels[images[0].chosen.to(device)])


def _made(places: list[Path], net: Adapted, images: tuple[Images, Images], scale: Scale, dtype: torch.dtype, tell: Tell) -> None:
    total, began, before = sum(map(len, images)), time.perf_counter(), 0
    for path, some in zip(places, images, strict=True):
        if not path.is_file():
            made: list[Tensor] = []
            for views in _computed(net, some, scale, dtype):
                made.append(views)
                done = before + sum(part.shape[1] for part in made)
                tell(done / total, done / (time.perf_counter() - began))
            with atomic_file(path) as file:
                np.save(file, torch.cat(made, 1).numpy(), allow_pickle=False)
        before += len(some)


@torch.inference_mode()
def _computed(net: Adapted, images: Images, scale: Scale, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield features (2, B, features) float32 on the host, batch by batch."""
    net.eval()
    device = images.device
    for inputs, _ in scoring_batches(images, scale, scoring_batch(device)):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            yield torch.stack([net.features(view).float().cpu() for view in (inputs, inputs.flip(3))])
