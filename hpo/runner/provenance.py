"""Where a study comes from: the command, the machine, the versions and the commit that made it."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from hpo.errors import StorageError
from hpo.store.database import locate


def holder() -> str:
    """Return which process this is, for whoever finds a study locked by it."""
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}: {command()}"


def command() -> str:
    """Return the command line as it can be typed again, without credentials."""
    words = [Path(sys.argv[0]).name if not sys.argv[0].endswith("__main__.py") else "python -m hpo", *sys.argv[1:]]
    return " ".join([words[0], *(shlex.quote(_without_password(word)) for word in words[1:])])


def _without_password(word: str) -> str:
    option, sign, url = word.partition("=") if word.startswith("-") else ("", "", word)
    if "://" not in url:
        return word
    with contextlib.suppress(StorageError):
        return f"{option}{sign}{locate(url)}"
    return f"{option}{sign}URL"


def environment(n_workers: int) -> dict[str, Any]:
    """Describe the machine as the runner sees it."""
    versions = {name: _version(name) for name in ("hpo", "optuna", "numpy")}
    return {
        **versions,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "workers": n_workers,
        "git_commit": _git_commit(),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # hpo itself, run in its source folder
        return "not installed"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """Return the commit of the working folder's repository, where it is one."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)  # noqa: S607  # whichever git there is
        return done.stdout.strip() or None
    return None
