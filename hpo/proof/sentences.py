"""What finalists prove, in sentences: the same on the terminal, on the page and in the dashboard's note."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo.proof.finalists import Finalist, Finalists
    from hpo.proof.intervals import Estimate
    from hpo.scoring.score import Score

ALIKE = "the same in all trainings, so seeds say nothing of how sure that is"
WORDS = {"macs": "multiply-adds", "n_parameters": "parameters"}


def sentences(found: Finalists) -> list[str]:
    """Return what was found, the most important first."""
    told = [verdict(found), simplest(found), optimism(found), failures(found), test(found)]
    return [sentence for sentence in told if sentence]


def verdict(found: Finalists) -> str:
    """Say who the winner is, and whether it can be told from the default point."""
    if found.missing:
        n = sum(len(one.scores) for one in found.finalists)
        return f"{n} of {n + found.missing} trainings of the finalists are done. Continue: hpo finalists {found.study}"
    winner, score = found.winner, found.score
    if winner is None or winner.mean is None:
        return "No finalist was trained to the end with every seed, so none is named."
    n_seeds, others = len(found.seeds), len(found.finalists) - 1
    best = f"{_capital(winner.name)} has the best mean of {n_seeds} trainings, {shown(winner.mean, score)}"
    if winner is found.default:
        return f"{best}: {'the finalist is not' if others == 1 else f'none of the {others} finalists is'} better."
    if winner.gain is None:
        return f"{best}; the default point was not trained to the end with every seed, so there is no gain."
    gain = gained(winner.gain, score)
    if found.is_told:
        return f"{best}: {gain} over the default point."
    none = "The finalist cannot" if others == 1 else f"None of the {others} finalists can"
    if any(one.gain and one.gain.excludes_zero and _is_better(one, score) for one in found.finalists[1:]):
        return f"{best}, but its gain over the default point, {gain}, is within the noise of seeds."
    return f"{none} be told from the default point. {best}: {gain} over it, within the noise of seeds."


def simplest(found: Finalists) -> str:
    """Name the simplest finalist that is about as good, where the winner is not that itself."""
    winner, one, cost = found.winner, found.simplest, found.cost
    if winner is None or one is None or cost is None:
        return ""
    share = one.costs[cost] / winner.costs[cost]
    return f"The simplest within one standard error of it is {one.name}, with {share:.0%} of its {WORDS[cost]}."


def optimism(found: Finalists) -> str:
    """Say by how much the study's own score of its best trial was better than its mean over fresh seeds."""
    one = found.chosen
    if found.missing or one is None or one.before is None or (above := one.optimism) is None:
        return ""
    score = found.score
    said = f"The study's own score of {one.name}, its best, was {score.shown(one.before)}"
    which = "above" if (above.mean > 0) else "below"
    size = score.gained(abs(above.mean)).lstrip("+")
    noise = "" if above.excludes_zero else ", within the noise of seeds"
    return f"{said}: {size} {which} its mean over fresh seeds ({between(above, score)}){noise}. Both are on the same images."


def failures(found: Finalists) -> str:
    """Name the finalists of which a training failed."""
    failed = [f"{one.n_failed} of {len(found.seeds)} trainings of {one.name} failed" for one in found.finalists if one.n_failed]
    return f"{'; '.join(failed)}: what does not always train is not named." if failed else ""


def test(found: Finalists) -> str:
    """Say what the winner scored on the test set, and which reading of it that was."""
    reading, score = found.reading, found.score
    if reading is None:
        return ""
    ends = (
        f" (95 % interval {score.shown(reading.low)} to {score.shown(reading.high)})"
        if reading.low is not None and reading.high
        else ""
    )
    n = f" of {reading.n:,} images" if reading.n else ""
    times = (
        "It was read once."
        if reading.number == 1
        else f"This is reading {reading.number} of it: a choice made after the first one is optimistic."
    )
    return f"Trained on all training images, it scores {score.shown(reading.value)}{ends} on the test set{n}. {times}"


def shown(mean: Estimate, score: Score) -> str:
    """Return `71.20% (70.10% to 72.30%)`."""
    interval = f"{score.shown(mean.low)} to {score.shown(mean.high)}" if mean.low < mean.high else ALIKE
    return f"{score.shown(mean.mean)} ({interval})"


def gained(difference: Estimate, score: Score) -> str:
    """Return `+1.20 points (+0.40 to +2.00 points)`."""
    return f"{score.gained(difference.mean)} ({between(difference, score)})"


def between(difference: Estimate, score: Score) -> str:
    """Return `+0.40 to +2.00 points`."""
    if difference.low == difference.high:
        return ALIKE
    low, high = score.gained(difference.low), score.gained(difference.high)
    unit = " points" if score.is_share else f" {score.unit}" if score.unit else ""
    return f"{low.removesuffix(unit)} to {high}"


def _is_better(one: Finalist, score: Score) -> bool:
    return one.gain is not None and score.penalty(one.gain.mean) < 0


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def briefly(found: Finalists) -> str:
    """Return the verdict in a few words, for a column."""
    if found.missing:
        return "unfinished"
    winner = found.winner
    if winner is None or winner.mean is None:
        return "none"
    told = f"{winner.name.removeprefix('the ')} {found.score.shown(winner.mean.mean)}"
    if winner is found.default:
        return told
    return told if found.is_told else f"{told}, not told from the default"
