"""Options that several commands share, declared for Typer.

Typer reads annotations at run time, so `Optional[str]` stays where `str | None` would do elsewhere.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer


def option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002, ANN401  # Typer's own names and types
    """Declare an option."""
    return typer.Option(*names, help=help, **more)


class Format(StrEnum):
    """How data is printed."""

    table = "table"
    json = "json"
    csv = "csv"


class State(StrEnum):
    """State of a trial."""

    complete = "complete"
    pruned = "pruned"
    fail = "fail"
    running = "running"
    waiting = "waiting"
    foreign = "foreign"


Text = Optional[str]  # noqa: UP045
Whole = Optional[int]  # noqa: UP045
File = Optional[Path]  # noqa: UP045
States = Optional[list[State]]  # noqa: UP045

Study = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study.")]
Storage = Annotated[
    Text, option("--storage", metavar="URL|PATH", help="Database. Default: $HPO_STORAGE, $OPTUNA_STORAGE, studies/hpo.db.")
]
DataDir = Annotated[
    File, option("--data-dir", metavar="DIR", help="Folder for data sets. Default: the study's, $HPO_DATA_DIR, data.")
]
Form = Annotated[Format, option("--format", help="How to print.")]
