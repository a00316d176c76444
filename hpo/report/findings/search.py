"""What the search space says: best values at an edge, parameters that decide, parameters that do not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution

from hpo.report import importance, stats
from hpo.report.findings.finding import Finding
from hpo.report.words import clipped, count, listed, percent

if TYPE_CHECKING:
    from hpo.report.summary import Summary

Numeric = FloatDistribution | IntDistribution

EDGE = 0.1  # the outermost part of a range that counts as its edge
SURE = 0.01  # p-value below which an edge or an influence is stated, shared among the parameters asked about
DOUBT = 0.1  # p-value above which a parameter shows no influence


def edges(summary: Summary) -> Finding | None:
    """Parameters whose best values lie at the end of their range, with the range to try."""
    asked = {
        name: distribution
        for name, distribution in summary.distributions.items()
        if isinstance(distribution, FloatDistribution | IntDistribution) and not distribution.single()
    }
    if len(summary.standing) < importance.FEWEST:
        return None
    found = [edge for name, one in asked.items() if (edge := _edge(summary, name, one, SURE / (2 * len(asked))))]
    if not found:
        return None
    text = f"The best values lie at the edge of the range: {listed(found)}."
    basis = (
        f"More of the best trials lie in the outer {percent(EDGE, 0)} of the range than by chance (binomial test), and "
        f"trials there rank higher than the others (Mann-Whitney test), each at p < {SURE} shared among parameters."
    )
    return Finding("edge", text, basis, "slices")


def decisive(summary: Summary) -> Finding | None:
    """The parameters that decide whether a trial is among the best."""
    found = [one for one in summary.importance if one.p * len(summary.importance) <= 5 * SURE]
    if not found:
        return None
    parts = [f"{clipped(one.name, 60)} ({percent(one.share, 0)}, {_spread(one)})" for one in found]
    verb = "decides" if len(parts) == 1 else "decide"
    return Finding("decisive", f"{listed(parts)} {verb} most about the score.", _basis(summary), "importance")


def idle(summary: Summary) -> Finding | None:
    """The parameters without a visible influence."""
    found = [one for one in summary.importance if one.p > DOUBT and not _related(summary, one.name)]
    if not found:
        return None
    names = listed([clipped(one.name, 60) for one in found])
    text = f"{names} {'shows' if len(found) == 1 else 'show'} no influence that could be told from chance."
    if len(found) == len(summary.importance):
        text = f"No parameter shows an influence on the score that {_sample(summary)} could tell from chance."
    return Finding("idle", text, f"{_basis(summary)} Nor does a rank correlation show any (p > {DOUBT}).", "importance")


def _related(summary: Summary, name: str) -> bool:
    """Whether trials rank higher towards one end of a range: what only tells bad from middling does not show among the best."""
    if not isinstance(summary.distributions[name], FloatDistribution | IntDistribution):
        return False
    values = summary.params[name].loc[summary.standing.index].to_numpy(dtype=np.float64)
    z = stats.spearman(values, np.asarray(summary.standing)) * math.sqrt(len(values) - 1)
    return math.erfc(abs(z) / math.sqrt(2)) <= DOUBT


def _edge(summary: Summary, name: str, distribution: Numeric, level: float) -> str | None:
    """Describe the edge at which the best values of one parameter lie; None if there is none."""
    column = summary.params[name].loc[summary.standing.index]
    known = column.notna()
    if known.sum() < importance.FEWEST:
        return None
    place = _places(column[known].to_numpy(dtype=float), distribution)
    standing = np.asarray(summary.standing[known], dtype=np.float64)
    levels = _levels(distribution)
    width = max(EDGE, 1 / levels)  # of few levels, the last alone
    top = np.argsort(-standing, kind="stable")[: math.ceil(importance.quantile(len(standing)) * len(standing))]
    for side, at in (("lower", place < width), ("upper", place >= 1 - width)):
        # A sampler that found the edge stays there; with too few elsewhere to compare, the first test decides.
        better = stats.greater(standing[at], standing[~at]) if (~at).sum() >= importance.FEWEST_TOP else 0.0
        if stats.binomial_tail(int(at[top].sum()), len(top), width) < level and better < level:
            return _advice(name, distribution, side)
    return None


def _places(values: stats.Floats, distribution: Numeric) -> stats.Floats:
    """Where values lie in their range, from 0 to below 1; whole numbers in the middle of their level."""
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        return np.asarray((np.log(values) - math.log(low)) / (math.log(high) - math.log(low)) * 0.999999, dtype=np.float64)
    step = distribution.step or 0.0
    return np.asarray((values - low + step / 2) / (high - low + step) * 0.999999, dtype=np.float64)


def _levels(distribution: Numeric) -> float:
    if distribution.log or not distribution.step:
        return math.inf
    return round((distribution.high - distribution.low) / distribution.step) + 1


def _advice(name: str, distribution: Numeric, side: str) -> str | None:
    """Name the edge and the range to try; None if nothing lies beyond, as below a dropout of 0."""
    low, high = distribution.low, distribution.high
    end = low if side == "lower" else high
    further = _further(distribution, side)
    if further == end:
        return None
    tried = (further, high) if side == "lower" else (low, further)
    return f"{clipped(name, 60)} at its {side} end {end:.4g}, try {tried[0]:.4g} to {tried[1]:.4g}"


def _further(distribution: Numeric, side: str) -> float:
    """Return an end half as wide again beyond the old one, on the parameter's own scale and inside what makes sense."""
    low, high, step = float(distribution.low), float(distribution.high), distribution.step
    whole = isinstance(distribution, IntDistribution)
    factor = min(10.0, math.sqrt(high / low)) if distribution.log else 1.0
    half = math.ceil((high - low) / 2 / step) * step if step else (high - low) / 2
    if side == "lower":
        end = low / factor if distribution.log else low - half
        least = 1.0 if whole and low >= 1 else 0.0 if low >= 0 else -math.inf
        return max(least, math.floor(end) if whole else end)
    end = high * factor if distribution.log else high + half
    most = 1.0 if not whole and low >= 0 and high <= 1 and not distribution.log else math.inf  # a rate such as dropout
    return min(most, math.ceil(end) if whole else end)


def _spread(one: importance.Importance) -> str:
    return f"{100 * one.low:.0f} to {percent(one.high, 0)} over bootstrap"


def _basis(summary: Summary) -> str:
    chosen = " that the search chose, those stopped early behind the others by how far they came, as TPE ranks them"
    behind = chosen if _some_stopped(summary) else ""
    return (
        f"PED-ANOVA importance of being among the best {percent(importance.quantile(len(summary.standing)), 0)} of "
        f"{_sample(summary)}{behind}. "
        f"Spread: the middle 80 % of {importance.RESAMPLES} bootstrap resamples. "
        f"Influence: against {importance.SHUFFLES} permutations of the scores."
    )


def _sample(summary: Summary) -> str:
    return count(len(summary.standing), "finished or pruned trial" if _some_stopped(summary) else "finished trial")


def _some_stopped(summary: Summary) -> bool:
    return bool((summary.trials["state"][summary.standing.index] == "PRUNED").any())
