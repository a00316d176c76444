"""Many pictures from files, classified in parts: memory stays flat, all cores decode, and a broken one is named."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from hpo.data.arrays import silent
from hpo.data.pictures.cores import Work
from hpo.data.pictures.decoding import decode_all
from hpo.data.pictures.listing import below
from hpo.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

    from hpo.data.arrays import OnProgress
    from hpo.networks.network import Network

PART = 1 << 26  # bytes of pixels that are decoded at a time
SAID = 10.0  # seconds between two words about the speed


class Answer(NamedTuple):
    """What a network says of a picture.

    Attributes:
        picture: Its path, as it was named.
        probabilities: (n_classes,) float32; None where it cannot be read.
        why: It cannot be read, as the rest of a sentence; else empty.
    """

    picture: str
    probabilities: npt.NDArray[np.float32] | None
    why: str = ""


def found(names: Iterable[str]) -> list[str]:
    """Return pictures by their paths: those that are named, and all in folders that are.

    Raises:
        DataError: A folder cannot be read.
    """
    pictures: list[str] = []
    for name in names:
        if not os.path.isdir(name):  # noqa: PTH112  # raises nothing, whatever the name
            pictures.append(name)
            continue
        try:
            inside = sorted(file[0] for file in below(name, "", [], []))
        except OSError as error:
            raise DataError(f"{error.filename or name} cannot be read: {error.strerror}.") from None
        pictures += [os.path.join(name, file) for file in inside]  # noqa: PTH118  # as it was named
    return pictures


def classify(network: Network, pictures: Sequence[str], progress: OnProgress = silent) -> Iterator[Answer]:
    """Yield what a network says of each picture, in their order.

    Args:
        network: Knows how pictures become its input.
        pictures: Paths.
        progress: Called a few times per second.
    """
    images, began, said = network.description.images, time.monotonic(), 0.0
    what = "classifying pictures"
    part = max(256, PART // (3 * images.size**2))
    work = Work(os.getcwd(), images.size, images.fit)  # noqa: PTH109  # names are relative to it, or absolute
    for first in range(0, len(pictures), part):
        names = pictures[first : first + part]
        with tempfile.TemporaryDirectory(prefix="hpo-predict-") as folder:

            def told(_what: str, done: int, _total: int, first: int = first) -> None:
                nonlocal what, said
                done, spent = first + done, time.monotonic() - began
                if done and spent - said > SAID:
                    what, said = f"classifying pictures, {done / spent:,.0f} per second", spent
                if spent > 1:
                    progress(what, done, len(pictures))

            decoded = decode_all(work, names, Path(folder), told)
            broken = {one.path: one.why for one in decoded.broken}
            whole = [i for i, name in enumerate(names) if name not in broken]
            scored = iter(_probabilities(network, decoded.pixels, whole))
            for name in names:
                yield Answer(name, None, broken[name]) if name in broken else Answer(name, next(scored))
            del decoded  # the file is mapped


def _probabilities(network: Network, pixels: npt.NDArray[np.uint8], whole: list[int]) -> npt.NDArray[np.float32]:
    if not whole:
        return np.empty((0, len(network.classes)), np.float32)
    logits: npt.NDArray[np.float32] = torch.from_numpy(network.scored(pixels[whole])).softmax(1).numpy()
    return logits
