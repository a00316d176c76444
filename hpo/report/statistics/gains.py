"""The winner's accuracy on new images, and its gain over another trial: intervals that account for the selection.

The best of N scores is optimistic, because it was chosen for being the best. `Choice` estimates by how much, and how much
noise remains; the intervals are shifted and scaled accordingly. Where it is known which images each trial got right, trials
are compared on the same images. A study without these records (of an older hpo, or whose files are gone) gets the wider
intervals of independent samples, extended downwards by the optimism.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpo.report.statistics import resampling, stats

if TYPE_CHECKING:
    from hpo.report.summary import Summary

TOP_TRIALS = 32  # best trials whose answers are used to estimate the noise that trials share
MARGIN = 0.005  # of accuracy: about the effect of another training seed (standard deviation 0.2 points on CIFAR-10, or more)
ONE_SIDED = 1.645  # 95 %


class Choice(NamedTuple):
    """How the selection of the winner affects its score.

    Attributes:
        rivals: Number of trials within noise of the winner's score, the winner included: each could have won by chance.
        luck: By how much the score is probably too high.
        shared: Variance due to the sample of scored images, common to all trials.
        own: Remaining variance of one trial's score.
        left: The winner's own variance after accounting for the selection.
        centre, pull: As in `stats.Luck`: to which value, and by which part, scores near the top regress on new images.
        paired: Whether these were estimated from the trials' answers; otherwise `shared` is 0.
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
    """The winner's gain over another trial.

    Attributes:
        points: The measured difference.
        low, high: 95 % interval of the difference on new images.
        paired: Whether the two were compared image by image.
    """

    points: float
    low: float
    high: float
    paired: bool

    @property
    def within_noise(self) -> bool:
        """Whether the interval contains zero."""
        return self.low <= 0 <= self.high


def choose(summary: Summary) -> Choice | None:
    """Estimate how the selection affects the winner's score; None where scores are not counts of images."""
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
    """Return `stats.noise` of the trials near the top, since much worse trials err on other images; None if unknown."""
    top = [int(number) for number in summary.finished["value"].nlargest(TOP_TRIALS).index]
    known = {number: bits for number in top if (bits := summary.answers(number)) is not None}
    if len(known) < 2 or best not in known:
        return None
    while True:
        shared, own = stats.noise(np.array(list(known.values())))
        far = [n for n in known if summary.best_value - summary.trials["value"][n] > stats.WINDOW * math.sqrt(own)]
        if not far or len(known) - len(far) < 2:
            return shared, own
        known = {number: bits for number, bits in known.items() if number not in far}


def interval(summary: Summary) -> tuple[float, float] | None:
    """Return the 95 % interval of the winner's score on new images; None where it is unknown.

    A score that counts classes is resampled, and its interval does not account for the selection.
    """
    n, choice = summary.n_scored, summary.choice
    if n is None or choice is None:
        return summary.resampled
    if not choice.paired:
        low, high = stats.wilson(summary.best_value, n)
        return max(0.0, low - choice.luck), high
    images = n * (choice.shared + choice.own) / (choice.shared + choice.left)  # effective number of images
    return stats.wilson(min(1.0, max(0.0, summary.best_value - choice.luck)), images)


def over(summary: Summary, other: int) -> Gain | None:
    """Return the winner's gain over a trial that was not selected by its score; None where its interval is not known.

    A score that counts classes is resampled, and its interval does not account for the selection of the winner.
    """
    n, choice = summary.n_scored, summary.choice
    value = float(summary.trials["value"][other])
    points = summary.best_value - value
    if n is None or choice is None:
        ends = resampling.gain(summary, other)
        return Gain(points, *ends, paired=True) if ends else None
    both = _compared(summary, other)
    if both is None:
        low, high = stats.difference(summary.best_value, value, n)
        return Gain(points, low - choice.luck, high, paired=False)
    gain, variance = both
    own = min(choice.own, variance) if choice.paired else choice.left  # without answers the winner keeps all its noise
    middle, half = gain - choice.luck, stats.Z * math.sqrt(variance - own + choice.left)
    return Gain(points, middle - half, middle + half, paired=True)


def between(summary: Summary, first: Summary) -> Gain | None:
    """Return the gain of one study's winner over another's: scored on the same images, each selected in its own study.

    None where scores are not counts of images.
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
    """Whether a trial is shown to be at most `MARGIN` worse than the winner (equivalence, one-sided 95 %).

    The other trial was selected too, because it looks as good: so both scores are corrected for luck.
    """
    both, choice = _compared(summary, other), summary.choice
    if both is None or choice is None or not choice.paired:
        return False
    gain, variance = both
    lucky = max(0.0, choice.pull * (float(summary.trials["value"][other]) - choice.centre))
    left = variance - min(2 * choice.own, variance) + 2 * choice.left
    return gain - choice.luck + lucky + ONE_SIDED * math.sqrt(left) < MARGIN


def _compared(summary: Summary, other: int) -> tuple[float, float] | None:
    """Return the winner's gain and its variance from the two trials' answers, ignoring the selection; None without answers."""
    n, best = summary.n_scored, summary.best
    first = None if best is None else summary.answers(best)
    second = summary.answers(other)
    if n is None or first is None or second is None:
        return None
    return stats.paired(int((first & ~second).sum()), int((second & ~first).sum()), n)
