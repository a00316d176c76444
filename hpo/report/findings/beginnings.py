"""What trained weights bring: the best network that began with them against the best that was trained from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.report.findings.finding import Finding
from hpo.report.statistics import gains
from hpo.report.words import count, points, points_between, score
from hpo.store.own import best_first

if TYPE_CHECKING:
    import pandas as pd

    from hpo.report.summary import Summary

KNOB = "pretrained"


def weights(summary: Summary) -> Finding | None:
    """The gain of trained weights over training from scratch, of the same network by the same search."""
    best = summary.best
    if best is None or not summary.objective.weights or KNOB not in summary.params:
        return None
    chosen = summary.params[KNOB][summary.finished.index]
    begun, scratch = (summary.finished[chosen == which] for which in (True, False))
    if not len(begun) or not len(scratch):
        return None
    tried = f"{count(len(begun), 'finished trial')} began with them, {len(scratch)} from scratch."
    basis = f"The best of each kind is compared. {tried} The network is the same, and so are images, epochs and search."
    if best not in begun.index:
        other = _best(summary, begun)
        text = f"Trained weights bring nothing here: trial {other}, the best that began with them, has {_value(summary, other)}"
        return Finding("weights", f"{text}, and the winner was trained from scratch.", basis, "history")
    other = _best(summary, scratch)
    gain = gains.over(summary, other)
    against = f"over trial {other}, the best network trained from scratch ({_value(summary, other)})"
    if gain is None:
        return Finding("weights", f"Trained weights win {against}.", basis, "history")
    noise = ": within noise" if gain.within_noise else ""
    interval = f"95\N{NO-BREAK SPACE}% interval {points_between(gain.low, gain.high)}"
    return Finding("weights", f"Trained weights bring {points(gain.points)} {against} ({interval}){noise}.", basis, "history")


def _best(summary: Summary, some: pd.DataFrame) -> int:
    return best_first(zip(some.index.tolist(), some["value"].tolist(), strict=True), maximize=summary.maximize)[0]


def _value(summary: Summary, number: int) -> str:
    return score(float(summary.trials["value"][number]), summary)
