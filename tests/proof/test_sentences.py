"""What finalists prove is said with as much certainty as there is, and no more."""

from __future__ import annotations

from hpo.proof.finalists import Finalist, Finalists
from hpo.proof.intervals import estimate
from hpo.proof.sentences import optimism, verdict
from hpo.scoring.score import Score
from hpo.store.repetitions import Entry

SHARE = Score("accuracy", "share")


def compared(default, *others, before=0.9):
    """Return finalists by their scores."""
    seeds = tuple(range(len(default)))

    def finalist(scores, role, trial):
        gain = estimate([a - b for a, b in zip(scores, default, strict=True)], len(others)) if role == "finalist" else None
        entry = Entry(role=role, point={"lr": 0.1 * (trial + 1)}, trial=trial)
        return Finalist(entry, dict(zip(seeds, scores, strict=True)), 0, {}, before, gain)

    every = (finalist(default, "default", 0), *(finalist(scores, "finalist", i + 1) for i, scores in enumerate(others)))
    return Finalists("s", "s.finalists", SHARE, 3, seeds, every, best=0)


def test_the_default_that_is_best_is_said_to_be():
    assert verdict(compared((0.8, 0.82), (0.7, 0.71))).endswith(": the finalist is not better.")
    assert verdict(compared((0.8, 0.82), (0.7, 0.71), (0.6, 0.61))).endswith(": none of the 2 finalists is better.")


def test_trainings_that_came_out_the_same_have_no_interval_that_looks_certain():
    said = compared((0.8, 0.8), (0.7, 0.72))
    assert "80.00% (the same in all trainings, so seeds say nothing of how sure that is)" in verdict(said)
    assert "80.00% to 80.00%" not in verdict(said)
    assert "+10.00 to +10.00" not in optimism(said)
