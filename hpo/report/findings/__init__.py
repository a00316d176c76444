"""What a study says, in sentences: each is computed, names its numbers and points at the figure that shows them.

A finding is a pure function of the summary that returns None where it does not apply; `find` asks them in the
order in which a reader wants to know. Nothing is said that the numbers do not carry: "within noise" means that the
95 % interval of a difference holds zero. Each has a least basis, and is absent below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.report.findings import progress, result, search
from hpo.report.findings.finding import Finding

if TYPE_CHECKING:
    from hpo.report.summary import Summary

__all__ = ["Finding", "find"]

_ORDER = (
    result.winner,
    result.against_tutorial,
    result.optimism,
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


def find(summary: Summary) -> list[Finding]:
    """Return the findings that apply, the winner first."""
    return [finding for ask in _ORDER if (finding := ask(summary)) is not None]
