"""How much memory a training takes, estimated before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpo.networks.device import scoring_batch
from hpo.objective import TrialError

if TYPE_CHECKING:
    import torch

    from hpo.networks.model import Size
    from hpo.recipe import TrainingConfig

_LARGE = ("filters", "depth", "batch_size")


def check_memory(size: Size, config: TrainingConfig, device: torch.device, available: int) -> None:
    """Refuse a training that would not fit.

    Raises:
        TrialError: Names what it would take, what is free, and the parameters that decide it.
    """
    needed = training_bytes(size, config, device)
    if needed > available:
        raise TrialError(
            "memory",
            f"training would take about {needed / 2**20:,.0f} MiB and {available / 2**20:,.0f} MiB are free ({_large(config)}).",
        )


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
