"""The forms of an export: how each is written, and how a user of it computes logits with it.

All take pixels as an array of pictures is, (N, size, size, 3) uint8, and do the scaling, the mirrored view and whatever else the
network was scored with by themselves, in float32.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from hpo.builtin.models import is_file
from hpo.errors import UsageError, nearest
from hpo.exporting import source
from hpo.networks import stored
from hpo.networks.model import ConvNet
from hpo.networks.network import Network

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hpo.networks.network import Scorer
    from hpo.networks.stored import Images

    Pixels = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]
    Run = Callable[[Pixels], Floats]

CARD = "README.md"
WEIGHTS = "weights.safetensors"
FORMS = ("onnx", "torch", "safetensors", "source", "card")

_ONNX = ("onnx", "onnxscript", "onnxruntime")  # packages of the extra hpo[onnx]
_GREY = (19595.0, 38470.0, 7471.0)  # of 65536: a grey value of red, green and blue, as Pillow computes it


class Deployed(nn.Module):
    """Pixels (N, size, size, 3) uint8 to logits (N, n_classes), as the network was scored."""

    weights: Tensor

    def __init__(self, scorer: Scorer, images: Images) -> None:
        super().__init__()
        self.scorer = scorer
        self.grey, self.channels = images.grey or images.channels == 1, images.channels
        self.register_buffer("weights", torch.tensor(_GREY))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits."""
        values = pixels.float()
        if self.grey:
            grey = torch.floor(((values * self.weights).sum(3, keepdim=True) + 32768) / 65536)
            values = grey.expand(-1, -1, -1, self.channels)
        logits: Tensor = self.scorer(values.permute(0, 3, 1, 2))
        return logits


class _Answering(nn.Module):
    """Pixels to logits and probabilities."""

    def __init__(self, network: Deployed) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(pixels)
        return logits, logits.softmax(1)


class Form(NamedTuple):
    """A form of an export.

    Attributes:
        files: That it consists of; the first is named where one stands for it.
        write: Writes them into a folder, and returns what is to be said of them.
        opened: Loads them from there, as a user would, and returns what computes logits. The network tells of code that only its
            maker has.
    """

    files: tuple[str, ...]
    write: Callable[[Network, Path], dict[str, Any]]
    opened: Callable[[Path, Network], Run]


def check(asked: Sequence[str]) -> None:
    """Refuse names that are no forms.

    Raises:
        UsageError: Names the nearest form.
    """
    every = f"Write: --as {','.join(FORMS)}"
    if not asked:
        raise UsageError(f"no form is named. {every}")
    for name in asked:
        if name not in FORMS:
            raise UsageError(f"there is no form {name!r}.{nearest(name, FORMS)} {every}")


def chosen(asked: Sequence[str] | None, network: Network) -> tuple[tuple[str, ...], list[str]]:
    """Return the forms to write, and of those that nobody asked for by name a sentence on each that is left out.

    Raises:
        UsageError: One cannot be made here or of this network; says why.
    """
    hindered = {"onnx": _without_onnx(), "source": _without_source(network)}
    if asked:
        for name in asked:
            if hindered.get(name):
                rest = ",".join(form for form in FORMS if form != name)
                raise UsageError(f"{hindered[name]} Or leave it out: --as {rest}")
        whole = {*asked} | ({"safetensors"} if "source" in asked else set())  # model.py loads the weights from there
        return tuple(name for name in FORMS if name in whole), []
    said = [why for why in hindered.values() if why]
    return tuple(name for name in FORMS if not hindered.get(name)), said


def built_by(network: Network) -> str:
    """Return what builds a network: a name, or `FILE.py:function` without the folders of this machine."""
    return re.split(r"[\\/]", network.description.model)[-1]


def reference(network: Network) -> Deployed:
    """Return the original that all forms are compared with: the network in float32."""
    return Deployed(network.scorer, network.description.images).to(network.device).eval()


def _without_onnx() -> str:
    missing = [name for name in _ONNX if importlib.util.find_spec(name) is None]
    return f"the form onnx needs {', '.join(missing)}: pip install 'hpo[onnx]'." if missing else ""


def _without_source(network: Network) -> str:
    if type(network.module) is ConvNet:
        return ""
    return f"the form source is for hpo's own network, whose layers it writes out; {built_by(network)} is not."


def _write_onnx(network: Network, folder: Path) -> dict[str, Any]:
    import onnx

    size = network.description.images.size
    with _quietly(), torch.inference_mode():
        made = torch.onnx.export(
            _Answering(reference(network)).eval(),
            (torch.zeros(2, size, size, 3, dtype=torch.uint8),),
            dynamo=True,
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
            input_names=["pixels"],
            output_names=["logits", "probabilities"],
            verbose=False,
        )
    assert made is not None  # noqa: S101  # torch's type: with dynamo=True it is not
    proto = made.model_proto
    for node in (node for part in (proto.graph, *proto.functions) for node in part.node):
        del node.metadata_props[:]  # where in our code it comes from, with the paths of this machine
    about = {"classes": json.dumps(network.classes), "made by": "hpo"}
    onnx.helper.set_model_props(proto, about)
    onnx.checker.check_model(proto)
    onnx.save(proto, folder / "model.onnx")
    return {"opset": next(one.version for one in proto.opset_import if one.domain in ("", "ai.onnx"))}


def _open_onnx(folder: Path, _network: Network) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

    def run(pixels: Pixels) -> Floats:
        logits: Floats = session.run(["logits"], {"pixels": pixels})[0]
        return logits

    return run


def _write_torch(network: Network, folder: Path) -> dict[str, Any]:
    size = network.description.images.size
    with _quietly(), torch.no_grad():
        program = torch.export.export(
            reference(network),
            (torch.zeros(2, size, size, 3, dtype=torch.uint8),),
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
        )
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # the paths of this machine
        torch.export.save(program, folder / "model.pt2")
    return {}


def _open_torch(folder: Path, _network: Network) -> Run:
    with _quietly():
        return running(torch.export.load(folder / "model.pt2").module())


def _write_safetensors(network: Network, folder: Path) -> dict[str, Any]:
    about = network.description.model_copy(update={"model": built_by(network)})
    stored.write(folder / WEIGHTS, about, network.module.state_dict())
    return {}


def _open_safetensors(folder: Path, network: Network) -> Run:
    if not is_file(network.description.model):
        return running(reference(Network.open(folder / WEIGHTS)))
    about, weights = stored.read(folder / WEIGHTS)
    module = copy.deepcopy(network.module)  # the file that builds it is somebody's own, and not in the export
    module.load_state_dict(weights)
    return running(reference(Network(module, about, network.device)))


def _write_source(network: Network, folder: Path) -> dict[str, Any]:
    assert isinstance(network.module, ConvNet)  # noqa: S101  # `chosen` has seen to it
    (folder / "model.py").write_text(source.model_source(network.module, network.description), "utf-8")
    (folder / "predict.py").write_text(source.predict_source(), "utf-8")
    return {}


def _open_source(folder: Path, _network: Network) -> Run:
    path = folder / "model.py"
    names: dict[str, Any] = {"__name__": "model", "__file__": str(path)}
    exec(compile(path.read_bytes(), "model.py", "exec"), names)  # noqa: S102  # our own text; an import would leave __pycache__
    return running(names["load"]())


def running(module: nn.Module) -> Run:
    """Return a module from pixels to logits as a function of arrays."""

    @torch.inference_mode()
    def run(pixels: Pixels) -> Floats:
        logits: Floats = module(torch.from_numpy(pixels)).numpy()
        return logits

    return run


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Let torch's exporters keep to themselves what they log and warn of: whether it is right is measured afterwards."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


PROVEN = {
    "onnx": Form(("model.onnx",), _write_onnx, _open_onnx),
    "torch": Form(("model.pt2",), _write_torch, _open_torch),
    "safetensors": Form((WEIGHTS,), _write_safetensors, _open_safetensors),
    "source": Form(("model.py", "predict.py"), _write_source, _open_source),
}
