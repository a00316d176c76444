"""The state that own training code yields, as the content of a checkpoint: written whole, read without executing anything."""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpo.errors import StorageError
from hpo.messages import Epoch
from hpo.system.checkpoints import write
from hpo.system.files import read_sealed

_NUMPY = {("numpy", "ndarray"), ("numpy", "dtype")} | {
    (f"numpy.{core}.{module}", name)
    for core in ("_core", "core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
}
_PLAIN = _NUMPY | {("builtins", name) for name in ("set", "frozenset", "complex", "bytearray", "slice", "range")}
_PLAIN |= {("collections", "OrderedDict"), ("_codecs", "encode")}  # the latter is in pickled arrays


class _Unpickler(pickle.Unpickler):
    """Creates containers, numbers, text and numpy's arrays, and no other objects."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  # a class
        if (module, name) in _PLAIN or module == "numpy.dtypes":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


class UnkeptError(Exception):
    """A state holds what no checkpoint keeps."""


def save(folder: Path, identity: object, history: Sequence[Epoch], state: object, *, check: bool) -> Path:
    """Write a checkpoint after the last epoch of `history`, and remove all but the newest.

    Args:
        folder: The trial's.
        identity: What the state depends on; JSON values.
        history: All epochs so far.
        state: As it was yielded.
        check: Whether it is read again at once.

    Raises:
        UnkeptError: The state holds something other than tensors, arrays, numbers, text and containers of these.
        StorageError: The disk refuses.
    """
    head = json.dumps({"identity": identity, "history": history, "kind": "torch" if "torch" in sys.modules else "plain"}).encode()
    content = head + b"\n" + _packed(state, check=check)
    return write(folder, history[-1].number, content)


def load(path: Path, identity: object) -> tuple[list[Epoch], Any]:
    """Return the history and the state of a checkpoint.

    Raises:
        StorageError: It is damaged, of another trial, or holds what hpo does not write.
    """
    head, _, body = read_sealed(path).partition(b"\n")
    try:
        told = json.loads(head)
        if told["identity"] != identity:
            raise StorageError(f"{path} is of another configuration, seed or number of epochs.")
        history = [Epoch(*row) for row in told["history"]]
        return history, _unpacked(body, told["kind"])
    except (ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise StorageError(f"{path} contains no state of this training.") from error


def _packed(state: object, *, check: bool) -> bytes:
    buffer, torch = io.BytesIO(), sys.modules.get("torch")
    try:
        torch.save(state, buffer) if torch else pickle.dump(state, buffer)
        if check:
            _unpacked(buffer.getvalue(), "torch" if torch else "plain")
    except Exception as error:  # whatever the pickling of a stranger's object raises
        raise UnkeptError(" ".join(str(error).split())[:200]) from error
    return buffer.getvalue()


def _unpacked(content: bytes, kind: str) -> Any:  # noqa: ANN401  # as it was yielded
    if kind != "torch":
        return _Unpickler(io.BytesIO(content)).load()
    import numpy as np
    import torch

    arrays = [getattr(sys.modules[module], name) for module, name in _NUMPY if hasattr(sys.modules.get(module), name)]
    kinds = [kind for kind in vars(np.dtypes).values() if isinstance(kind, type)]
    with torch.serialization.safe_globals([*arrays, *kinds]):
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
