"""What the winner is worth on new images, and what it gained over another trial: intervals that know that it was chosen.

The best of N scores is too high by the luck of having been the best. `Choice` holds by how much, and how much noise is left; the
intervals are moved and scaled by that. Where it is known which images each trial got right, trials are compared on the same
images; a study without (of an older hpo, or whose files are gone) gets the wider intervals of independent samples, extended
downwards by the luck.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpo.report import stats

if TYPE_CHECKING:
    from hpo.report.summary import Summary

TOP = 32  # best trials whose answers tell how much noise trials share
MARGIN = (
    0.005  # of accuracy: about what another training seed moves it (standard deviation 0.2 points on CIFAR-10, twice and more)
)
ONE_SIDED = 1.645  # 95 %


class Choice(NamedTuple):
    """What having been chosen means for the winner's score.

    Attributes:
        rivals: Trials within noise of the winner's score, itself included: each could have won by chance.
        luck: By how much the score is probably too high.
        shared: Variance that the scored images, as a sample, give all trials alike.
        own: Variance of one trial's score beside that.
        left: What is left of the winner's own after allowing for the choice.
        centre, pull: Where, and how far, luck lets scores near the top fall on new images: as in `stats.Luck`.
        paired: Whether all that is known from the trials' answers; else `shared` is 0.
    """

    rivals: int
    luck: float
    shared: float
    own: float
    left: float
    centre: float
    pull: float
    paired: bool


class Gain(NamedTuple):
    """What the winner gained over another trial.

    Attributes:
        points: As measured.
        low, high: 95 % interval of what it is on new images.
        paired: Whether the two were compared image by image.
    """

    points: float
    low: float
    high: float
    paired: bool

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds zero."""
        return self.low <= 0 <= self.high


def choose(summary: Summary) -> Choice | None:
    """Return what the choice of the winner means; None where scores are no counts of images."""
    n, best = summary.n_scored, summary.best
    if n is None or best is None:
        return None
    values = summary.finished["value"].to_numpy(dtype=np.float64)
    known = _noise(summary, best)
    shared, own = known or (0.0, stats.standard_error(summary.best_value, n) ** 2)
    rivals = int((values >= values.max() - stats.Z * math.sqrt(2 * own)).sum())
    owed = stats.luck(values, own)
    return Choice(rivals, owed.points, shared, own, owed.left, owed.centre, owed.pull, known is not None)


def _noise(summary: Summary, best: int) -> tuple[float, float] | None:
    """Return `stats.noise` of the trials near the top, for much worse ones err on other images; None where it is not known."""
    top = [int(number) for number in summary.finished["value"].nlargest(TOP).index]
    known = {number: bits for number in top if (bits := summary.answers(number)) is not None}
    if len(known) < 2 or best not in known:
        return None
    while True:
        shared, own = stats.noise(np.array(list(known.values())))
        far = [n for n in known if summary.best_value - summary.trials["value"][n] > stats.WINDOW * math.sqrt(own)]
        if not far or len(known) - len(far) < 2:
            return shared, own
        known = {number: bits for number, bits in known.items() if number not in far}


def accuracy(summary: Summary) -> tuple[float, float] | None:
    """Return the 95 % interval of the winner's accuracy on new images; None where scores are no counts of images."""
    n, choice = summary.n_scored, summary.choice
    if n is None or choice is None:
        return None
    if not choice.paired:
        low, high = stats.wilson(summary.best_value, n)
        return max(0.0, low - choice.luck), high
    images = n * (choice.shared + choice.own) / (choice.shared + choice.left)  # as if it had been counted on so many
    return stats.wilson(min(1.0, max(0.0, summary.best_value - choice.luck)), images)


def over(summary: Summary, other: int) -> Gain | None:
    """Return the winner's gain over a trial that was not chosen for its score; None where scores are no counts of images."""
    n, choice = summary.n_scored, summary.choice
    if n is None or choice is None:
        return None
    value = float(summary.trials["value"][other])
    points = summary.best_value - value
    both = _compared(summary, other)
    if both is None:
        low, high = stats.difference(summary.best_value, value, n)
        return Gain(points, low - choice.luck, high, paired=False)
    gain, variance = both
    own = min(choice.own, variance) if choice.paired else choice.left  # one that nothing can be said of keeps its noise
    middle, half = gain - choice.luck, stats.Z * math.sqrt(variance - own + choice.left)
    return Gain(points, middle - half, middle + half, paired=True)


def between(summary: Summary, first: Summary) -> Gain | None:
    """Return the gain of a study's winner over another study's, both scored on the same images and each chosen among its own.

    None where scores are no counts of images.
    """
    if summary.choice is None or first.choice is None or summary.n_scored is None or summary.n_scored != first.n_scored:
        return None
    points, lucky, unlucky = summary.best_value - first.best_value, summary.choice, first.choice
    a, b = (one.answers(one.best) if one.best is not None else None for one in (summary, first))
    if a is None or b is None or not (lucky.paired and unlucky.paired):
        low, high = stats.difference(summary.best_value, first.best_value, summary.n_scored)
        return Gain(points, low - lucky.luck, high + unlucky.luck, paired=False)
    gain, variance = stats.paired(int((a & ~b).sum()), int((b & ~a).sum()), summary.n_scored)
    left = variance - min(lucky.own + unlucky.own, variance) + lucky.left + unlucky.left
    middle, half = gain - lucky.luck + unlucky.luck, stats.Z * math.sqrt(left)
    return Gain(points, middle - half, middle + half, paired=True)


def as_good(summary: Summary, other: int) -> bool:
    """Say whether a trial is at most `MARGIN` worse than the winner: shown, not only not refuted (one-sided 95 %).

    The other one was chosen too, for it looks as good: so luck is taken from both.
    """
    both, choice = _compared(summary, other), summary.choice
    if both is None or choice is None or not choice.paired:
        return False
    gain, variance = both
    lucky = max(0.0, choice.pull * (float(summary.trials["value"][other]) - choice.centre))
    left = variance - min(2 * choice.own, variance) + 2 * choice.left
    return gain - choice.luck + lucky + ONE_SIDED * math.sqrt(left) < MARGIN


def _compared(summary: Summary, other: int) -> tuple[float, float] | None:
    """Return the winner's gain and its variance from the two trials' answers, without regard to the choice; None without them."""
    n, best = summary.n_scored, summary.best
    first = None if best is None else summary.answers(best)
    second = summary.answers(other)
    if n is None or first is None or second is None:
        return None
    return stats.paired(int((first & ~second).sum()), int((second & ~first).sum()), n)
