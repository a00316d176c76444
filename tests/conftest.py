"""What all tests share: no settings of whoever runs them, the same random numbers, hypothesis without a stopwatch."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("hpo", deadline=None, max_examples=60)  # other processes share the cores
settings.load_profile("hpo")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPO_STORAGE", "OPTUNA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    random.seed(0)
    np.random.seed(0)  # the global generator, for libraries that use it
