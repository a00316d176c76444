"""Pickles as Python 2 and its numpy wrote them: the official batches of CIFAR are such."""

from __future__ import annotations

import io
import pickle

import numpy as np


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]  # the one in Python can be taught new opcodes
    """Pickles bytes as Python 2 pickled its str, as in the official batches."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]  # noqa: RUF012 - pickle's own shape

    def save_bytes(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(content)

    dispatch[bytes] = save_bytes

    def reducer_override(self, value: object) -> object:
        """Pickle a dtype as old numpy did: with numbers where there are truth values today."""
        if isinstance(value, np.dtype):
            return np.dtype, (value.str.lstrip("|<").encode(), 0, 1), (3, b"|", None, None, None, -1, -1, 0)
        return NotImplemented


def pickled(content: object) -> bytes:
    """Return an object as a file of the official batches has it."""
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
