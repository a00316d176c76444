"""What workers load of the built-in objective (convnet.py): it maps the images, and begins the trials."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hpo.builtin.models import is_file
from hpo.builtin.recipe import of_version
from hpo.data import datasets
from hpo.errors import DeviceError, UsageError
from hpo.networks import models, weights, zoo
from hpo.networks.device import Streams, fast_dtype, model_name, opened, out_of_memory
from hpo.training.steps.cuda import collect
from hpo.training.task import Task
from hpo.training.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from hpo.data.arrays import DataSet
    from hpo.messages import Setup
    from hpo.networks.weights import Weights
    from hpo.objective import Begin, Telling
    from hpo.parameters import Value
    from hpo.training.batches import Images


def prepare(setup: Setup, tell: Telling) -> tuple[dict[str, Any], Begin]:
    """Map the data; return the environment that all trials of this worker share, and what begins one.

    Raises:
        DataError, DeviceError, UsageError: The data, the device or the settings are at fault.
    """
    recipe = of_version(setup.recipe)
    if recipe is None:
        raise UsageError(f"this worker's hpo is older than the study's: it does not know recipe {setup.recipe}.")
    model = setup.source or models.CONVNET
    if model != models.CONVNET:
        tell(f"loading {Path(model).name}", 0, 0)
        models.check(model)
    device = opened(setup.device)
    try:
        loaded = datasets.of(setup.settings, setup.data_dir, progress=tell)
        task = Task.of(setup.settings, loaded, device, setup.memory, recipe, model)
        if setup.weights:
            task = dataclasses.replace(task, weights=_weights(task, setup.weights, tell))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise DeviceError(
            f"{setup.device} has no memory left for the images of {setup.settings.images}. "
            f"Use fewer workers, --workers 1, or another device."
        ) from None

    def begin(point: Mapping[str, Value], seed: int, folder: Path) -> Trial:
        return Trial(task, models.configuration(model, point), seed, folder)

    return _environment(task, loaded, device), begin


def lanes(setup: Setup) -> Callable[[], AbstractContextManager[None]]:
    """Return what is around a trial that is trained beside others."""
    return Streams(torch.device(setup.device), setup.lanes, collect).one


def _weights(task: Task, source: str, tell: Telling) -> Weights:
    """Return the weights that a study begins with, once it is certain that they fit."""
    found = weights.found(task.model, source, tell)
    weights.check(task.model, found, len(task.classes), task.train.pixels.shape[1])
    return found


def _environment(task: Task, loaded: DataSet, device: torch.device) -> dict[str, Any]:
    return {
        "data": loaded.source,
        "data_digest": loaded.digest,
        "classes": list(task.classes),
        "class_counts": {"train": _counts(task, task.train), "scored": _counts(task, task.score)},
        "n_train": len(task.train),
        "n_scored": len(task.score),
        "image_size": task.train.pixels.shape[1],
        "channels": 1 if task.grey else 3,
        "device": model_name(device),
        "mirroring": "as flip and tta say" if task.mirrorable else "off: flip and tta do not apply to these images",
        "early_views": task.recipe.early_views,
        "pixels": "on the host" if task.train.pixels.device != device else "on the device",
        "precision": str(fast_dtype(device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": metadata.version("torchvision"),  # importing it would cost a second
        **_of_model(task),
    }


def _counts(task: Task, images: Images) -> list[int]:
    chosen = images.labels[images.chosen.to(images.device)]
    counts: list[int] = torch.bincount(chosen, minlength=len(task.classes)).tolist()
    return counts


def _of_model(task: Task) -> dict[str, Any]:
    """Return what is to be known of a network that is not the built-in one."""
    if task.model == models.CONVNET:
        return {}
    if is_file(task.model):
        file = Path(task.model.rpartition(":")[0])
        return {"file": str(file), "file_digest": hashlib.sha256(file.read_bytes()).hexdigest()}
    begun = {"weights": task.weights.name, "weights_digest": task.weights.digest} if task.weights else {}
    return {"input_size": zoo.edge_of(task.model, task.train.pixels.shape[1]), **begun}
