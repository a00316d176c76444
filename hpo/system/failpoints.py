"""Named places between two changes of state, so that a test can make a process die exactly there.

    HPO_FAILPOINT=name:nth:kill|raise|sleep|enospc    e.g. file.renamed:3:kill

The nth time that a process passes the point, it is killed (signal 9), raises, sleeps for a minute, or sees a full disk. Separate
several points by commas. Workers inherit the variable, and so do their replacements: with HPO_FAILPOINT_ONCE=FOLDER a point
acts in only one process and leaves a file of its name in that folder. Without the variable, a point costs one dict lookup.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path


def _parse(text: str) -> dict[str, tuple[int, str]]:
    points = {}
    for part in filter(None, text.split(",")):
        name, nth, action = part.split(":")
        points[name] = (int(nth), action)
    return points


_armed = _parse(os.environ.get("HPO_FAILPOINT", ""))


def reach(name: str) -> None:
    """Pass the point `name`: usually nothing happens."""
    if name not in _armed:
        return
    nth, action = _armed[name]
    _armed[name] = (nth - 1, action)
    if nth == 1 and _first(name):
        _act(name, action)


def _first(name: str) -> bool:
    folder = os.environ.get("HPO_FAILPOINT_ONCE")
    try:
        if folder:
            Path(folder, name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _act(name: str, action: str) -> None:
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            time.sleep(60)
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "raise":
            raise RuntimeError(f"failpoint {name}")
        case _:
            raise ValueError(f"HPO_FAILPOINT: no action {action!r}; use kill, raise, sleep or enospc")
