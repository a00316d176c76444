"""Checkpoints that are written completely or not at all, and are verified when read.

A file contains the bytes of `torch.save`, sealed with their SHA-256 (files.py). It is written atomically and read with
`weights_only=True`. A trial in training keeps the two newest checkpoints: if the newest is damaged, it continues from the one
before. A finished trial keeps only the last one.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from hpo.errors import StorageError
from hpo.system.failpoints import reach
from hpo.system.files import read_sealed, refusal, sealed, write_atomically

KEPT = 2

_NAME = re.compile(r"epoch-(\d+)\.ckpt")


def save(folder: Path, epoch: int, state: dict[str, Any], keep: int = KEPT) -> Path:
    """Write the state after `epoch`, replacing an existing one, and remove all but the newest checkpoints.

    Raises:
        StorageError: The file cannot be written; the message names path and bytes, and on a full disk those that are free.
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
        raise StorageError(f"cannot write the checkpoint {path} ({len(content):,} bytes): {refusal(error, path)}") from error
    return path


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


def newest_first(folder: Path) -> list[Path]:
    """Return the paths of a trial's checkpoints, damaged ones included."""
    if not folder.is_dir():
        return []
    numbered = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]
