"""Networks and images that train in milliseconds, on one thread as in a worker."""

from __future__ import annotations

import numpy as np
import torch

from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.training.batches import Images

torch.set_num_threads(1)

PLAIN = Config(  # of everything the least: one block of four filters, images as they are
    depth=1,
    filters=4,
    dropout=0.0,
    lr=0.05,
    stem="none",
    norm="none",
    nesterov=False,
    weight_decay=0.0,
    batch_size=32,
    schedule="constant",
    label_smoothing=0.0,
    tta=False,
    standardize=False,
    flip=False,
    shift=0,
)
TUTORIAL = Config(**OBJECTIVE.space("tutorial").point())


def config(**changes: object) -> Config:
    """Return PLAIN with some knobs turned."""
    return PLAIN.model_copy(update=changes)


def noise(n: int, edge: int = 32, n_classes: int = 10) -> Images:
    """Return random images; no two are alike, nor are any two views of one."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (n, edge, edge, 3), dtype=np.uint8)
    labels = random.integers(0, n_classes, n)
    return Images.of(pixels, labels, np.arange(n), torch.device("cpu"))
