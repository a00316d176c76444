"""A file to start own training code from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from hpo.errors import StorageError, UsageError
from hpo.system.files import expanded, refusal


def write(file: Path) -> str:
    """Write the file and return the command that searches it.

    Raises:
        UsageError: It is there already, or its name is no Python module's.
        StorageError: It cannot be written.
    """
    path = expanded(file)
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise UsageError(f"{file}: the file should be called like a Python module, such as mine.py.")
    try:
        with path.open("x", encoding="utf-8") as out:
            out.write(files("hpo.own").joinpath("template.py.txt").read_text("utf-8").format(name=path.name))
    except FileExistsError:
        raise UsageError(f"{file} is there already. Name another file, or move it away.") from None
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {refusal(error, path)}") from error
    return f"hpo run --train {file}:train --trials 20"
