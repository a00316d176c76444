"""Data sets as memory-mapped uint8 arrays: decoded only once, shared by all workers, no DataLoader.

The public functions are here. `of` gives what a study's settings name: a data set by its name, or a folder of pictures. `load`
finds a source (sources.py), reads it through the cache (cache.py) and returns arrays (arrays.py); `take` and `hold_out`
(sampling.py) choose among the images; `preview` draws some. None of them needs torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpo.data import cache, sources
from hpo.data.arrays import SIDE, DataSet, OnProgress, Split, make_data_set, silent
from hpo.data.pictures.contents import known, looked_at
from hpo.data.pictures.inspection import Inspection, inspect
from hpo.data.pictures.listing import Listing, listed
from hpo.data.pictures.source import KEPT, Pictures, Wanted
from hpo.data.published import PUBLISHED
from hpo.data.sampling import hold_out, take
from hpo.errors import DataError, StorageError, UsageError, nearest
from hpo.settings import DATASETS
from hpo.system.files import atomic_file, expanded, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpo.data.published import Published
    from hpo.settings import Settings

__all__ = ["MIRRORABLE", "DataSet", "OnProgress", "Split", "hold_out", "load", "load_pictures", "of", "preview", "take", "verify"]

MIRRORABLE = tuple(name for name, published in PUBLISHED.items() if published.mirrorable)

PICTURES = "pictures"  # prefix in the cache of what people's folders hold
CELL = 3 * SIDE  # pixels: an image in the preview
CAPTION = 20  # pixels: the line of text below it
GAP = 8  # pixels


def load(
    name: str,
    data_dir: Path,
    cache_dir: Path | None = None,
    progress: OnProgress = silent,
    *,
    published: Published | None = None,
) -> DataSet:
    """Return a data set. The first process that needs it decodes it and downloads it if necessary.

    Args:
        name: One of `settings.DATASETS`.
        data_dir: Folder that holds data sets, or that they are downloaded to.
        cache_dir: Folder for decoded arrays; None for `cache.default_folder()`.
        progress: Called during the steps that take time.
        published: Another one than is known by this name.

    Raises:
        UsageError: There is no data set of this name.
        DataError: The data are missing, damaged or others than expected.
        StorageError: The cache cannot be written.
    """
    if name not in DATASETS:
        raise UsageError(f"there is no data set {name!r}.{nearest(name, DATASETS)}")
    folder = cache_dir or cache.default_folder()
    source = sources.find(name, data_dir, published)
    if isinstance(source, Listing):
        return _pictures(source, sources.IN_TREE, name, folder, progress)[0]
    if source and (data := cache.open_entry(cache.entry(folder, name, source.key))):
        return data
    with cache.locked(folder, name, progress):
        # Another process may have downloaded or decoded it while this one waited.
        found = sources.find(name, data_dir, published)
        source = sources.fetch(name, data_dir, published, progress) if found is None or isinstance(found, Listing) else found
        entry = cache.entry(folder, name, source.key)
        return cache.open_entry(entry) or cache.store(entry, source.read(progress))


def load_pictures(root: Path, wanted: Wanted, cache_dir: Path | None = None, progress: OnProgress = silent) -> DataSet:
    """Return the pictures in a person's folder. The first process that needs them decodes them, in all cores.

    Args:
        root: The folder, or a table of pictures.
        wanted: Size, fit, seed of the split.
        cache_dir: Folder for decoded arrays; None for `cache.default_folder()`.
        progress: Called during the steps that take time.

    Raises:
        DataError: There are no pictures, some cannot be read, or their classes make no task; says what to do.
        StorageError: The cache cannot be written.
    """
    return _pictures(listed(root), wanted, PICTURES, cache_dir or cache.default_folder(), progress)[0]


def inspected(root: Path, wanted: Wanted, progress: OnProgress = silent) -> tuple[DataSet, Inspection]:
    """Return a folder's pictures without the broken ones, and what there is to say of it. Errors are those of `load_pictures`."""
    wanted = replace(wanted, skip_broken=True)
    data, source, entry = _pictures(listed(root), wanted, PICTURES, cache.default_folder(), progress)
    return data, inspect(source, data, entry, progress)


def _pictures(listing: Listing, wanted: Wanted, name: str, folder: Path, progress: OnProgress) -> tuple[DataSet, Pictures, Path]:
    """Return listed pictures from the cache, or decoded, with what they were made of and their entry in the cache."""
    if contents := known(listing, folder):
        source = Pictures(listing, wanted, contents)
        entry = cache.entry(folder, name, source.key)
        if data := cache.open_entry(entry):
            return source.here(data, entry), source, entry
    with cache.locked(folder, name, progress), cache.writing(folder):
        source = Pictures(listing, wanted, looked_at(listing, folder, progress))
        entry = cache.entry(folder, name, source.key)
        data = cache.open_entry(entry)
        if data is None:
            with cache.work_folder(folder, name, source.work_key) as work:
                data = source.read(progress, work, sorted(folder.glob(f"{name}-*")))
                data = cache.store(entry, data, [work / kept for kept in KEPT])
        return source.here(data, entry), source, entry


def of(settings: Settings, data_dir: Path, cache_dir: Path | None = None, progress: OnProgress = silent) -> DataSet:
    """Return the images that a study's settings name. Errors are those of `load` and `load_pictures`."""
    if settings.data is None:
        return load(settings.dataset, data_dir, cache_dir, progress)
    return load_pictures(settings.data, wanted(settings), cache_dir, progress)


def wanted(settings: Settings) -> Wanted:
    """Return what settings ask of a folder of pictures."""
    size = None if settings.image_size == "auto" else int(settings.image_size)
    name = settings.data.stem if settings.data else ""
    return Wanted(name, size, settings.fit, settings.skip_broken, settings.seed)


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


def preview(data: DataSet, path: Path, twins: Sequence[tuple[int, int]] = ()) -> None:
    """Draw 64 random training images with their classes, eight per row, as a PNG at `path`.

    Below them come pairs of a training and a test image that are `twins`, as positions in both: at most 16 pairs, four per row.

    Raises:
        StorageError: `path` cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    chosen: list[tuple[Split | None, int, str]]
    chosen = [(data.train, int(index), "") for index in np.random.RandomState(0).permutation(len(data.train))[:64]]
    chosen += [(None, 0, "")] * (-len(chosen) % 8 if twins else 0)
    for first, second in twins[:16]:
        chosen += [(data.train, first, "train: "), (data.test, second, "test: ")]
    rows = -(-len(chosen) // 8)
    sheet = Image.new("RGB", (8 * (CELL + GAP) + GAP, rows * (CELL + CAPTION + GAP) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for i, (split, index, said) in enumerate(chosen):
        if split is None:
            continue
        x, y = GAP + i % 8 * (CELL + GAP), GAP + i // 8 * (CELL + CAPTION + GAP)
        pixels = split.images[index]
        image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        how = Image.Resampling.NEAREST if image.width <= CELL else Image.Resampling.BICUBIC
        sheet.paste(image.resize((CELL, CELL), how), (x, y))
        caption = said + data.classes[split.labels[index]]
        while draw.textlength(caption, font) > CELL:
            caption = caption.rstrip("…")[:-1] + "…"
        draw.text((x + CELL / 2, y + CELL + CAPTION / 2), caption, "black", font, anchor="mm")
    try:
        with atomic_file(expanded(path)) as file:
            sheet.save(file, "PNG")
    except OSError as error:
        raise StorageError(f"cannot write the picture {path}: {refusal(error, path)}") from error
