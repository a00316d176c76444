"""The course of the search: state, last improvement, savings by pruning, whether early scores predict later ones, failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.report.findings.finding import Finding
from hpo.report.statistics import stats
from hpo.report.statistics.rungs import agreements
from hpo.report.words import MINUS, clipped, count, duration, listed, percent, points

if TYPE_CHECKING:
    from hpo.report.summary import Summary

MIN_ENDED = 10  # ended trials for a sentence about the last improvement
MIN_IN_LAST_THIRD = 10  # trials in the last third for a sentence about further trials
GOOD_AGREEMENT = 0.5  # rank correlation: agreement is good if the interval lies above, poor if it lies below
MAX_STEPS = 3  # pairs of rungs that a sentence lists
MAX_CAUSES = 4  # causes of failures that are named, the most frequent first


def state_of_study(summary: Summary) -> Finding | None:
    """Whether the study is empty, running, or without a result."""
    counts, total = summary.counts, len(summary.trials)
    if not total:
        return Finding("state", "The study has no trials yet.")
    kinds = {"in training or to be continued": counts["RUNNING"], "enqueued": counts["WAITING"]}
    open_ = [f"{n:,} {kind}" for kind, n in kinds.items() if n]
    if open_:
        text = f"The study is not over: of {count(total, 'trial')} {listed(open_)}."
        return Finding("state", text, "The other findings are about the trials that have ended so far.", "timeline")
    if summary.ended.startswith("exhausted"):
        return Finding("state", "The search is over: every point of the space has been tried.", "Each once.", "timeline")
    if summary.best is None:
        text = f"None of {count(total, 'trial')} finished: {counts['FAIL']} failed, {counts['PRUNED']} pruned."
        return Finding("state", text, "", "timeline")
    return None


def last_improvement(summary: Summary) -> Finding | None:
    """When the best trial was found, and whether more trials are likely to help, judged by the last third of the search."""
    ended = summary.trials[summary.trials["state"].isin(["COMPLETE", "PRUNED"])]
    best, n = summary.best, summary.n_scored
    if best is None or n is None or len(ended) < MIN_ENDED:
        return None
    since = int((ended.index > best).sum())
    when = f"{count(since, 'trial')} before the end" if since else "the last one"
    text = f"The best score was reached by trial {best}, {when}"
    third = ended.index[-(len(ended) // 3) :]
    before = summary.finished["value"][summary.finished.index < third[0]]
    whole = int(summary.finished.index.isin(third).sum())
    if len(third) < MIN_IN_LAST_THIRD or not whole or before.empty:
        return Finding("progress", f"{text}.", "", "history")
    gain = summary.best_value - float(before.max())
    tried = f"the last {count(len(third), 'trial')} ({whole:,} trained to the end)"
    if gain > stats.standard_error(summary.best_value, n):
        text += f"; {tried} improved it by {points(gain)}, so more trials are likely to help."
    else:
        text += f"; {tried} did not improve it beyond noise, so more trials of this kind are unlikely to help."
    basis = f"Best so far before and after trial {third[0]}; noise is one standard error on {n:,} images."
    return Finding("progress", text, basis, "history")


def pruning(summary: Summary) -> Finding | None:
    """Epochs and time saved by stopping trials early."""
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
    """Whether early ranks predict later ones, from each epoch at which trials were stopped to the next."""
    found = agreements(summary)
    if not found:
        return None
    if all(one.low >= GOOD_AGREEMENT for one in found):
        verdict = "Early scores are a good guide to later ones"
    elif any(one.high < GOOD_AGREEMENT for one in found):
        verdict = "Early scores are a poor guide to later ones, so pruning may have stopped better networks"
    else:
        verdict = "How well early scores predict later ones"
    weakest = min(found, key=lambda one: one.correlation)
    shown = found if len(found) <= MAX_STEPS else [weakest]
    parts = [
        f"from epoch {one.early} to {one.late} ranks correlate by {one.correlation:.2f} "
        f"(95\N{NO-BREAK SPACE}% interval {one.low:.2f} to {one.high:.2f}, {count(one.n, 'trial')})".replace("-", MINUS)
        for one in shown
    ]
    text = f"{verdict}: {listed(parts)}{'' if shown is found else f', the weakest of {len(found)} such pairs'}."
    basis = (
        "Spearman's rank correlation over all trials that reached both epochs, interval by Bonett and Wright. These trials "
        "continued because they were good: among all trials the correlation would be higher."
    )
    return Finding("early-scores", text, basis, "early-scores")


def failures(summary: Summary) -> Finding | None:
    """The number of failed trials, by cause."""
    failed = summary.trials[summary.trials["state"] == "FAIL"]
    if failed.empty:
        return None
    causes = failed["reason"].fillna("no cause recorded").map(lambda reason: clipped(str(reason), 80)).value_counts()
    named = [f"{times:,} {cause}" for cause, times in sorted(causes.items(), key=lambda one: (-one[1], one[0]))]
    rest = sum(causes) - sum(sorted(causes, reverse=True)[:MAX_CAUSES])
    named = named[:MAX_CAUSES] + ([f"{rest:,} with other causes"] if rest else [])
    text = f"{count(len(failed), 'trial')} of {len(summary.trials):,} failed: {listed(named)}."
    return Finding("failures", text, "", "timeline")
