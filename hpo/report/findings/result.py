"""The result: the best trial against trial 0, the starting points and the tutorial; its optimism; cheaper equivalents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hpo.report.findings.finding import Finding
from hpo.report.statistics import gains, stats
from hpo.report.statistics.resampling import RESAMPLES
from hpo.report.summary import TUTORIAL_IMAGES
from hpo.report.words import amount, count, duration, percent, points, points_between, score
from hpo.scoring.classes import of_environment
from hpo.settings import METRICS

if TYPE_CHECKING:
    from hpo.report.statistics.gains import Choice, Gain
    from hpo.report.summary import Summary

_95 = "95\N{NO-BREAK SPACE}%"
_PAIRED = _95 + " intervals from {n:,} images; trials are compared image by image."
_UNPAIRED = (
    "Wilson's " + _95 + " interval on {n:,} images. For differences Newcombe's, which assumes independent scores and is too "
    "wide: this study does not record which images each trial got right."
)
_RESAMPLED = (
    f"Bootstrap: the middle {_95} of {RESAMPLES:,} samples of the answers, class by class; a gain is that on the same images. "
    "An interval does not account for the selection of the winner by its score."
)
_CHOSEN = "The intervals account for the selection of the winner by its score."
_ONE_SEED = "Each network was trained once: another seed changes a score, too."
_FOUND_NONE = "the search found nothing better"
MIN_LUCK = 0.0005  # half of the last digit that a sentence shows
MAX_COST_SHARE = 0.8  # of the winner's cost, for a sentence about a cheaper trial
N_CANDIDATES = 64  # best trials among which a cheaper one is searched


def winner(summary: Summary) -> Finding | None:
    """The best trial with its interval, and its gain over trial 0 and over the best starting point of the space."""
    best = summary.best
    if best is None:
        return None
    text = f"Trial {best} is the best of {count(len(summary.finished), 'finished trial')}: {_value(summary)}"
    default = summary.default_value
    if len(summary.finished) == 1:
        return Finding("winner", f"{text}. It is the only one, so there is nothing to compare.", _basis(summary), "history")
    if best == 0 and default is not None:
        text += ". It is the default point: no other trial beat it."
    elif default is None:
        text += f".{_over_named(summary)}"
    else:
        text += f", {_over_default(summary, default)}.{_over_named(summary)}"
    return Finding("winner", text, _basis(summary), "history")


def _over_default(summary: Summary, default: float) -> str:
    gain = gains.over(summary, 0)
    if gain is None:
        return f"against {score(default, summary)} of trial 0, the default point"
    only = ", the best starting point of the space" if summary.best_named == 0 and summary.space.get("starts") else ""
    told = f"{points(gain.points)} over trial 0, the default point{only} ({_interval(gain)})"
    if not gain.within_noise:
        return told
    return f"{told}: within noise" + (f", so {_FOUND_NONE}" if summary.best_named == 0 else "")


def _over_named(summary: Summary) -> str:
    """The gain over the best starting point of the space, if that is not the default point."""
    named, best = summary.best_named, summary.best
    if named in (None, 0):
        return ""
    if named == best:
        return f" The space gave this starting point; {_FOUND_NONE}."
    value = score(float(summary.trials["value"][named]), summary)
    gain = gains.over(summary, named)
    if gain is None:
        return f" The best starting point of the space, trial {named}, has {value}."
    noise = f": within noise, so {_FOUND_NONE}" if gain.within_noise else ""
    over = f"{points(gain.points)} over the best starting point of the space, trial {named} with {value}"
    return f" It gains {over} ({_interval(gain)}){noise}."


def _interval(gain: Gain) -> str:
    return f"{_95} interval {points_between(gain.low, gain.high)}"


def _basis(summary: Summary) -> str:
    n, choice = summary.n_scored, summary.choice
    if n is None or choice is None:
        return f"{_RESAMPLED} {_ONE_SEED}" if summary.resampled else ""
    if len(summary.finished) == 1:
        return f"Wilson's {_95} interval on {n:,} images."
    return " ".join([(_PAIRED if choice.paired else _UNPAIRED).format(n=n), _CHOSEN, _ONE_SEED])


def against_tutorial(summary: Summary) -> Finding | None:
    """The gain over the tutorial's 57 %."""
    n, tutorial = summary.n_scored, summary.tutorial
    if summary.best is None or n is None or tutorial is None:
        return None
    ends, (least, most) = gains.interval(summary), stats.wilson(tutorial, TUTORIAL_IMAGES)
    if ends is None:
        return None
    middle, half = (ends[0] + ends[1]) / 2 - tutorial, math.hypot(ends[1] - ends[0], most - least) / 2
    low, high = middle - half, middle + half
    gain = summary.best_value - tutorial
    noise = ": within noise" if low <= 0 <= high else ""
    text = (
        f"Against the {percent(tutorial, 0)} that the tutorial's network reaches on the test set, the winner gains "
        f"{points(gain)} ({_95} interval {points_between(low, high)}){noise}."
    )
    return Finding("tutorial", text, "The tutorial's accuracy is that of one training over ten epochs.", "history")


def optimism(summary: Summary) -> Finding | None:
    """The images that scores were measured on, and how optimistic the winner's score is because of its selection."""
    n, choice = summary.n_scored, summary.choice
    if n is None or choice is None:
        return _optimism_of_classes(summary)
    validation = summary.settings.get("score") == "validation"
    where = "held-out training images; the test set stayed unread" if validation else "images of the test set itself"
    if len(summary.finished) == 1:
        return Finding("optimism", f"The only finished trial was scored on {n:,} {where}.", "", "distribution")
    text = f"The winner was chosen on {n:,} {where}. {_by_chance(summary, choice)}"
    basis = "A hierarchical model of the finished trials' scores: true qualities with an unknown spread, and noise " + (
        "estimated from the trials' answers." if choice.paired else "as if each trial were scored on other images."
    )
    return Finding("optimism", text, basis, "distribution")


def _optimism_of_classes(summary: Summary) -> Finding | None:
    """Say that a winner by a score that counts classes was chosen by it: by how much it is too high has no formula."""
    if summary.best is None or len(summary.finished) < 2 or not summary.counts_classes:
        return None
    validation = summary.settings.get("score") == "validation"
    where = "held-out training images; the test set stayed unread" if validation else "the images of the test set itself"
    text = f"The winner was chosen on {where}, so its {summary.score_name} is optimistic."
    return Finding("optimism", text, f"By how much is not estimated for {summary.score_name}.", "distribution")


def imbalance(summary: Summary) -> Finding | None:
    """Classes of unequal frequency, and what guessing would be worth."""
    found = of_environment(summary.environment)
    if found is None or not found.unequal:
        return None
    text = f"The classes are unequally frequent: {found.said()}. "
    if summary.counts_classes:
        guess = 1 / sum(n > 0 for n in found.scored)
        text += f"By {summary.score_name} each class counts as much"
        text += f"; always naming one class has {percent(guess)}." if summary.score_name == METRICS[1] else "."
    else:
        text += f"Always naming the most frequent one has an accuracy of {percent(found.majority)} on the scored images."
    return Finding("classes", text, "Counted in the images of this study.", "classes")


def _by_chance(summary: Summary, choice: Choice) -> str:
    """Say how many trials could have won by chance, and how optimistic the winner's score therefore is."""
    rivals = choice.rivals
    near = f"{count(rivals, 'trial')} are" if rivals > 1 else "No other trial is"
    near += f" close enough to {'the top' if rivals > 1 else 'it'} to have won by chance"
    if choice.luck < MIN_LUCK:
        return f"{near}, but they are so similar that the winner's score is hardly optimistic." if rivals > 1 else f"{near}."
    about = "about" if choice.paired else "up to"
    whose = ", so the winner's" if rivals > 1 else "; its"
    so = f"{whose} score is probably optimistic by {about} {100 * choice.luck:.1f}\N{NO-BREAK SPACE}points"
    return f"{near}{so}: expect about {percent(summary.best_value - choice.luck)} on new images."


def smaller(summary: Summary) -> Finding | None:
    """The smallest network that is equivalent to the best."""
    return _cheaper(summary, "n_parameters", "parameters", "size")


def faster(summary: Summary) -> Finding | None:
    """The shortest training whose network is equivalent to the best."""
    return _cheaper(summary, "seconds", "training time", "time")


def _cheaper(summary: Summary, cost: str, noun: str, figure: str) -> Finding | None:
    best = summary.best
    if best is None or summary.choice is None:
        return None
    at_best = float(summary.trials[cost][best])
    able = summary.finished.nlargest(N_CANDIDATES, "value")
    able = able[np.isfinite(able[cost]) & (able[cost] <= MAX_COST_SHARE * at_best)].sort_values(cost, kind="stable")
    least = next((int(number) for number in able.index if gains.as_good(summary, int(number))), None)
    if not at_best > 0 or least is None:  # NaN is not greater
        return None
    saved, value = float(able[cost][least]), float(able["value"][least])
    shown = duration if cost == "seconds" else amount
    margin = f"{100 * gains.MARGIN:.1f}\N{NO-BREAK SPACE}points"
    text = (
        f"Trial {least} is as good as the winner, to within {margin} ({points(value - summary.best_value)} measured), "
        f"at {percent(saved / at_best, 0)} of its {noun}: {shown(saved)} instead of {shown(at_best)}."
    )
    basis = (
        f"Shown to be at most {margin} worse on new images (one-sided {_95}, compared image by image). "
        "Another training seed changes a score by about as much."
    )
    return Finding(figure, text, basis, figure)


def _value(summary: Summary) -> str:
    text, ends = score(summary.best_value, summary), gains.interval(summary)
    return text if ends is None else f"{text} ({_95} interval {percent(ends[0])} to {percent(ends[1])})"
