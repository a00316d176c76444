"""Python processes of ours run what this process runs, whatever modules the current folder has.

For `-m` and `-c` Python looks into the current folder before its own library: a random.py there would be executed in every
worker. `-P` leaves that folder out. The folder of this hpo comes last in the path, for an hpo that is not installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HOME = str(Path(__file__).resolve().parent.parent)


def python(code: str) -> list[str]:
    """Return the command line of a process that runs `code`, which can import hpo."""
    return [sys.executable, "-P", "-c", f"import sys; sys.path.append({_HOME!r}); {code}"]
