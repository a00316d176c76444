"""How hpo starts Python processes: modules in the current folder cannot shadow the ones it needs.

With `-m` and `-c`, Python searches the current folder before its own library: a random.py there would be executed in every
worker. `-P` leaves that folder out. The folder of this hpo is added at the end of the path, in case hpo is not installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HOME = str(Path(__file__).resolve().parents[2])


def python(code: str) -> list[str]:
    """Return the command line of a process that runs `code`, which can import hpo."""
    return [sys.executable, "-P", "-c", f"import sys; sys.path.append({_HOME!r}); {code}"]
