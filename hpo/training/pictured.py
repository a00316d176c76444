"""Which scored images the winner's page shows, and in which size."""

from __future__ import annotations

import numpy as np

from hpo.networks.stored import THUMBNAIL

N_PICTURES = 24  # pictures of the winner's mistakes, and of its successes


def thumbnails(pictures: np.ndarray) -> np.ndarray:
    """Return pictures of at most 128 pixels, which is what the page has room for."""
    if pictures.shape[1] <= THUMBNAIL:
        return pictures
    from PIL import Image

    size = (THUMBNAIL, THUMBNAIL)
    return np.stack([np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)) for picture in pictures])


def pictured(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return positions of the most confident mistakes, then of successes of typical (median) confidence."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    confidence = (shifted / shifted.sum(1, keepdims=True)).max(1)
    right = logits.argmax(1) == labels
    wrong = np.flatnonzero(~right)
    mistakes = wrong[np.argsort(-confidence[wrong], kind="stable")][:N_PICTURES]
    hits = np.flatnonzero(right)
    median = np.median(confidence[hits]) if len(hits) else 0.0
    successes = hits[np.argsort(np.abs(confidence[hits] - median), kind="stable")][:N_PICTURES]
    return np.concatenate((mistakes, successes))
