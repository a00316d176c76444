"""Data sets as memory-mapped uint8 arrays: decoded only once, shared by all workers, no DataLoader.

The public functions are here. `load` finds a source (sources.py), reads it through the cache (cache.py) and returns
arrays (arrays.py); `take` and `hold_out` (sampling.py) choose among the images; `preview` draws some. None of them
needs torch: torchvision is imported only for the checksums of a download or of a newly found archive.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpo.data import cache, sources
from hpo.data.arrays import SIDE, DataSet, OnProgress, Split, make_data_set, silent
from hpo.data.sampling import hold_out, take
from hpo.errors import DataError, StorageError, UsageError, nearest
from hpo.settings import DATASETS
from hpo.system.files import atomic_file, expanded, refusal

if TYPE_CHECKING:
    from hpo.data.archive import Archive

__all__ = ["MIRRORABLE", "DataSet", "OnProgress", "Split", "hold_out", "load", "preview", "take", "verify"]

MIRRORABLE = ("cifar10",)  # a mirrored image still belongs to its class; a mirrored digit does not

CELL = 3 * SIDE  # pixels: an image in the preview
CAPTION = 20  # pixels: the line of text below it
GAP = 8  # pixels


def load(
    name: str, data_dir: Path, cache_dir: Path | None = None, progress: OnProgress = silent, *, archive: Archive | None = None
) -> DataSet:
    """Return a data set. The first process that needs it decodes it and downloads it if necessary.

    Args:
        name: One of `settings.DATASETS`.
        data_dir: Folder that holds CIFAR-10, or that it is downloaded to.
        cache_dir: Folder for decoded arrays; None for `cache.default_folder()`.
        progress: Called during the steps that take time.
        archive: Another CIFAR-10 archive than the official one.

    Raises:
        UsageError: There is no data set of this name.
        DataError: The data are missing, damaged or others than expected.
        StorageError: The cache cannot be written.
    """
    if name not in DATASETS:
        raise UsageError(f"there is no data set {name!r}.{nearest(name, DATASETS)}")
    folder = cache_dir or cache.default_folder()
    source = sources.find(name, data_dir, archive)
    if source and (data := cache.open_entry(cache.entry(folder, name, source.key))):
        return data
    with cache.locked(folder, name, progress):
        # Another process may have downloaded and decoded it while this one waited.
        source = source or sources.find(name, data_dir, archive) or sources.fetch(data_dir, archive, progress)
        entry = cache.entry(folder, name, source.key)
        return cache.open_entry(entry) or cache.store(entry, source.read(progress))


def verify(data: DataSet) -> None:
    """Compute the digest again, over every pixel.

    Raises:
        DataError: The cached arrays have changed since they were decoded; the message names their folder.
    """
    if make_data_set(data.name, data.classes, data.train, data.test, data.source).digest != data.digest:
        where = getattr(data.train.images, "filename", None)
        folder = Path(where).parent if where else cache.default_folder()
        raise DataError(
            f"the decoded images in {folder} are damaged: their digest is not {data.digest[:12]}…. "
            "Delete that folder; hpo will decode them again."
        )


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
        raise StorageError(f"cannot write the picture {path}: {refusal(error, path)}") from error
