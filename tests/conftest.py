"""What all tests share: no settings of whoever runs them, the same random numbers, hypothesis without a stopwatch."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("hpo", deadline=None, max_examples=60)  # other processes share the cores
settings.register_profile("long", deadline=None, max_examples=2000)  # --hypothesis-profile=long
settings.load_profile("hpo")

MEMORY = Path("/dev/shm")


def pytest_configure() -> None:
    """Let tmp_path be in memory where there is room: SQLite waits for the disk at every commit, and tests are full of them."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 * 2**30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run the whole suite on all cores; tests that are named or chosen run here, where they may be debugged and timed."""
    chosen = config.args_source is not pytest.Config.ArgsSource.TESTPATHS or {"-k", "-m"} & set(config.invocation_params.args)
    return 0 if chosen else min(8, os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPO_STORAGE", "OPTUNA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    random.seed(0)
    np.random.seed(0)  # the global generator, for libraries that use it
