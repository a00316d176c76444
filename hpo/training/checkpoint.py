"""Checkpoints that are whole or not there, and are known to be whole when read.

A file is what `torch.save` writes, sealed with its SHA-256 (files.py); it is put in place atomically and read with
`weights_only=True`. A trial in training keeps the two newest: should the newest be torn, the epoch before goes on. One that is
done keeps the last alone.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import TYPE_CHECKING, Any

import torch

from hpo.errors import StorageError
from hpo.failpoints import reach
from hpo.files import read_sealed, sealed, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 2

_NAME = re.compile(r"epoch-(\d+)\.ckpt")


def save(folder: Path, epoch: int, state: dict[str, Any], keep: int = KEPT) -> Path:
    """Write the state after `epoch`, in place of one that is there, and remove all but the newest checkpoints.

    Raises:
        StorageError: The disk refuses; names path and bytes.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    path = folder / f"epoch-{epoch:04d}.ckpt"
    try:
        write_atomically(path, sealed(content))
        reach("checkpoint.written")
        for old in newest_first(folder)[keep:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write the checkpoint {path} ({len(content):,} bytes): {error.strerror}.") from error
    return path


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        StorageError: Missing, torn, foreign, or not readable as plain tensors.
    """
    content = read_sealed(path)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise StorageError(f"{path} holds something other than tensors and numbers.") from error
    if not isinstance(state, dict):
        raise StorageError(f"{path} holds no state of a training.")
    return state


def newest(folder: Path) -> dict[str, Any] | None:
    """Return the newest sound checkpoint of a trial, or None where there is none."""
    for path in newest_first(folder):
        try:
            return load(path)
        except StorageError:
            continue
    return None


def newest_first(folder: Path) -> list[Path]:
    """Return the paths of a trial's checkpoints, sound or not."""
    if not folder.is_dir():
        return []
    numbered = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]
