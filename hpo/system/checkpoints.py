"""A trial's checkpoints as files: sealed, written whole, the newest few kept. What is in them is the objective's business."""

from __future__ import annotations

import re
from pathlib import Path

from hpo.errors import StorageError
from hpo.system.failpoints import reach
from hpo.system.files import atomic_file, refusal, seal

KEPT = 2  # while a trial goes on: if the newest is damaged, it continues from the one before

_NAME = re.compile(r"epoch-(\d+)\.ckpt")


def write(folder: Path, epoch: int, content: bytes | memoryview, keep: int = KEPT) -> Path:
    """Write what a trial continues from after `epoch`, replacing an existing one, and remove all but the newest checkpoints.

    Raises:
        StorageError: The file cannot be written; the message names path and bytes, and on a full disk those that are free.
    """
    path = folder / f"epoch-{epoch:04d}.ckpt"
    try:
        with atomic_file(path) as file:
            file.write(seal(content))
            file.write(content)
        reach("checkpoint.written")
        for old in newest_first(folder)[keep:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write the checkpoint {path} ({len(content):,} bytes): {refusal(error, path)}") from error
    return path


def newest_first(folder: Path) -> list[Path]:
    """Return the paths of a trial's checkpoints, damaged ones included."""
    if not folder.is_dir():
        return []
    numbered = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]
