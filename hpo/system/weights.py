"""Files of weights that say what they are, and are checked when they are read: safetensors with a text of ours in the header.

    8 bytes       length of the header, little-endian
    header        JSON: a row per tensor, and `__metadata__`: our text, and a SHA-256 over text, rows and data
    data          the tensors' values

Other programs read such a file as any file of safetensors. It can be checked without PyTorch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.errors import DataError
from hpo.system.files import read_regular

MAX_BYTES = 1 << 34  # of a file
_KEY, _DIGEST = "hpo", "sha256"
_LONGEST = 1 << 24  # bytes of a header
_ALIGNED = 8  # bytes: where data may begin


def described(content: bytes, text: str) -> bytes:
    """Return a file of safetensors with a text in its header, and the digest of everything."""
    n = int.from_bytes(content[:8], "little")
    rows, data = json.loads(content[8 : 8 + n]), memoryview(content)[8 + n :]
    told = {"format": "pt", _KEY: text, _DIGEST: _digest(text, rows, data)}
    header = json.dumps({"__metadata__": told, **rows}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNED)
    return b"".join((len(header).to_bytes(8, "little"), header, data))


def read(path: Path) -> tuple[str, bytes]:
    """Return the text in a file's header, and the file's content.

    Raises:
        DataError: The file is missing, damaged, or not one that hpo wrote; says which.
    """
    try:
        content = read_regular(path, MAX_BYTES)
    except (OSError, ValueError) as error:  # a path may hold a zero byte
        raise DataError(f"cannot read the network {path}: {getattr(error, 'strerror', None) or error}.") from error
    n = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= n <= _LONGEST or not content[8:].startswith(b"{"):
        empty = "" if content else ": it is empty"
        raise DataError(f"{path} is not a network of hpo{empty}. Expected is a file like network.safetensors.")
    try:
        rows = json.loads(content[8 : 8 + n])
        told: Mapping[str, Any] = rows.pop("__metadata__", {})
        text, digest = told.get(_KEY), told.get(_DIGEST)
    except (ValueError, AttributeError, RecursionError):
        raise DataError(f"{path} is incomplete or damaged: its header cannot be read.") from None
    if not isinstance(text, str):
        raise DataError(f"{path} is a file of weights that hpo did not write: it does not say how its network is built.")
    if digest != _digest(text, rows, memoryview(content)[8 + n :]):
        raise DataError(f"{path} is incomplete or damaged: its SHA-256 does not match.")
    return text, content


def same(one: Path, other: Path) -> bool:
    """Return whether two files have the same weights, bit for bit, whatever else they say.

    Raises:
        DataError: As for `read`.
    """
    data = []
    for path in (one, other):
        content = read(path)[1]
        n = int.from_bytes(content[:8], "little")
        rows = json.loads(content[8 : 8 + n])
        rows.pop("__metadata__")
        data.append((rows, memoryview(content)[8 + n :]))
    return data[0] == data[1]


def _digest(text: str, rows: Mapping[str, Any], data: memoryview) -> str:
    sha = hashlib.sha256(json.dumps([text, rows], sort_keys=True).encode())
    sha.update(data)
    return sha.hexdigest()
