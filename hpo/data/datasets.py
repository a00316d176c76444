"""Data sets as uint8 arrays, memory-mapped: decoded once ever, shared by all workers, no DataLoader.

This module is the door: `load` finds a source (sources.py), reads it through the cache (cache.py) and returns
arrays (arrays.py); `take` and `hold_out` (sampling.py) choose among them; `preview` draws them. None of it needs
torch: only a download or a fresh archive asks torchvision for the checksums.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpo.data import cache, sources
from hpo.data.arrays import SIDE, DataSet, Progress, Split, make_data_set, silent
from hpo.data.sampling import hold_out, take
from hpo.errors import DataError, StorageError, UsageError, nearest
from hpo.files import atomic_file, expanded
from hpo.settings import DATASETS

if TYPE_CHECKING:
    from hpo.data.archive import Archive

__all__ = ["MIRRORABLE", "DataSet", "Progress", "Split", "hold_out", "load", "preview", "take", "verify"]

MIRRORABLE = ("cifar10",)  # a mirrored image is still of its class; a mirrored 2 is none

CELL = 3 * SIDE  # pixels: an image in the preview
CAPTION = 20  # pixels: the line below it
GAP = 8  # pixels


def load(
    name: str,
    data_dir: Path,
    cache_dir: Path | None = None,
    progress: Progress = silent,
    *,
    archive: Archive | None = None,
) -> DataSet:
    """Return a data set, decoded and, if need be, downloaded by whichever process comes first.

    Args:
        name: One of `settings.DATASETS`.
        data_dir: Where CIFAR-10 is or shall be.
        cache_dir: Where decoded arrays are kept; None for `cache.default_folder()`.
        progress: Told what takes time.
        archive: Another CIFAR-10 archive than the official one.

    Raises:
        UsageError: No such data set.
        DataError: Missing, damaged or not what it should be.
        StorageError: The cache cannot be written.
    """
    if name not in DATASETS:
        raise UsageError(f"there is no data set {name!r}.{nearest(name, DATASETS)}")
    folder = cache_dir or cache.default_folder()
    source = sources.find(name, data_dir, archive)
    if source and (data := cache.open_entry(cache.entry(folder, name, source.key))):
        return data
    with cache.locked(folder, name, progress):
        # Another process may have fetched and decoded it while this one waited.
        source = source or sources.find(name, data_dir, archive) or sources.fetch(data_dir, archive, progress)
        entry = cache.entry(folder, name, source.key)
        return cache.open_entry(entry) or cache.store(entry, source.read(progress))


def verify(data: DataSet) -> None:
    """Compute the digest anew, over every pixel.

    Raises:
        DataError: The cached arrays are not what was decoded; names the folder.
    """
    if make_data_set(data.name, data.classes, data.train, data.test, data.source).digest != data.digest:
        where = getattr(data.train.images, "filename", None)
        folder = Path(where).parent if where else cache.default_folder()
        raise DataError(f"the decoded images in {folder} are damaged: their digest is not {data.digest[:12]}…. Remove it.")


def preview(data: DataSet, path: Path) -> None:
    """Draw 64 random training images with their classes, eight per row, as a PNG at `path`.

    Raises:
        StorageError: `path` cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    chosen = np.random.RandomState(0).permutation(len(data.train))[:64]
    rows = -(-len(chosen) // 8)
    sheet = Image.new("RGB", (8 * (CELL + GAP) + GAP, rows * (CELL + CAPTION + GAP) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for i, index in enumerate(chosen):
        x, y = GAP + i % 8 * (CELL + GAP), GAP + i // 8 * (CELL + CAPTION + GAP)
        image = Image.fromarray(data.train.images[index])
        sheet.paste(image.resize((CELL, CELL), Image.Resampling.NEAREST), (x, y))
        caption = data.classes[data.train.labels[index]]
        while draw.textlength(caption, font) > CELL:
            caption = caption.rstrip("…")[:-1] + "…"
        draw.text((x + CELL / 2, y + CELL + CAPTION / 2), caption, "black", font, anchor="mm")
    try:
        with atomic_file(expanded(path)) as file:
            sheet.save(file, "PNG")
    except OSError as error:
        raise StorageError(f"cannot write the picture {path}: {error.strerror or error}.") from error
