"""What is said of a run in progress, on a terminal and without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.cli.rows import plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hpo.runner.board import Board

MOST = 6  # parameters that a line has room for


def opening(board: Board) -> str:
    """Return the first line of a run."""
    goal = f"{board.n_finished} of {board.total} trials finished" if board.n_finished else f"{board.total} trials"
    workers = f"{len(board.rows)} worker{'s' if len(board.rows) != 1 else ''}"
    return f"study {board.study}: {goal}, {board.epochs} epochs each at most, {workers}"


def finishing(board: Board) -> str:
    """Return `terminated: workers finish their epoch, about 40 s`, or with the grace that they have for it."""
    left = board.left_of_epochs
    about = "" if left is None else f", about {span(left)}"
    if board.grace is None or (left is not None and left <= board.grace):
        return f"{board.stopping}: workers finish their epoch{about}"
    return f"{board.stopping}: workers have {span(board.grace)} to finish their epoch{about and f', which takes{about[1:]}'}"


def totals(board: Board) -> str:
    """Return `12 of 50 finished: 5 complete, 7 pruned, 1 failed, 2 running`."""
    words = {"complete": "complete", "pruned": "pruned", "fail": "failed", "waiting": "waiting", "running": "running"}
    counted = ", ".join(f"{board.counts[state]} {word}" for state, word in words.items() if board.counts[state])
    return f"{board.n_finished} of {board.total} finished" + (f": {counted}" if counted else "")


def standing(board: Board) -> str:
    """Return the best score so far, and its gain over the points that the space names."""
    if board.best is None:
        return "no trial complete yet"
    number, best = board.best
    told = f"best {board.score.shown(best)}, trial {number}"
    if number in board.named:
        told += " (a starting point of the space)" if number else " (the default point)"
    gains = [
        f"{board.score.gained(best - board.named[rival])} over trial {rival}, {name}"
        for rival, name in _rivals(board, number).items()
    ]
    return ", ".join([told, *([", and ".join(gains)] if gains else [])])


def _rivals(board: Board, number: int) -> dict[int, str]:
    """Return the trials that the best one is compared with: of the default point, and of the best that the space names."""
    rivals = {0: "the default point"} if number and 0 in board.named else {}
    if board.named and number not in board.named:
        best = min(board.named, key=lambda rival: (board.score.penalty(board.named[rival]), rival))
        rivals.setdefault(best, "the best starting point of the space")
    return rivals


def clock(board: Board) -> str:
    """Return the time spent and an estimate of the time left."""
    left = f"about {span(board.left)} left" if board.left is not None else "time left: known after three trials"
    return f"{span(board.spent)} spent, {left}"


def span(seconds: float) -> str:
    """Return `42 s`, `7 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def parameters(params: Mapping[str, Any], most: int = MOST) -> str:
    """Return `depth 3  filters 48  lr 0.21`; only the first `most` of them."""
    shown = [f"{name} {plain(value)}" for name, value in list(params.items())[:most]]
    more = len(params) - len(shown)
    return "  ".join([*shown, *([f"… {more} more"] if more else [])])
