"""What all tests share: no settings of whoever runs them, the same random numbers, hypothesis without a stopwatch.

And what makes them quick: nothing that is the same for every test is made for every test.
"""

from __future__ import annotations

import functools
import gc
import os
import random
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two test processes on two cores wait for each other's threads

import numpy as np
import pytest
import typer.main
from alembic.script import ScriptDirectory
from hypothesis import settings

from hpo.data import datasets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.config import Config

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


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what the imports made: millions of objects, and none is garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)  # instead of 700 new objects


@pytest.fixture(scope="session")
def _decoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which digits are decoded: each process that does so loads scikit-learn first."""
    folder = tmp_path_factory.mktemp("decoded")
    datasets.load("digits", folder, folder)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, _decoded: Path) -> Path:
    """A module's own cache of data sets, which has digits."""
    return shutil.copytree(_decoded, tmp_path_factory.mktemp("caches") / "cache")


@pytest.fixture(scope="session", autouse=True)
def _made_once() -> Iterator[None]:
    """Let libraries keep what they make at each call, always the same: Typer our commands, Alembic Optuna's schema versions."""
    scripts: dict[str | None, ScriptDirectory] = {}
    make = ScriptDirectory.from_config

    def kept(config: Config) -> ScriptDirectory:
        where = config.get_main_option("script_location")
        if where not in scripts:
            scripts[where] = make(config)
        return scripts[where]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", kept)
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPO_STORAGE", "OPTUNA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    random.seed(0)
    np.random.seed(0)  # the global generator, for libraries that use it
    if "torch" in sys.modules:  # most tests do without
        sys.modules["torch"].manual_seed(0)
