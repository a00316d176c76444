"""Pictures that are nearly equal: the same photograph in another size, format, brightness or colour, shifted or cropped a little.

Two pictures of one subject in front of the sky have the same outline, and are two photographs. What only a copy has in common is
its details: both pictures, as 32x32 grey values without what is smooth in them, are correlated at every shift of up to 4 pixels.
Of CIFAR-10's test images 328 have such a twin among the training images, 3.3 %, each in its own class. Barz and Denzler looked
at the pairs one by one, and found 3.3 % (ciFAIR, 2020, arXiv:1902.00423).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpo.data.arrays import silent

if TYPE_CHECKING:
    from hpo.data.arrays import OnProgress, Pixels

EDGE, COARSE = 32, 8  # points: what pictures are compared at, and by what the most similar ones are chosen
SHIFT = 4  # points by which one may be shifted
CANDIDATES = 12  # pictures for training that a picture for tests is compared with
ALIKE = 0.87  # correlation of details: of the pairs from 0.85 to here, every fourth is of two ships or planes that are alike
FINE, SMOOTH = 0.8, 2.5  # points: standard deviations of the blurs between which the details are
CONTRAST = 1.0  # grey levels: details that are fainter than this are noise
MAX_PAIRS = 4_000_000_000  # pairs that are compared; of more pictures a part is
PART = 250  # pictures for tests at a time


def near_pairs(train: Pixels, test: Pixels, progress: OnProgress = silent) -> list[tuple[int, int]]:
    """Return, for each test image that has a near twin among the training images, the positions of both."""
    tested = test[: max(1, MAX_PAIRS // max(1, len(train)))]
    coarse, found = _standard(_grey(train, COARSE)), []
    n_candidates = min(CANDIDATES, len(train))
    for first in range(0, len(tested), PART):
        progress("comparing the images", first, len(tested))
        part = tested[first : first + PART]
        similar = np.argpartition(_standard(_grey(part, COARSE)) @ -coarse.T, n_candidates - 1, axis=1)[:, :n_candidates]
        for position, (details, candidates) in enumerate(zip(_details(part), similar, strict=True), first):
            alike = _correlation(details, _details(train[np.sort(candidates)]))
            if alike.max() >= ALIKE:
                found.append((int(np.sort(candidates)[alike.argmax()]), position))
    return found


def _grey(images: Pixels, n: int) -> np.ndarray:
    """Return the mean grey values of n x n parts of each image, (N, n, n) float32."""
    edge = images.shape[1]
    cuts = np.linspace(0, edge, n + 1).astype(int)
    starts, sizes = np.minimum(cuts[:-1], edge - 1), np.maximum(1, np.diff(cuts))
    grey = np.empty((len(images), n, n), np.float32)
    for first in range(0, len(images), 1000):
        part = images[first : first + 1000].mean(3, dtype=np.float32)
        grey[first : first + 1000] = np.add.reduceat(np.add.reduceat(part, starts, axis=1), starts, axis=2)
    return grey / np.outer(sizes, sizes).astype(np.float32)


def _standard(grey: np.ndarray) -> np.ndarray:
    """Return images as vectors of mean zero and length one, so that products are correlations."""
    flat = grey.reshape(len(grey), -1)
    flat = flat - flat.mean(1, keepdims=True)
    standard: np.ndarray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-3)
    return standard


def _details(images: Pixels) -> np.ndarray:
    """Return what is neither noise nor smooth in images, (N, 32, 32)."""
    from scipy.ndimage import gaussian_filter

    grey = _grey(images, EDGE)
    details: np.ndarray = gaussian_filter(grey, (0, FINE, FINE)) - gaussian_filter(grey, (0, SMOOTH, SMOOTH))
    return details


def _correlation(details: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return, for each of the others (N, 32, 32), its largest correlation with the middle of a picture, over all shifts."""
    middle = details[SHIFT:-SHIFT, SHIFT:-SHIFT]
    middle = middle - middle.mean()
    least = CONTRAST * middle.size**0.5
    windows = np.lib.stride_tricks.sliding_window_view(others, middle.shape, axis=(1, 2))
    products = np.einsum("nyxij,ij->nyx", windows, middle)
    squares = np.einsum("nyxij,nyxij->nyx", windows, windows) - windows.sum((3, 4)) ** 2 / middle.size
    lengths = np.maximum(np.sqrt(np.maximum(squares, 0)), least) * max(float(np.linalg.norm(middle)), least)
    found: np.ndarray = (products / lengths).max((1, 2))
    return found
