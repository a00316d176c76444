"""A trained network, ready for pictures: `hpo.Network.open("network.safetensors").predict(["cat.jpg"])`.

It is opened from its file alone (stored.py), does its own preprocessing, and scores as its trial did: the same scaling, views,
precision and batches, so that on the same device its outputs are the trial's own, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from hpo.builtin.models import is_file
from hpo.builtin.recipe import of_version
from hpo.data.pictures.picture import Unusable, decode, squared
from hpo.errors import DataError, DeviceError, UsageError
from hpo.networks import models, stored
from hpo.networks.device import fast_dtype, scoring_batch
from hpo.networks.views import mean, views_of
from hpo.objective import TrialError
from hpo.system.files import read_regular

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    from hpo.data.arrays import Pixels
    from hpo.networks.stored import Description

    Picture = str | Path | Image | npt.NDArray[np.generic] | Tensor
    Floats = npt.NDArray[np.float32]

MAX_CODE = 1 << 24  # bytes of a file of code
_CHANNELS = (1, 3, 4)


class Scorer(nn.Module):
    """Pixels (N, channels, size, size), 0 to 255, to logits (N, n_classes): scaling, network, and the mean over its views.

    Plain PyTorch in float32, for exports; `Network` computes the same in the precision of the training.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, network: nn.Module, description: Description) -> None:
        super().__init__()
        images = description.images
        self.network, self.tta = network, description.tta
        self.register_buffer("factor", torch.tensor(images.factor).view(1, -1, 1, 1))
        self.register_buffer("offset", torch.tensor(images.offset).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits."""
        inputs = pixels.float() * self.factor + self.offset
        return mean([self.network(view).float() for view in views_of(inputs, self.tta)])


class Network:
    """A trained network.

    Attributes:
        module: The network itself, a module in evaluation mode from scaled images (N, channels, size, size) to logits.
        scorer: The same from pixels, 0 to 255.
        description: All that its file says of it.
        device: Where it computes.
        precision: In which type: that of its training where the device has it in hardware, else float32.
    """

    def __init__(self, module: nn.Module, description: Description, device: torch.device) -> None:
        self.module = module.to(device).eval().requires_grad_(requires_grad=False)
        self.scorer = Scorer(self.module, description).to(device).eval()
        self.description, self.device = description, device
        fast = fast_dtype(device)
        trained = getattr(torch, description.precision, fast) if description.precision else fast
        self.precision: torch.dtype = fast if trained == fast else torch.float32

    @classmethod
    def open(cls, path: Path | str, *, device: str = "cpu", code: Path | str | None = None) -> Network:
        """Open a network's file.

        Args:
            path: `network.safetensors`, or the checkpoint of a trial that an older hpo finished.
            device: `cpu`, `cuda` or `cuda:N`.
            code: Of a network that a function of somebody's own builds: the file with that function, as it was. It is run, and
                nothing is that only the network's file names.

        Raises:
            DataError: The file is missing, damaged or no network, or its code is another one.
            UsageError: It needs code, which is not named or not there.
            DeviceError: There is no such device.
        """
        place = _device(device)
        description, weights = stored.read(Path(path))
        model = _with_code(Path(path), description, code) if is_file(description.model) else description.model
        try:
            return cls(_built(model, description, weights), description, place)
        except (UsageError, TrialError, LookupError, TypeError, ValueError, RuntimeError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{path}: its weights are not those of the network that it describes ({said}).") from error

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the outputs."""
        return self.description.classes

    def predict(self, pictures: Picture | Iterable[Picture]) -> list[str]:
        """Return the most probable class of each picture; of a single one, too, a list.

        Args:
            pictures: One or several, of any size: paths; PIL's images; arrays (height, width), (height, width, 1, 3 or 4) or
                (N, height, width, channels); tensors (channels, height, width) or (N, channels, height, width). Values are uint8,
                or floats from 0 to 1.

        Raises:
            DataError: A file cannot be read as a picture.
            UsageError: Values of an array that are no picture.
        """
        return [self.classes[label] for label in self.logits(pictures).argmax(1)]

    def probabilities(self, pictures: Picture | Iterable[Picture]) -> Floats:
        """Return (N, n_classes) float32; the sum of each row is 1. Arguments and errors are those of `predict`."""
        found: Floats = torch.from_numpy(self.logits(pictures)).softmax(1).numpy()
        return found

    def logits(self, pictures: Picture | Iterable[Picture]) -> Floats:
        """Return (N, n_classes) float32, the outputs before softmax. Arguments and errors are those of `predict`."""
        made = [self.scored(pixels) for pixels in self._batches(pictures)]
        return np.concatenate(made) if made else np.empty((0, len(self.classes)), np.float32)

    @torch.inference_mode()
    def scored(self, pixels: Pixels) -> Floats:
        """Return the logits (N, n_classes) of pixels (N, size, size, 3) uint8: squares as `squared` makes them."""
        ready = torch.from_numpy(self._coloured(pixels)).to(self.device).permute(0, 3, 1, 2)
        made = []
        for part in torch.split(ready, scoring_batch(self.device)):
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                made.append(self.scorer(part))
        found: Floats = torch.cat(made).cpu().numpy()
        return found

    def _coloured(self, pixels: Pixels) -> Pixels:
        """Return squares with the channels of the network: grey, where its training images were."""
        images = self.description.images
        if pixels.shape[3] == 3 and (images.grey or images.channels == 1):
            weights = np.array([19595, 38470, 7471], np.uint32)  # of 65536, as Pillow makes grey
            grey = ((pixels.astype(np.uint32) @ weights + 0x8000) >> 16).astype(np.uint8)[..., None]
            pixels = np.repeat(grey, images.channels, axis=3)
        return np.ascontiguousarray(pixels)

    def _batches(self, pictures: Picture | Iterable[Picture]) -> Iterator[Pixels]:
        """Yield squares (N, size, size, 3 or channels) uint8, as many at a time as are scored at once."""
        size, fit = self.description.images.size, self.description.images.fit
        room = scoring_batch(self.device)
        waiting: list[Pixels] = []
        for picture in _each(pictures):
            if isinstance(picture, np.ndarray) and picture.shape[1:3] == (size, size) and picture.shape[3] == 3:
                waiting.extend(picture)  # as it is
            else:
                waiting.extend(_squares(picture, size, fit))
            while len(waiting) >= room:
                yield np.stack(waiting[:room])
                del waiting[:room]
        if waiting:
            yield np.stack(waiting)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise DeviceError(f"device {name!r} cannot be used here: {str(error).splitlines()[0].rstrip('.')}.") from None
    return device


def _with_code(path: Path, description: Description, code: Path | str | None) -> str:
    """Return `FILE.py:build` with the place of a file that somebody names."""
    file, _, function = description.model.rpartition(":")
    name = Path(file).name
    if code is None:
        raise UsageError(
            f"the network {path} is built by {function} in {name} (SHA-256 {description.code[:12]}…), and no code is run because "
            f"a file names it. Name it yourself: --code {name}"
        )
    try:
        digest = hashlib.sha256(read_regular(Path(code), MAX_CODE)).hexdigest()
    except (OSError, ValueError) as error:
        raise UsageError(f"the code {code} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if digest != description.code:
        raise DataError(
            f"{code} is not the code that built the network {path}: its SHA-256 is {digest[:12]}…, and not "
            f"{description.code[:12]}…"
        )
    return f"{Path(code).absolute()}:{function}"


def _built(model: str, description: Description, weights: dict[str, Tensor]) -> nn.Module:
    """Return the network of a description with its weights. The built-in one takes no memory before they fit."""
    recipe, images = of_version(description.recipe), description.images
    if recipe is None:
        raise UsageError(f"it was trained by recipe {description.recipe}, which this hpo does not know")
    config = models.configuration(model, {**models.before(model), **description.point})
    built_in = model == models.CONVNET
    with torch.device("meta" if built_in else "cpu"):
        module = models.build(model, config, len(description.classes), images.channels, images.size, recipe)
    module.load_state_dict(weights, assign=built_in)
    return module.to(memory_format=torch.channels_last) if built_in else module


def _each(pictures: Picture | Iterable[Picture]) -> Iterator[str | Path | Image | Pixels]:
    """Yield paths and images one by one, and stacks of arrays (N, height, width, channels) uint8."""
    if isinstance(pictures, (str, Path)) or hasattr(pictures, "getexif"):
        yield pictures  # type: ignore[misc]  # PIL's image
    elif isinstance(pictures, Tensor):
        yield _stack(_last_channels(pictures))
    elif isinstance(pictures, np.ndarray):
        yield _stack(pictures)
    elif isinstance(pictures, Iterable):
        for picture in pictures:
            yield from _each(picture)
    else:
        raise UsageError(f"a {type(pictures).__name__} is no picture. Give paths, PIL's images, arrays or tensors.")


def _last_channels(pictures: Tensor) -> npt.NDArray[np.generic]:
    """Return a tensor (N, C, H, W) or (C, H, W) as an array (N, H, W, C) or (H, W, C)."""
    moved = pictures.detach().cpu()
    if moved.dtype == torch.bfloat16:
        moved = moved.float()
    if moved.dim() == 4 or (moved.dim() == 3 and moved.shape[0] in _CHANNELS):
        moved = moved.movedim(-3, -1)
    array: npt.NDArray[np.generic] = moved.numpy()
    return array


def _stack(array: npt.NDArray[np.generic]) -> Pixels:
    """Return an array of a picture, or of several, as (N, H, W, C) uint8."""
    pixels = _bytes(array)
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] not in _CHANNELS):
        pixels = pixels[..., None]
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim != 4 or pixels.shape[3] not in _CHANNELS or not all(pixels.shape[1:3]):
        shape = " x ".join(map(str, array.shape))
        raise UsageError(f"an array of {shape} is no picture. Expected is height x width, with 1, 3 or 4 channels, or several.")
    return pixels


def _bytes(array: npt.NDArray[np.generic]) -> Pixels:
    """Return values 0 to 255 of an array's."""
    if array.dtype == np.uint8:
        return array.view(np.uint8)
    if array.dtype.kind not in "fb":
        raise UsageError(f"pixels of type {array.dtype} have no defined range. Give uint8, 0 to 255, or floats from 0 to 1.")
    values = array.astype(np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise UsageError("pixels are floats outside 0 to 1. Divide them by the largest that is possible, or give uint8.")
    made: Pixels = np.rint(values * 255).astype(np.uint8)
    return made


def _squares(picture: str | Path | Image | Pixels, size: int, fit: str) -> Sequence[Pixels]:
    """Return a picture, or each of a stack, as a square (size, size, 3) uint8."""
    from PIL import Image as Module

    if isinstance(picture, (str, Path)):
        try:
            return [decode(Path(picture), size, fit).pixels]
        except Unusable as error:
            raise DataError(f"{picture} {error}.") from None
    if isinstance(picture, np.ndarray):
        flat = picture[..., 0] if picture.shape[3] == 1 else picture
        return [squared(Module.fromarray(np.ascontiguousarray(one)), size, fit) for one in flat]
    try:
        return [squared(picture, size, fit)]
    except Unusable as error:
        raise DataError(f"the picture {error}.") from None
