"""What finalists prove: the winner over fresh seeds, the simplest that is about as good, how optimistic the study's score was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.proof import sentences
from hpo.report.findings.finding import Finding

if TYPE_CHECKING:
    from hpo.report.summary import Summary

_95 = "95\N{NO-BREAK SPACE}%"
_BASIS = (
    "Each finalist was trained with the same {n} fresh seeds (study {name}). Means with Student's {l} intervals; gains seed by "
    "seed, and the intervals of all gains hold together (Bonferroni). They tell of other seeds, not of other images."
)


def result(summary: Summary) -> Finding | None:
    """The winner, its gain over the default point, and what it scores on a test set that nobody had read."""
    found = summary.finalists
    if found is None:
        return None
    told = [sentences.verdict(found), sentences.simplest(found), sentences.failures(found), sentences.test(found)]
    basis = _BASIS.format(n=len(found.seeds), name=found.name, l=_95)
    return Finding("finalists", " ".join(filter(None, told)), basis, "finalists")


def optimism(summary: Summary) -> Finding | None:
    """How much better the study's own score was than the mean over fresh seeds."""
    text = sentences.optimism(summary.finalists) if summary.finalists else ""
    return Finding("measured-optimism", text, "Measured, where the search's model estimates.", "finalists") if text else None


def ablations(summary: Summary) -> Finding | None:
    """What each choice of the winner brought."""
    found = summary.finalists
    gains = [(one.entry.without, one.gain) for one in found.ablations if one.gain] if found else []
    if found is None or not gains:
        return None
    gains.sort(key=lambda pair: found.score.penalty(pair[1].mean))
    said = ", ".join(f"{name} {sentences.gained(gain, found.score)}" for name, gain in gains)
    text = f"What each choice of the winner brought, against its default with all others kept: {said}."
    return Finding("ablation", text, "The same seeds; the intervals hold together (Bonferroni).", "ablation")
