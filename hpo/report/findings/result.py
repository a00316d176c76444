"""What was won: the best trial, against trial 0, the tutorial, its own luck, and cheaper networks that are as good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpo.report import stats
from hpo.report.findings.finding import Finding
from hpo.report.summary import TUTORIAL_IMAGES
from hpo.report.words import amount, count, duration, percent, points, points_between, score

if TYPE_CHECKING:
    from hpo.report.summary import Summary

_INTERVAL = "Wilson's 95 % interval on {n:,} images; for the difference Newcombe's, which takes the two for independent."
_ONE_SEED = "One training each: another seed moves a score too."
LEAST_SHOWN = 0.0005  # half of the last digit that a sentence shows
CHEAPER = 0.8  # a trade is worth a sentence where it costs at most so much of what the winner costs


def winner(summary: Summary) -> Finding | None:
    """The best trial, with its interval, and its gain over trial 0."""
    best, n = summary.best, summary.n_scored
    if best is None:
        return None
    text = f"Trial {best} is the best of {count(len(summary.finished), 'finished trial')}: {_value(summary)}"
    basis = _INTERVAL.format(n=n) if n else ""
    default = summary.default_value
    if len(summary.finished) == 1:
        text += ". It is the only one, so there is nothing to compare."
    elif default is None:
        text += "."
    elif best == 0:
        text += ". It is the default point: no other trial beat it."
    else:
        text += f", {_gain(summary, default)}."
        basis = f"{basis} {_ONE_SEED}".strip()
    if summary.best_was_given:
        text += " The space names this point to begin with: the search has found none that is better."
    return Finding("winner", text, basis, "history")


def _gain(summary: Summary, default: float) -> str:
    """What the winner gained over trial 0, and whether noise and the luck of the choice explain it."""
    n = summary.n_scored
    if n is None:
        return f"against {score(default, summary)} of trial 0, the default point"
    low, high = stats.difference(summary.best_value, default, n)
    luck = _luck(summary, n)[1]
    flattered = f", of which up to {100 * luck:.1f} may be the luck of the choice" if luck >= LEAST_SHOWN else ""
    gain = f"{points(summary.best_value - default)} over trial 0, the default point"
    verdict = ": within noise" if low - luck <= 0 else ""
    return f"{gain} (95 % interval {points_between(low, high)}{flattered}){verdict}"


def against_tutorial(summary: Summary) -> Finding | None:
    """The gain over the tutorial's 57 %."""
    n, tutorial = summary.n_scored, summary.tutorial
    if summary.best is None or n is None or tutorial is None:
        return None
    low, high = stats.difference(summary.best_value, tutorial, n, TUTORIAL_IMAGES)
    gain = summary.best_value - tutorial
    noise = ": within noise" if low <= 0 <= high else ""
    text = (
        f"Against the {percent(tutorial, 0)} that the tutorial's network reaches on the test set, the winner gains "
        f"{points(gain)} (95 % interval {points_between(low, high)}){noise}."
    )
    return Finding("tutorial", text, "The tutorial's figure is one training of ten epochs.", "history")


def optimism(summary: Summary) -> Finding | None:
    """What the scores were measured on, and how much of the winner's is the luck of having been chosen."""
    n, value = summary.n_scored, summary.best_value
    if summary.best is None or n is None:
        return None
    rivals, luck = _luck(summary, n)
    validation = summary.settings.get("score") == "validation"
    where = "held-out training images; the test set stayed unread" if validation else "images of the test set itself"
    text = f"The winner was chosen on {n:,} {where}. "
    if rivals == 1:
        text += "No other trial comes within noise of it, so its score is hardly flattered by the choice."
    else:
        text += (
            f"{count(rivals, 'trial')} are within noise of each other at the top, so the best of them is flattered by "
            f"up to {100 * luck:.1f} points: expect about {percent(value - luck)} on new images."
        )
    basis = (
        "Expected maximum of binomial noise over the trials within noise of the winner, as if they were equally good; "
        "an upper estimate, for all are scored on the same images."
    )
    return Finding("optimism", text, basis, "distribution")


def smaller(summary: Summary) -> Finding | None:
    """The smallest network within noise of the best."""
    return _cheaper(summary, "n_parameters", "parameters", "size")


def faster(summary: Summary) -> Finding | None:
    """The trial of the shortest training within noise of the best."""
    return _cheaper(summary, "seconds", "training time", "time")


def _cheaper(summary: Summary, cost: str, noun: str, figure: str) -> Finding | None:
    n, best = summary.n_scored, summary.best
    if best is None or n is None:
        return None
    at_best = float(summary.trials[cost][best])
    able = summary.finished[np.isfinite(summary.finished[cost])]
    as_good = able[[stats.within_noise(summary.best_value, value, n) for value in able["value"]]]
    if not at_best > 0 or as_good.empty:  # NaN is not greater
        return None
    least = int(as_good[cost].idxmin())
    saved = float(as_good[cost][least])
    if saved > CHEAPER * at_best:
        return None
    value = float(as_good["value"][least])
    shown = duration if cost == "seconds" else amount
    text = (
        f"Trial {least} is within noise of the winner ({points(value - summary.best_value)}) at "
        f"{percent(saved / at_best, 0)} of its {noun}: {shown(saved)} instead of {shown(at_best)}."
    )
    return Finding(figure, text, _INTERVAL.format(n=n), figure)


def _luck(summary: Summary, n: int) -> tuple[int, float]:
    """Return how many trials are within noise of the best, and what the best of so many equals gains by chance."""
    rivals = sum(stats.within_noise(summary.best_value, value, n) for value in summary.finished["value"])
    return rivals, stats.standard_error(summary.best_value, n) * stats.expected_maximum(rivals)


def _value(summary: Summary) -> str:
    text = score(summary.best_value, summary)
    if summary.n_scored is None:
        return text
    low, high = stats.wilson(summary.best_value, summary.n_scored)
    return f"{text} (95 % interval {percent(low)} to {percent(high)})"
