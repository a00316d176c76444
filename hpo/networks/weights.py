"""Weights that a network of torchvision begins with: its own registry's, a file's, or those of a network that hpo has trained.

Nothing is unpickled but tensors and numbers. Weights come with the scaling of images that they were trained with: the registry
names it; a network that hpo has trained says it; another file is taken for the registry's, ImageNet's mean and deviation.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hpo.errors import DataError, StorageError, UsageError
from hpo.networks import stored, zoo
from hpo.objective import PRETRAINED
from hpo.system.files import read_regular

if TYPE_CHECKING:
    from hpo.objective import Telling

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CENTRED: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # of networks that were trained by another library
_PATIENCE = 30  # seconds without an answer
_BACKBONE = "backbone."
_DAMAGE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, SafetensorError)


class Weights(NamedTuple):
    """A backbone's weights.

    Attributes:
        name: As people know them.
        digest: SHA-256 of the file.
        state: Tensor by name, of the whole network or of its backbone.
        mean, deviation: Of the pixels, 0 to 1, by channel, as the network gets them.
    """

    name: str
    digest: str
    state: Mapping[str, Tensor]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def load(self, backbone: nn.Module, edge: int) -> None:
        """Put them into a backbone for images of an edge.

        Raises:
            UsageError: They are another network's; says which tensor is wanting or of another shape.
        """
        wanted = backbone.state_dict()
        given = {key: value for key, value in self.state.items() if key in wanted}
        position = "encoder.pos_embedding"
        if position in wanted and position in given and given[position].shape != wanted[position].shape:
            given = _interpolated(given, backbone, edge)
        odd = [
            f"{key} has the shape {tuple(given[key].shape)}, not {tuple(value.shape)}" if key in given else f"it has no {key}"
            for key, value in wanted.items()
            if (key not in given or given[key].shape != value.shape) and not key.endswith("num_batches_tracked")
        ]
        if odd:
            more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
            raise UsageError(f"{self.name} does not fit this network: {odd[0]}{more}. Name the network that it was trained as.")
        backbone.load_state_dict(given, strict=False)


def found(model: str, source: str, tell: Telling) -> Weights:
    """Return the weights that a study names: the registry's, or a file's.

    Raises:
        DataError: They cannot be fetched.
        UsageError: There is no such file, or it holds no weights.
    """
    return _fetched(model, tell) if source == PRETRAINED else _read(Path(source), model)


def _fetched(model: str, tell: Telling) -> Weights:
    from torchvision import models

    one = models.get_model_weights(model).DEFAULT
    file = Path(torch.hub.get_dir(), "checkpoints", one.url.rpartition("/")[2])
    if not file.is_file():
        tell(f"downloading {file.name}", 0, 0)
    try:
        with _patient():
            state = one.get_state_dict(progress=False, check_hash=True, weights_only=True)
        digest = hashlib.sha256(read_regular(file)).hexdigest()
    except (OSError, *_DAMAGE) as error:  # without a network an URLError, which is an OSError
        raise DataError(
            f"the weights of {model} cannot be fetched: {' '.join(str(error).split())[:200]}. "
            f"Put {one.url} there yourself: {file}, or name a file: --weights FILE"
        ) from None
    shown = one.transforms()
    mean, deviation = _CENTRED if model in ("googlenet", "inception_v3") else (tuple(shown.mean), tuple(shown.std))
    return Weights(f"{type(one).__name__}.{one.name}", digest, state, mean, deviation)


@contextmanager
def _patient() -> Iterator[None]:
    """Give up where nothing answers; torch's download waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read(path: Path, model: str) -> Weights:
    said = f"--weights {path}"
    try:
        content = read_regular(path)
    except OSError as error:
        raise UsageError(f"{said}: it cannot be read: {error.strerror}.") from None
    digest = hashlib.sha256(content).hexdigest()
    mean, deviation = _CENTRED if model in ("googlenet", "inception_v3") else IMAGENET
    with contextlib.suppress(DataError, StorageError, *_DAMAGE):  # a network that hpo has trained
        told, state = stored.read(path)
        factors, offsets = told.images.factor, told.images.offset
        mean = tuple(-offset / factor / 255 for factor, offset in zip(factors, offsets, strict=True))
        return Weights(path.name, digest, _of_backbone(state), mean, tuple(1 / factor / 255 for factor in factors))
    try:
        given = _tensors(path, content)
    except _DAMAGE:
        raise UsageError(
            f"{said}: it is no state of a network. It should hold tensors by name: torch.save(net.state_dict(), FILE), or a "
            f".safetensors file"
        ) from None
    for key in ("state_dict", "model"):
        given = given[key] if isinstance(given.get(key), Mapping) else given
    state = {str(key).removeprefix("module."): value for key, value in given.items() if isinstance(value, Tensor)}
    if not state:
        raise UsageError(f"{said}: it holds no tensors.")
    return Weights(path.name, digest, _of_backbone(state), mean, deviation)


def _of_backbone(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the backbone's part of a state, without its prefix; the whole state where none has it."""
    own = {key.removeprefix(_BACKBONE): value for key, value in state.items() if key.startswith(_BACKBONE)}
    return own or state


def _tensors(path: Path, content: bytes) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load

        state: Mapping[str, Any] = load(content)
        return state
    loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(loaded, Mapping):
        raise TypeError("no state")
    return loaded


def _interpolated(state: Mapping[str, Tensor], backbone: nn.Module, edge: int) -> dict[str, Tensor]:
    """Return a vision transformer's state for images of another edge."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    patch = int(backbone.patch_size)  # type: ignore[arg-type]
    return dict(interpolate_embeddings(edge, patch, dict(state)))


def check(model: str, weights: Weights, n_classes: int, edge: int) -> None:
    """Refuse weights of another network, before any trial."""
    net = zoo.Adapted(model, n_classes, edge, 0.0)
    weights.load(net.backbone, net.edge)
