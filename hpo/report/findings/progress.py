"""How the search went: is it over, when did it last improve, what did pruning save or cost, what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from hpo.report import stats
from hpo.report.findings.finding import Finding
from hpo.report.words import MINUS, clipped, count, duration, listed, number, percent, points

if TYPE_CHECKING:
    from hpo.report.summary import Summary

FEWEST = 10  # trials below which nothing is said about trends or ranks
FEWEST_GAINS = 5  # finished trials below which nothing is said about what others would have gained
AGREES, DISAGREES = 0.5, 0.2  # Spearman's rank correlation: what counts as agreement, and what as none
LIKELY = 0.01  # chance to pass the best above which a pruned trial is named
CAUSES = 4  # failures' causes that are named, the most frequent first


def state_of_study(summary: Summary) -> Finding | None:
    """Whether the study is empty, running, or without a result."""
    counts, total = summary.counts, len(summary.trials)
    if not total:
        return Finding("state", "The study has no trials yet.")
    kinds = {"in training or to be continued": counts["RUNNING"], "waiting": counts["WAITING"]}
    open_ = [f"{n:,} {kind}" for kind, n in kinds.items() if n]
    if open_:
        text = f"The study is not over: of {count(total, 'trial')} {listed(open_)}."
        return Finding("state", text, "What follows holds for the trials that ended so far.", "timeline")
    if summary.best is None:
        text = f"None of {count(total, 'trial')} finished: {counts['FAIL']} failed, {counts['PRUNED']} pruned."
        return Finding("state", text, "", "timeline")
    return None


def last_improvement(summary: Summary) -> Finding | None:
    """When the best came, and whether more trials look worth it."""
    ended = summary.trials[summary.trials["state"].isin(["COMPLETE", "PRUNED"])]
    best, n = summary.best, summary.n_scored
    if best is None or n is None or len(ended) < FEWEST:
        return None
    since = int((ended.index > best).sum())
    third = ended.index[-(len(ended) // 3)]
    before = summary.finished["value"][summary.finished.index < third]
    if before.empty:
        return None
    gain = summary.best_value - float(before.max())
    clear = gain > stats.standard_error(summary.best_value, n)
    verdict = (
        f"the last third of the trials brought {points(gain)}, so more trials look worth it"
        if clear
        else "the last third of the trials brought nothing beyond noise, so more of the same look hardly worth it"
    )
    when = f"{count(since, 'trial')} before the end" if since else "the last one"
    text = f"The best came with trial {best}, {when}; {verdict}."
    basis = f"Best so far before and after trial {third}; noise is one standard error on {n:,} images."
    return Finding("progress", text, basis, "history")


def pruning(summary: Summary) -> Finding | None:
    """What stopping trials early saved, in epochs and in time."""
    pruned = summary.trials[summary.trials["state"] == "PRUNED"]
    planned = summary.epochs
    if pruned.empty or not planned:
        return None
    left = (planned - pruned["epochs"]).clip(lower=0)
    pace = (pruned["seconds"] / pruned["epochs"].where(pruned["epochs"] > 0)).astype(float)
    seconds = float((left * pace.fillna(pace.median())).sum())
    whole = planned * (len(pruned) + len(summary.finished))
    text = (
        f"Pruning stopped {len(pruned):,} of {count(len(pruned) + len(summary.finished), 'trial')} early and saved "
        f"{left.sum():,} of {whole:,} epochs ({percent(left.sum() / whole, 0)})"
    )
    text += f", about {duration(seconds)} of training." if seconds > 0 else "."
    return Finding("pruning", text, "Each pruned trial's missing epochs at its own seconds an epoch.", "curves")


def pruned_winners(summary: Summary) -> Finding | None:
    """Whether a pruned trial could have won: do early scores rank like later ones, and what would it have taken?"""
    pruned = summary.trials[(summary.trials["state"] == "PRUNED") & (summary.trials["epochs"] > 0)]
    if pruned.empty or len(summary.finished) < FEWEST_GAINS:
        return None
    stops = _last_steps(summary.curves.loc[pruned.index])
    ranks = _rank_agreement(summary, int(stops.mode().iloc[0]))  # where most were stopped
    if ranks is None:
        return None
    chances = _chances(summary, pruned, stops)
    expected = float(chances.sum())
    basis = f"{ranks.basis}; each pruned trial given the gain of every finished trial from the epoch where it was stopped."
    if expected >= 0.5 or (ranks.correlation < DISAGREES and not ranks.chosen):
        likely = int(chances.index[int(chances.to_numpy().argmax())])
        text = f"Pruning may have stopped a better network: {ranks.text}."
        if chances[likely] >= LIKELY:
            text += (
                f" Trial {likely}, stopped at {_shown(summary, float(pruned['last'][likely]))}, would have passed the best "
                f"with the gain of {percent(float(chances[likely]), 0)} of the finished trials."
            )
        return Finding("pruned-winner", text, basis, "curves")
    sign = 1 if summary.maximize else -1
    if ranks.correlation < AGREES or sign * (pruned["last"].max() - summary.best_value) > 0:
        return None
    text = f"Pruning hardly stopped a winner: {ranks.text}, and {expected:.1f} of {count(len(pruned), 'pruned trial')} "
    return Finding("pruned-winner", text + "would be expected to pass the best.", basis, "curves")


class _Agreement(NamedTuple):
    """How scores after one epoch rank like later ones.

    Attributes:
        chosen: Whether the trials compared are those that a pruner let go on, for being good at that epoch.
    """

    correlation: float
    text: str
    basis: str
    chosen: bool


def _rank_agreement(summary: Summary, rung: int) -> _Agreement | None:
    """Compare scores after `rung` with the final ones; where few trials finished, with those of an epoch that enough reached."""
    curves, finals, who, then = summary.curves, summary.finished["value"], "finished trials", "in the end"
    chosen = (finals.notna() & curves[rung][finals.index].notna()).sum() < FEWEST
    if chosen:
        later = [step for step in curves.columns.astype(int) if step > rung]
        reached = curves[later].loc[summary.standing.index]
        enough = reached.columns[reached.notna().sum() >= FEWEST]
        if enough.empty:
            return None
        finals, who, then = reached[enough[-1]].dropna(), "the trials that went on", f"after epoch {enough[-1]}"
    early = curves[rung][finals.index].dropna()
    correlation = stats.spearman(early.to_numpy(), finals[early.index].to_numpy())
    text = f"after epoch {rung} {who} rank like {then} with correlation {correlation:.2f}".replace("-", MINUS)
    basis = f"Spearman's rank correlation over {len(early):,} {'' if chosen else 'finished '}trials"
    basis += ", which went on because they were good: among all it would be higher" if chosen else ""
    return _Agreement(correlation, text, basis, bool(chosen))


def failures(summary: Summary) -> Finding | None:
    """How many trials failed, by cause."""
    failed = summary.trials[summary.trials["state"] == "FAIL"]
    if failed.empty:
        return None
    causes = failed["reason"].fillna("no cause recorded").map(lambda reason: clipped(str(reason), 80)).value_counts()
    named = [f"{times:,} {cause}" for cause, times in sorted(causes.items(), key=lambda one: (-one[1], one[0]))]
    rest = sum(causes) - sum(sorted(causes, reverse=True)[:CAUSES])
    named = named[:CAUSES] + ([f"{rest:,} of other causes"] if rest else [])
    text = f"{count(len(failed), 'trial')} of {len(summary.trials):,} failed: {listed(named)}."
    return Finding("failures", text, "", "timeline")


def _last_steps(curves: pd.DataFrame) -> pd.Series[int]:
    """The last step of each row that holds a value; rows without any are left out."""
    known = curves.notna().to_numpy()
    last = known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    steps = pd.Series(curves.columns.to_numpy()[last], index=curves.index)
    return steps.iloc[np.flatnonzero(known.any(axis=1))]


def _chances(summary: Summary, pruned: pd.DataFrame, stops: pd.Series[int]) -> pd.Series[float]:
    """For each pruned trial, the part of the finished trials whose gain from its last epoch would pass the best."""
    sign = 1 if summary.maximize else -1
    finals = summary.finished["value"]
    chances = pd.Series(0.0, index=stops.index)
    for step in stops.unique():
        some = stops.index[stops == step]
        gains = np.sort((sign * (finals - summary.curves[step][finals.index])).dropna().to_numpy())
        if len(gains):
            needed = sign * (summary.best_value - pruned["last"][some].to_numpy())
            chances[some] = 1 - np.searchsorted(gains, needed, side="right") / len(gains)
    return chances


def _shown(summary: Summary, value: float) -> str:
    return percent(value) if summary.is_accuracy else number(value)
