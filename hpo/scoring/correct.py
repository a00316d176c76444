"""Which of the scored images a network got right: one bit per image, so that two networks can be compared image by image.

All trials of a study are scored on the same images in the same order, and their mistakes overlap. Knowing which images each got
right halves the interval of a difference. The worker writes `trial-00012/correct.bits` before each epoch's checkpoint, and the
runner moves it to `correct/00012.bits` when the trial ends. 10,000 images take 1.3 KB.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpo.system.files import read_regular, write_atomically

Bits = npt.NDArray[np.bool_]

FILE = "correct.bits"  # in a trial's folder: answers after its latest epoch
FOLDER = "correct"  # in a study's folder: answers of the trials that ended
MAX_IMAGES = 100_000_000  # a file that claims more is not read


def name(number: int) -> str:
    """Return the file name of an ended trial's answers."""
    return f"{number:05d}.bits"


def write(path: Path, correct: Bits) -> None:
    """Write the answers (N,) of one epoch, atomically.

    Raises:
        OSError: The disk refuses.
    """
    bits = np.packbits(correct).tobytes()
    write_atomically(path, _header(len(correct), bits) + bits)


def read(path: Path, n: int, accuracy: float | None) -> Bits | None:
    """Return the answers (n,) that an accuracy on `n` images was computed from; None for the accuracy: whatever it was.

    Returns None if the file is missing, damaged, not a regular file, or of another epoch or study (then its accuracy differs).
    """
    if not 0 < n <= MAX_IMAGES or (accuracy is not None and not 0 <= accuracy <= 1):
        return None
    start = len(_header(n, b""))
    try:
        content = b"" if path.is_symlink() else read_regular(path, start + (n + 7) // 8)
    except (OSError, ValueError):  # a path may hold a zero byte
        return None
    bits = content[start:]
    if content != _header(n, bits) + bits or len(bits) != (n + 7) // 8:
        return None
    correct = np.unpackbits(np.frombuffer(bits, np.uint8), count=n).astype(np.bool_)
    return correct if accuracy is None or abs(int(correct.sum()) - accuracy * n) < 0.5 else None


def _header(n: int, bits: bytes) -> bytes:
    return b"hpo correct 1 %d %s\n" % (n, hashlib.sha256(bits).hexdigest().encode())
