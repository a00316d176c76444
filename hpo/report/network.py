"""The winner's network as the page needs it to classify pictures by itself (sees.js): its layers as steps, its weights packed.

Neither torch nor the network's code is needed: the table of layers says in which order an image passes them, and the shapes of
the weights say the rest. Only the built-in network's layers are known here.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpo.errors import DataError, UsageError
from hpo.folders import NETWORK
from hpo.report.artifacts import MAX_LAYERS_BYTES
from hpo.store.reading import results
from hpo.system import weights as files
from hpo.system.files import read_regular

if TYPE_CHECKING:
    from hpo.store.reading.record import StudyRecord

    Array = npt.NDArray[Any]

EPSILON = 1e-5  # torch's, of both norms
MAX_BYTES = 2_200_000  # bytes of weights of 16 bits; more are packed in 8 bits, so that the page grows by 3 MB at most
MAX_WEIGHTS = 24_000_000  # weights of a network that a page can hold
_ALIKE = {"ReLU": "relu", "GELU": "gelu", "SiLU": "silu", "MaxPool2d": "pool", "FlattenLast": "flatten", "GlobalMax": "maximum"}
_PASSED = ("Dropout", "Identity")


class Packed:
    """Arrays one after another, each from a multiple of 4 bytes.

    Attributes:
        bits: Of a weight of a convolution or a linear layer: 16 or 8.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._content = bytearray()

    def small(self, values: Array) -> dict[str, Any]:
        """Put in numbers of which there are few; return what the page finds them by."""
        return self._put("f32", values.astype("<f4"))

    def large(self, values: Array) -> dict[str, Any]:
        """Put in weights, whose last axis is the outputs, as whole numbers of a step that each output has."""
        most = 2 ** (self.bits - 1) - 1
        steps = np.abs(values).reshape(-1, values.shape[-1]).max(0) / most
        whole = np.rint(values / np.where(steps, steps, 1)).astype(f"<i{self.bits // 8}")
        return self._put(f"i{self.bits}", whole) | {"steps": self.small(steps)}

    def _put(self, kind: str, values: Array) -> dict[str, Any]:
        at = len(self._content)
        self._content += values.tobytes() + b"\0" * (-values.nbytes % 4)
        return {"at": at, "size": values.size, "type": kind}

    def text(self) -> str:
        """Return everything as text."""
        return base64.b64encode(self._content).decode()


def of_winner(record: StudyRecord) -> dict[str, Any]:
    """Return the network of a study's best trial for the page's JSON.

    Raises:
        NoResultError: No trial is complete.
        UsageError: The winner's network is not of the built-in kind, or too large for a page.
        DataError: Its files are gone, damaged, or of an older hpo; says what to do.
    """
    import safetensors.numpy

    path = results.path(record)
    again = f"Train it again: hpo reproduce {record.name}"
    if not record.objective.is_built_in:
        raise UsageError(
            f"study {record.name!r} has networks of somebody's own code, which no page can hold: leave out --with-network"
        )
    if path.name != NETWORK:
        raise DataError(f"{path} is a checkpoint that an older hpo left, and no page can hold it. {again}")
    told, content = files.read(path)
    place = path.with_name("layers.json")
    try:
        layers = json.loads(read_regular(place, MAX_LAYERS_BYTES))
        description, weights = json.loads(told), safetensors.numpy.load(content)
        if (many := sum(array.size for array in weights.values())) > MAX_WEIGHTS:
            raise UsageError(
                f"the winner's network has {many:,} weights; a page can hold {MAX_WEIGHTS:,}: leave out --with-network"
            )
        images = description["images"]
        known = {key: images[key] for key in ("channels", "grey", "fit", "factor", "offset")}
        return packed(
            layers,
            weights,
            classes=description["classes"],
            mirrored=description["mirrored"],
            shifted=description.get("shifted", False),
            edge=images["size"],
            **known,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, safetensors.SafetensorError) as error:
        raise DataError(
            f"the network in {path.parent} cannot be put into a page ({type(error).__name__}: {error}). {again}"
        ) from error


def packed(layers: Sequence[Mapping[str, Any]], weights: Mapping[str, Array], **told: object) -> dict[str, Any]:
    """Return a network for the page's JSON.

    Args:
        layers: The rows of the table of layers (layers.json): name, kind, output_shape, factor.
        weights: By their name in the network.
        told: What else the page has to know: classes, edge, channels, fit, factor, offset, mirrored, shifted.

    Raises:
        LookupError, ValueError: A layer's kind is not known, or its weights are missing.
    """
    many = sum(array.size for array in weights.values())
    content = Packed(16 if 2 * many <= MAX_BYTES else 8)
    edge = told["edge"]
    steps = list(_steps(layers, weights, content, edge if isinstance(edge, int) else 0))
    return {**told, "layers": steps, "weights": content.text(), "bits": content.bits}


def _steps(
    layers: Sequence[Mapping[str, Any]], weights: Mapping[str, Array], content: Packed, edge: int
) -> Iterator[dict[str, Any]]:
    around = ""  # the layers that the image has entered, and whose output is added to it
    for layer in layers:
        name, kind, shape = layer["name"], layer["kind"], layer["output_shape"]
        if around and not name.startswith(f"{around}."):
            around = ""
            yield {"kind": "add"}
        own = {key.removeprefix(f"{name}."): array for key, array in weights.items() if key.rpartition(".")[0] == name}
        if kind == "Residual":
            around = name
            yield {"kind": "keep"}
        elif kind in _ALIKE:
            yield {"kind": _ALIKE[kind]}
        elif kind in ("Conv2d", "Whiten"):
            yield _convolution(own, content, stride=1 if kind == "Conv2d" or shape[1] == edge - 1 else own["weight"].shape[2])
        elif kind == "Linear":
            yield {"kind": "flatten"}
            yield _convolution({**own, "weight": own["weight"][:, :, None, None]}, content, stride=1)
        elif kind == "BatchNorm2d":
            scale = own["weight"] / np.sqrt(own["running_var"] + EPSILON)
            shift = own["bias"] - own["running_mean"] * scale
            yield {"kind": "affine", "scale": content.small(scale), "shift": content.small(shift)}
        elif kind == "GroupNorm":
            groups = math.gcd(8, len(own["weight"]))
            each = {"scale": content.small(own["weight"]), "shift": content.small(own["bias"])}
            yield {"kind": "group", "groups": groups, "epsilon": EPSILON, **each}
        elif kind == "Patches":
            yield {"kind": "patches", "edge": edge // shape[1]}
        elif kind == "Multiply":
            yield {"kind": "multiply", "factor": layer["factor"]}
        elif kind not in _PASSED:
            raise ValueError(f"a layer of kind {kind} is not known to the page")


def _convolution(own: Mapping[str, Array], content: Packed, *, stride: int) -> dict[str, Any]:
    weight = own["weight"]  # (outputs, inputs, rows, columns)
    kernel = weight.shape[2]
    made = {
        "kind": "convolution",
        "kernel": kernel,
        "stride": stride,
        "pad": kernel // 2 if kernel % 2 else 0,
        "out": len(weight),
    }
    bias = {"bias": content.small(own["bias"])} if "bias" in own else {}
    return made | bias | {"weight": content.large(weight.transpose(2, 3, 1, 0))}
