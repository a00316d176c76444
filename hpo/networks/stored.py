"""A network as a file: weights as safetensors, and in its header, as JSON, all that scoring a picture with them needs.

`network.safetensors` is what a finished trial leaves. It says how to build the network, how pictures become its input, what its
outputs mean, and where it comes from. Other programs read the weights as of any such file. A SHA-256 over weights and description
is in the header, and is checked. Nothing is unpickled, and nothing in it is run. Checkpoints of trials that an older hpo finished
give the same, as far as they have it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from hpo.builtin.convnet import BEFORE
from hpo.data.arrays import SIDE
from hpo.errors import DataError, StorageError, UsageError
from hpo.networks import checkpoint
from hpo.objective import FIRST, FIRST_BUILT_IN
from hpo.parameters import Value
from hpo.settings import Settings
from hpo.system import weights
from hpo.system.files import read_regular, write_atomically

FORMAT = 1  # increase it when older versions of hpo must not read the file
THUMBNAIL = 128  # pixels: largest edge of the pictures that a trial keeps for its page


class Images(BaseModel):
    """How pictures become a network's input.

    Attributes:
        size: Edge, pixels.
        channels: 3, or 1.
        grey: Whether all training images were: colour pictures lose theirs.
        fit: What makes pictures square, as in data/pictures/picture.py.
        factor, offset: By channel: input = pixel * factor + offset.
    """

    model_config = ConfigDict(frozen=True)

    size: int = Field(ge=1, le=8192)
    channels: int = Field(ge=1, le=4)
    grey: bool = False
    fit: str = "crop"
    factor: tuple[float, ...]
    offset: tuple[float, ...]


class Description(BaseModel):
    """What a network is, beside its weights.

    Attributes:
        hpo, torch: Versions that trained it; empty where an older hpo did not say.
        model: What builds it, as a study stores it (models.py).
        code: SHA-256 of the file in which it is, if it is a function of somebody's own.
        recipe: Version of what a training does beyond its point.
        point: A value for every parameter.
        classes: Names, in the order of the outputs.
        images: How pictures become input.
        mirrored: Whether outputs are the mean over a picture and its mirror image.
        shifted: Whether both are also shifted by a pixel, as views.py says.
        precision: In which type it was scored.
        data: Name and digest of the data set.
        seed, settings: Of the training: its own seed, and the study's settings.
        history: A row per epoch: number, training loss, score loss, score, images per second, seconds.
        n_train, n_scored: Numbers of images.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    format: int = FORMAT
    hpo: str = ""
    torch: str = ""
    model: str = FIRST_BUILT_IN
    code: str = ""
    recipe: int = FIRST
    point: dict[str, Value]
    classes: tuple[str, ...] = Field(min_length=1)
    images: Images
    mirrored: bool = False
    shifted: bool = False
    precision: str = ""
    data: dict[str, str] = {}
    seed: int = 0
    settings: dict[str, Any] = {}
    history: tuple[tuple[float, ...], ...] = ()
    n_train: int = 0
    n_scored: int = 0

    @property
    def tta(self) -> bool | str:
        """How it was scored, as the knob has it."""
        return "shifted" if self.shifted else self.mirrored

    @property
    def score(self) -> float | None:
        """After the last epoch; None where nobody has said."""
        return self.history[-1][3] if self.history else None


def versions() -> dict[str, str]:
    """Return what a description says of the programs that run now."""
    try:
        ours = metadata.version("hpo")
    except metadata.PackageNotFoundError:  # run in its source folder
        ours = "not installed"
    return {"hpo": ours, "torch": torch.__version__}


def write(path: Path, description: Description, tensors: Mapping[str, Tensor]) -> None:
    """Write a network's file, whole or not at all.

    Raises:
        OSError: The disk refuses.
    """
    # Copies: a file of safetensors takes no tensor that shares another's memory.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, weights.described(safetensors.torch.save(copies), description.model_dump_json()))


def read(path: Path) -> tuple[Description, dict[str, Tensor]]:
    """Return what a file says of a network, and its weights on the CPU.

    Args:
        path: `network.safetensors`, or the checkpoint of a trial that an older hpo has finished.

    Raises:
        DataError: The file is missing, damaged or no network of hpo's; says which.
    """
    if _begins(path, b"hpo checkpoint "):
        return _of_checkpoint(path)
    told, content = weights.read(path)
    description = _described(path, told)
    try:
        return description, safetensors.torch.load(content)
    except (SafetensorError, ValueError, LookupError, RuntimeError) as error:
        raise DataError(f"{path} holds weights that this hpo cannot read: {str(error).rstrip('.')}.") from None


def _begins(path: Path, mark: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(len(mark)) == mark
    except (OSError, ValueError):
        return False


def _described(path: Path, told: str) -> Description:
    try:
        description = Description.model_validate_json(told)
    except ValidationError as error:
        newer = json.loads(told).get("format") if told.startswith("{") else None
        if isinstance(newer, int) and newer > FORMAT:
            raise _newer(path) from None
        raise DataError(f"{path} does not describe a network: {error.errors()[0]['msg']}.") from None
    if description.format > FORMAT:
        raise _newer(path)
    return description


def _newer(path: Path) -> DataError:
    return DataError(f"{path} was written by a newer hpo. Install that: pip install --upgrade hpo")


def _of_checkpoint(path: Path) -> tuple[Description, dict[str, Tensor]]:
    """Return the network in a finished trial's checkpoint, as versions of hpo wrote it that knew no network's file."""
    try:
        state = checkpoint.load(path)
    except StorageError as error:
        raise DataError(str(error)) from None
    training, identity = state.get("training"), state.get("identity")
    if not isinstance(training, dict) or not isinstance(identity, dict):
        raise DataError(f"{path} holds no network, but the state of somebody's own training code.")
    if "scored" not in training:
        raise DataError(f"{path} is of a training that has not ended; its network can be used once the trial is complete.")
    try:
        return _of_state(state, _edge(path)), training["scored"]
    except (UsageError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is of a training that this hpo does not know.") from error


def _of_state(state: Mapping[str, Any], edge: int) -> Description:
    training, identity = state["training"], state["identity"]
    settings, point = Settings(**identity["settings"]), {**BEFORE, **identity["config"]}
    factor, offset = (tuple(training["scale"][part].flatten().tolist()) for part in ("factor", "offset"))
    grey = settings.dataset == "digits"
    return Description(
        recipe=identity.get("recipe", FIRST),
        point=point,
        classes=tuple(state["classes"]),
        images=Images(size=edge, channels=len(factor), grey=grey, fit=settings.fit, factor=factor, offset=offset),
        mirrored=bool(point["tta"] and state["mirrorable"]),
        data={"name": settings.images},
        seed=identity["seed"],
        settings=identity["settings"],
        history=tuple(tuple(row) for row in state["history"]),
        n_scored=len(state["logits"]),
    )


def _edge(path: Path) -> int:
    """Return the edge of the images that a trial of an older hpo was trained on, as the pictures beside its checkpoint tell."""
    try:
        with np.load(io.BytesIO(read_regular(path.with_name("scores.npz"), 1 << 30)), allow_pickle=False) as scores:
            edge = int(scores["pictures"].shape[1])
    except (OSError, LookupError, ValueError, zipfile.BadZipFile):
        return SIDE
    if edge == THUMBNAIL:  # or larger
        raise ValueError("nobody has said how large its images are")
    return edge
