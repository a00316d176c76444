"""Findings about the search space: best values at an edge, parameters that decide, parameters that hardly matter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hpo.report.findings.finding import Finding
from hpo.report.statistics import importance
from hpo.report.words import clipped, count, listed, number, percent
from hpo.store.schema import FloatDistribution, IntDistribution

if TYPE_CHECKING:
    from hpo.report.summary import Summary

Numeric = FloatDistribution | IntDistribution

EDGE_PART = 0.1  # the outer part of a range that counts as its edge
RISE_LEVEL = 0.05  # p-value below which ranks are said to rise towards an edge


def edges(summary: Summary) -> Finding | None:
    """Parameters whose best values lie at the edge of their range, with a range to try."""
    found = [edge for one in summary.importance if one.decides and (edge := _edge(summary, one))]
    if not found:
        return None
    basis = (
        f"The best trial lies in the outer {percent(EDGE_PART, 0)} of the range, the parameter decides, and given the others "
        f"ranks still rise in the outer quarter (regression, p < {RISE_LEVEL}). The starting points of the space count, too."
    )
    return Finding("edge", f"The best values lie at the edge of the range: {'; '.join(found)}.", basis, "slices")


def decisive(summary: Summary) -> Finding | None:
    """The parameters that decide the rank of a trial."""
    found = [one for one in summary.importance if one.decides]
    if not found:
        return None
    parts = [f"{clipped(one.name, 60)} ({percent(one.share, 0)}, {_spread(one)})" for one in found]
    verb = "has" if len(parts) == 1 else "have"
    basis = (
        f"Share of the differences in rank among {_sample(summary)} that a parameter explains beyond the others. {_METHOD} "
        f"Spread: the middle 80\N{NO-BREAK SPACE}% of {importance.RESAMPLES} bootstrap resamples."
    )
    return Finding("decisive", f"{listed(parts)} {verb} the most influence on the score.", basis, "importance")


def undecided(summary: Summary) -> Finding | None:
    """That no parameter has a detectable effect, which does not mean that none has an effect."""
    if not summary.importance or any(one.decides or one.hardly_matters for one in summary.importance):
        return None
    text = f"It is not clear from {_sample(summary)} which parameters matter: none explains more of the scores than chance would."
    return Finding("undecided", text, f"{_METHOD} This does not show that no parameter matters.", "importance")


def idle(summary: Summary) -> Finding | None:
    """The parameters that hardly matter."""
    found = [one for one in summary.importance if one.hardly_matters]
    if not found:
        return None
    names, most = listed([clipped(one.name, 60) for one in found]), percent(max(one.most for one in found), 0)
    what = f"explains at most {most} of the differences in rank"
    if len(found) == 1:
        text = f"{names} hardly matters: over its whole range it {what}."
    else:
        text = f"{names} hardly matter: over its whole range each {what}."
    sure = percent(importance.BOUND_LEVEL, 0)
    basis = (
        f"{sure} bound by a regression of the ranks of {_sample(summary)} that includes the parameters that decide. Parameters "
        "that the search hardly varied, or that may matter together with another, are not mentioned."
    )
    return Finding("idle", text, basis, "importance")


_METHOD = (
    "Regression of ranks on the parameters, with a quadratic term for each range. A parameter enters if it explains more than "
    f"chance, tested by {importance.SHUFFLES} permutations of the residuals."
)


def _edge(summary: Summary, one: importance.Importance) -> str | None:
    """Describe the edge at which the best values of a parameter lie; None if they lie inside the range."""
    distribution = summary.distributions[one.name]
    if not isinstance(distribution, FloatDistribution | IntDistribution) or summary.best is None:
        return None
    width = max(EDGE_PART, 1 / _levels(distribution))  # at least one level
    finished = _places(summary.params.loc[summary.finished.index, one.name].to_numpy(dtype=float), distribution)
    best = summary.finished.index == summary.best
    for side, rise, there in (("lower", one.ends[0], finished < width), ("upper", one.ends[1], finished >= 1 - width)):
        if rise < RISE_LEVEL and there[best].all():
            return _advice(one.name, distribution, side, int(there.sum()) - 1, int(np.isfinite(finished).sum()) - 1)
    return None


def _places(values: importance.Floats, distribution: Numeric) -> importance.Floats:
    """Positions of values in their range, from 0 to below 1; whole numbers in the middle of their level."""
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        return np.asarray((np.log(values) - math.log(low)) / (math.log(high) - math.log(low)) * 0.999999, dtype=np.float64)
    step = distribution.step or 0.0
    return np.asarray((values - low + step / 2) / (high - low + step) * 0.999999, dtype=np.float64)


def _levels(distribution: Numeric) -> float:
    if distribution.log or not distribution.step:
        return math.inf
    return round((distribution.high - distribution.low) / distribution.step) + 1


def _advice(name: str, distribution: Numeric, side: str, also: int, others: int) -> str | None:
    """Name the edge and a range to try; None if the range cannot be extended, as below a dropout of 0."""
    low, high = distribution.low, distribution.high
    end = low if side == "lower" else high
    further = _further(distribution, side)
    if further == end:
        return None
    tried = (further, high) if side == "lower" else (low, further)
    who = f" (the best trial and {also} of the other {others} finished trials lie there)" if also > 0 else ""
    return f"{clipped(name, 60)} at its {side} end {number(end)}, try {number(tried[0])} to {number(tried[1])}{who}"


def _further(distribution: Numeric, side: str) -> float:
    """Return a new end, half the range beyond the old one on the parameter's own scale, within sensible bounds."""
    low, high, step = float(distribution.low), float(distribution.high), distribution.step
    whole = isinstance(distribution, IntDistribution)
    factor = min(10.0, math.sqrt(high / low)) if distribution.log else 1.0
    half = math.ceil((high - low) / 2 / step) * step if step else (high - low) / 2
    if side == "lower":
        end = low / factor if distribution.log else low - half
        least = 1.0 if whole and low >= 1 else 0.0 if low >= 0 else -math.inf
        return max(least, math.floor(end) if whole else end)
    end = high * factor if distribution.log else high + half
    most = 1.0 if not whole and low >= 0 and high <= 1 and not distribution.log else math.inf  # a rate, like dropout
    return min(most, math.ceil(end) if whole else end)


def _spread(one: importance.Importance) -> str:
    return f"{100 * one.low:.0f} to {percent(one.high, 0)} over bootstrap"


def _sample(summary: Summary) -> str:
    stopped = (summary.trials["state"][summary.standing.index] == "PRUNED").any()
    return count(len(summary.standing), "finished or pruned trial" if stopped else "finished trial")
