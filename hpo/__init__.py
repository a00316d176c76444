"""hpo: hyperparameter optimization of CNNs that keeps every trial, survives interruptions and reports what it found.

    import hpo

    outcome = hpo.run("first", settings=hpo.Settings(dataset="digits"), options=hpo.RunOptions(trials=10))
    print(outcome.record.best.params, outcome.record.best.value)
    hpo.load("first").dataframe()
    hpo.write_report(outcome.record)
    hpo.load("first").network().predict(["seven.png"])

Importing it loads neither torch nor Optuna; each name is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.api import export, load, reproduce, resume, run, write_report
    from hpo.builtin.convnet import Config
    from hpo.errors import HpoError
    from hpo.finals import finalists
    from hpo.networks.network import Network
    from hpo.own.declare import Epoch, choice, fixed, log, maximize, minimize, real, space, whole
    from hpo.proof.finalists import Finalists
    from hpo.runner.board import Watcher
    from hpo.runner.session import Outcome
    from hpo.search_space import SearchSpace
    from hpo.settings import RunOptions, Settings
    from hpo.store.reading.record import StudyRecord

__all__ = [
    "Config",
    "Epoch",
    "Finalists",
    "HpoError",
    "Network",
    "Outcome",
    "RunOptions",
    "SearchSpace",
    "Settings",
    "StudyRecord",
    "Watcher",
    "choice",
    "export",
    "finalists",
    "fixed",
    "load",
    "log",
    "maximize",
    "minimize",
    "real",
    "reproduce",
    "resume",
    "run",
    "space",
    "whole",
    "write_report",
]

_HOMES = {
    "Config": "hpo.builtin.convnet",
    "Finalists": "hpo.proof.finalists",
    "HpoError": "hpo.errors",
    "Network": "hpo.networks.network",
    "Outcome": "hpo.runner.session",
    "RunOptions": "hpo.settings",
    "SearchSpace": "hpo.search_space",
    "Settings": "hpo.settings",
    "StudyRecord": "hpo.store.reading.record",
    "Watcher": "hpo.runner.board",
    **dict.fromkeys(("Epoch", "choice", "fixed", "log", "maximize", "minimize", "real", "space", "whole"), "hpo.own.declare"),
    "export": "hpo.api",
    "finalists": "hpo.finals",
    "load": "hpo.api",
    "reproduce": "hpo.api",
    "resume": "hpo.api",
    "run": "hpo.api",
    "write_report": "hpo.api",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  # whatever the name stands for
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'hpo' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hpo")
    except PackageNotFoundError:  # run in its source folder
        return "not installed"
