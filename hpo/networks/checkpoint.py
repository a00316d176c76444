"""Checkpoints that are written completely or not at all, and are verified when read.

A file contains the bytes of `torch.save`, sealed with their SHA-256 (files.py). It is written atomically and read with
`weights_only=True`. A trial in training keeps the two newest checkpoints: if the newest is damaged, it continues from the one
before. A finished trial keeps only the last one.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from hpo.errors import StorageError
from hpo.networks.device import on_host
from hpo.system.checkpoints import KEPT, write
from hpo.system.files import read_sealed


def save(folder: Path, epoch: int, state: dict[str, Any], keep: int = KEPT) -> Path:
    """Write the state after `epoch`, replacing an existing one, and remove all but the newest checkpoints.

    Raises:
        StorageError: The file cannot be written; the message names path and bytes, and on a full disk those that are free.
    """
    buffer = io.BytesIO()
    torch.save(on_host(state), buffer)
    return write(folder, epoch, buffer.getbuffer(), keep)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        StorageError: The file is missing, damaged, of another program, or not readable as plain tensors.
    """
    content = read_sealed(path)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise StorageError(f"{path} contains something other than tensors and numbers.") from error
    if not isinstance(state, dict):
        raise StorageError(f"{path} contains no state of a training.")
    return state
