"""How the search went: whether it is over, its last improvement, what pruning saved, whether early scores predict, failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.report import stats
from hpo.report.findings.finding import Finding
from hpo.report.rungs import agreements
from hpo.report.words import MINUS, clipped, count, duration, listed, percent, points

if TYPE_CHECKING:
    from hpo.report.summary import Summary

FEWEST = 10  # trials that ended, below which nothing is said about when the best came
FEWEST_LAST = 10  # trials in the last third, below which nothing is said about more of them
AGREES = 0.5  # rank correlation: agreement is good where the interval lies above, poor where it lies below
MOST_SHOWN = 3  # steps from rung to rung that a sentence lists
CAUSES = 4  # failures' causes that are named, the most frequent first


def state_of_study(summary: Summary) -> Finding | None:
    """Whether the study is empty, running, or without a result."""
    counts, total = summary.counts, len(summary.trials)
    if not total:
        return Finding("state", "The study has no trials yet.")
    kinds = {"in training or to be continued": counts["RUNNING"], "enqueued": counts["WAITING"]}
    open_ = [f"{n:,} {kind}" for kind, n in kinds.items() if n]
    if open_:
        text = f"The study is not over: of {count(total, 'trial')} {listed(open_)}."
        return Finding("state", text, "What follows holds for the trials that ended so far.", "timeline")
    if summary.ended.startswith("exhausted"):
        return Finding("state", "The search is over: the space has no other point.", "Each was tried once.", "timeline")
    if summary.best is None:
        text = f"None of {count(total, 'trial')} finished: {counts['FAIL']} failed, {counts['PRUNED']} pruned."
        return Finding("state", text, "", "timeline")
    return None


def last_improvement(summary: Summary) -> Finding | None:
    """When the best trial came, and whether more trials are likely to help, if the last third had a chance to improve it."""
    ended = summary.trials[summary.trials["state"].isin(["COMPLETE", "PRUNED"])]
    best, n = summary.best, summary.n_scored
    if best is None or n is None or len(ended) < FEWEST:
        return None
    since = int((ended.index > best).sum())
    when = f"{count(since, 'trial')} before the end" if since else "the last one"
    text = f"The best came with trial {best}, {when}"
    third = ended.index[-(len(ended) // 3) :]
    before = summary.finished["value"][summary.finished.index < third[0]]
    whole = int(summary.finished.index.isin(third).sum())  # trained to the end
    if len(third) < FEWEST_LAST or not whole or before.empty:
        return Finding("progress", f"{text}.", "", "history")
    gain = summary.best_value - float(before.max())
    tried = f"the last {count(len(third), 'trial')} ({whole:,} trained to the end)"
    if gain > stats.standard_error(summary.best_value, n):
        text += f"; {tried} brought {points(gain)}, so more trials are likely to help."
    else:
        text += f"; {tried} brought nothing beyond noise, so more trials of this kind are unlikely to help."
    basis = f"Best so far before and after trial {third[0]}; noise is one standard error on {n:,} images."
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
    return Finding("pruning", text, "Estimated from each pruned trial's own time per epoch.", "curves")


def early_scores(summary: Summary) -> Finding | None:
    """Whether trials rank early as they rank later, from each epoch at which trials were stopped to the next."""
    found = agreements(summary)
    if not found:
        return None
    if all(one.low >= AGREES for one in found):
        verdict = "Early scores are a good guide to later ones"
    elif any(one.high < AGREES for one in found):
        verdict = "Early scores are a poor guide to later ones, so pruning may have stopped better networks"
    else:
        verdict = "How well early scores predict later ones"
    weakest = min(found, key=lambda one: one.correlation)
    shown = found if len(found) <= MOST_SHOWN else [weakest]
    parts = [
        f"from epoch {one.early} to {one.late} ranks correlate by {one.correlation:.2f} "
        f"(95 % interval {one.low:.2f} to {one.high:.2f}, {count(one.n, 'trial')})".replace("-", MINUS)
        for one in shown
    ]
    text = f"{verdict}: {listed(parts)}{'' if shown is found else f', the weakest of {len(found)} such pairs'}."
    basis = (
        "Spearman's rank correlation over all trials that reached both epochs, interval by Bonett and Wright. Trials that "
        "went on were chosen for being good: among all trials it would be higher."
    )
    return Finding("early-scores", text, basis, "early-scores")


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
