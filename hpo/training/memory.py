"""How much memory a training takes, estimated before it begins."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

import numpy as np

from hpo.networks.device import scoring_batch
from hpo.objective import CrowdedError, TrialError

if TYPE_CHECKING:
    import torch

    from hpo.builtin.recipe import TrainingConfig
    from hpo.networks.model import Size

PATIENCE = 1.0  # seconds: a trial that was just stopped may still hold its memory
_LARGE = ("filters", "depth", "batch_size")


class Room:
    """The memory that the trainings of one process share.

    Args:
        total: Bytes of the device that are theirs.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
        self._counting = threading.Lock()

    def take(self, owner: object, needed: int, config: TrainingConfig) -> None:
        """Count a training's memory as taken as long as its owner lives, or refuse it.

        Raises:
            TrialError: Names what it would take, what is free, and the parameters that decide it.
            CrowdedError: Likewise; it would fit if no other trained.
        """
        if needed > self.total:
            raise TrialError("memory", _refused(needed, self.total, config))
        until = time.monotonic() + PATIENCE
        while True:
            with self._counting:
                free = self.total - sum(self._taken.values())
                if needed <= free:
                    self._taken[owner] = needed
                    return
            if time.monotonic() > until:
                raise CrowdedError(_refused(needed, free, config))
            time.sleep(PATIENCE / 20)


def _refused(needed: int, free: int, config: TrainingConfig) -> str:
    return f"training would take about {needed / 2**20:,.0f} MiB and {free / 2**20:,.0f} MiB are free ({_large(config)})."


def training_bytes(size: Size, config: TrainingConfig, device: torch.device) -> int:
    """Estimate the memory of a training: weights and their average, gradients, optimizer, activations with their gradients."""
    copies = (4 if config.optimizer == "adamw" else 3) + (config.averaging > 0)
    frozen = getattr(config, "pretrained", False) and getattr(config, "freeze", "") == "all"
    copies, training = (1, 0) if frozen else (copies, 2 * config.batch_size * size.activation_bytes)
    scoring = scoring_batch(device) * 2 * max(4 * int(np.prod(layer.output_shape)) for layer in size.layers)
    return 4 * copies * size.n_parameters + max(training, scoring)


def _large(config: TrainingConfig) -> str:
    """Return the parameters that decide how much memory a training takes."""
    return ", ".join(f"{name} = {value}" for name in _LARGE if (value := getattr(config, name, None)) is not None)
