"""Whether early scores predict later ones: rank agreement between each epoch at which trials are stopped and the next.

Only trials that reached both epochs can be compared. They continued because they were good, so among all trials the agreement
would be higher (restriction of range). The interval for Spearman's correlation is Bonett and Wright's (Psychometrika 2000).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpo.report import stats

if TYPE_CHECKING:
    import pandas as pd

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
