"""Publishing in another process: a run neither waits for it nor keeps its memory. Both sides of that process are here."""

from __future__ import annotations

import json
import subprocess
import sys

from hpo.store.database import locate
from hpo.store.reading.record import load
from hpo.system.children import python


def publish(study: str, storage: str | None) -> None:
    """Update what the dashboard shows of a study."""
    from hpo.dashboard.publish import publish  # numpy, pandas and the page's figures

    publish(load(study, locate(storage)))


def publish_beside(study: str, storage: str | None) -> None:
    """Do so in a process of its own, and wait for it.

    Raises:
        RuntimeError: It failed; says the last line of why.
    """
    ended = subprocess.run(  # noqa: S603  # our own interpreter
        python("from hpo.dashboard import beside; beside.main()"),
        input=json.dumps([study, storage]),
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # Ctrl-C is the runner's
    )
    if ended.returncode:
        raise RuntimeError((ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1])


def main() -> None:
    """Be that process: the database's address, which may contain a password, comes on standard input."""
    publish(*json.load(sys.stdin))
