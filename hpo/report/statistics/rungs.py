"""What trials that are stopped early tell: how they stand among the others, and whether early scores predict later ones.

The latter is the rank agreement between each epoch at which trials are stopped and the next. Only trials that reached both
epochs can be compared. They continued because they were good, so among all trials the agreement would be higher (restriction of
range). The interval for Spearman's correlation is Bonett and Wright's (Psychometrika 2000).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from hpo.report.statistics import stats

if TYPE_CHECKING:
    from hpo.report.summary import Summary

MIN_PAIRS = 10  # trials that reached both epochs; with fewer, the interval is too wide to be useful
MIN_STOP_SHARE = 0.05  # of the stopped trials; an epoch at which fewer stopped is not a rung


class Agreement(NamedTuple):
    """How trials rank after one epoch and after a later one."""

    early: int
    late: int
    n: int
    correlation: float
    low: float
    high: float


def agreements(summary: Summary) -> list[Agreement]:
    """Return the rank agreement between each rung and the next, the last epoch included, where enough trials reached both."""
    ended = summary.curves.loc[summary.trials["state"].isin(["COMPLETE", "PRUNED"])]
    stops = last_steps(ended.loc[summary.trials["state"][ended.index] == "PRUNED"]).value_counts()
    levels = sorted(stops.index[stops >= MIN_STOP_SHARE * stops.sum()].astype(int))
    levels += [int(step) for step in last_steps(ended).sort_values()[-1:] if levels and step > levels[-1]]
    found = (_between(early, late, ended) for early, late in pairwise(levels))
    return [one for one in found if one is not None]


def standing(summary: Summary) -> pd.Series[float]:
    """Return the rank of each trial that finished or was stopped early with a score, 0 for the worst; equal ones share a rank.

    Stopped trials rank behind all finished ones, by the epoch that they reached and then by their last score: a search by
    halving finishes few trials, and this uses the information in the others. The space's starting points are trained to the
    end in any case: they rank as if they had been stopped where they were worse than all trials that continued.
    """
    trials, given = summary.trials, summary.given
    stopped = trials[(trials["state"] == "PRUNED") & np.isfinite(trials["last"])]
    keys = {n: (1, 0, float(value)) for n, value in summary.finished["value"].items()}
    keys |= {n: (0, epochs, last) for n, epochs, last in zip(stopped.index, stopped["epochs"], stopped["last"], strict=True)}
    others = summary.curves.loc[[n for n in keys if n not in given]]
    keys |= {n: _earned(summary, n, others, stopped["epochs"]) for n in given if n in keys and len(stopped)}
    rows = np.array(list(keys.values()), dtype=float).reshape(-1, 3) * (1, 1, summary.sign)
    ranks = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    return pd.Series(ranks, index=pd.Index(list(keys), dtype=trials.index.dtype), dtype=float).sort_index()


def _earned(summary: Summary, number: int, others: pd.DataFrame, stops: pd.Series[int]) -> tuple[int, int, float]:
    """The key of a trial that was exempt from stopping, as if it had been stopped by its scores among the others'."""
    for epoch in sorted(set(stops) & set(summary.curves.columns)):
        score, scores = summary.sign * summary.curves[epoch][number], summary.sign * others[epoch].dropna()
        went_on = scores.drop(stops.index[stops == epoch], errors="ignore")
        if score < (went_on.min() if len(went_on) else scores.max()):
            return 0, int(epoch), summary.sign * float(score)
    return 1, 0, float(summary.trials["value"][number])


def last_steps(curves: pd.DataFrame) -> pd.Series[int]:
    """The last step at which each row has a value; rows without values are left out."""
    known = curves.notna().to_numpy()
    some = np.flatnonzero(known.any(axis=1))
    last = known.shape[1] - 1 - known[some, ::-1].argmax(axis=1) if len(some) else some
    return curves.index[some].to_series().map(dict(zip(curves.index[some], curves.columns[last], strict=True)))


def _between(early: int, late: int, curves: pd.DataFrame) -> Agreement | None:
    both = curves[[early, late]].dropna()
    if len(both) < MIN_PAIRS:
        return None
    correlation = stats.spearman(both[early].to_numpy(), both[late].to_numpy())
    if math.isnan(correlation):
        return None
    return Agreement(early, late, len(both), correlation, *_interval(correlation, len(both)))


def _interval(correlation: float, n: int) -> tuple[float, float]:
    centre = math.atanh(max(-0.9999, min(0.9999, correlation)))
    half = stats.Z * math.sqrt((1 + correlation**2 / 2) / (n - 3))
    return math.tanh(centre - half), math.tanh(centre + half)
