"""From numbers to figures: each function draws one figure from a summary, or returns None if there is nothing to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.report.figures import history, parameters, timeline, trade
from hpo.report.figures.figure import Figure

if TYPE_CHECKING:
    from hpo.report.summary import Summary

__all__ = ["Figure", "of_parameters", "of_search"]


def of_search(summary: Summary) -> list[Figure]:
    """Return the figures about the course of the search."""
    made = [
        history.history(summary),
        history.curves(summary),
        history.early_scores(summary),
        trade.size(summary),
        trade.time(summary),
        history.distribution(summary),
        timeline.timeline(summary),
    ]
    return [figure for figure in made if figure is not None]


def of_parameters(summary: Summary) -> list[Figure]:
    """Return the figures about the search space, without the slices."""
    made = [parameters.importance(summary), parameters.map_of_two(summary), parameters.parallel(summary)]
    return [figure for figure in made if figure is not None]
