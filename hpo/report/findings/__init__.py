"""Findings: sentences about a study, computed from its numbers, each with a link to the figure that shows them.

Each finding is a pure function of the summary. It returns None if it does not apply, or if the study has too few data
for it. `find` calls them in reading order. Sentences claim only what the numbers support: "within noise" means that
the 95 % interval of a difference contains zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.report.findings import beginnings, finalists, progress, result, search
from hpo.report.findings.finding import Finding

if TYPE_CHECKING:
    from hpo.report.summary import Summary

__all__ = ["Finding", "find"]

_ORDER = (
    finalists.result,
    finalists.ablations,
    finalists.optimism,
    result.winner,
    beginnings.weights,
    result.against_tutorial,
    result.optimism,
    result.imbalance,
    progress.state_of_study,
    search.edges,
    search.decisive,
    search.undecided,
    search.idle,
    progress.last_improvement,
    progress.pruning,
    progress.early_scores,
    progress.failures,
    result.smaller,
    result.faster,
)


_OF_REPETITIONS = (finalists.result, finalists.ablations, finalists.optimism, progress.state_of_study, progress.failures)


def find(summary: Summary) -> list[Finding]:
    """Return the findings that apply, the winner first; of repeated trainings none that names one of them."""
    return [finding for ask in (_OF_REPETITIONS if summary.repeats else _ORDER) if (finding := ask(summary)) is not None]
