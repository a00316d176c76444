"""The limits of a run that it was given: time, a score, patience."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.runner.board import reached

if TYPE_CHECKING:
    from hpo.runner.board import Board
    from hpo.settings import RunOptions


def limit_reached(board: Board, options: RunOptions) -> str:
    """Return which limit a run has reached, as the reason of its end; empty if none."""
    if reason := reached(options.target, board.best, board.score):
        return reason
    if options.patience is not None and board.without_best >= options.patience:
        return f"patience: {board.without_best} trials without a new best"
    if options.timeout is not None and board.spent >= options.timeout:
        return "timeout"
    return ""
