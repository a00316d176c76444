"""Who goes on at a rung, who waits, and who never will."""

from __future__ import annotations

import pytest

from hpo.search.halving import MOST, Rungs


def rungs(*accuracies: float, epochs: int = 10) -> Rungs:
    """Trials 0, 1, ... with these accuracies after their first epoch."""
    made = Rungs(epochs)
    for trial, accuracy in enumerate(accuracies):
        made.note(trial, 1, accuracy)
    return made


@pytest.mark.parametrize(
    ("epochs", "levels"), [(1, []), (2, [1]), (3, [1]), (4, [1, 2]), (10, [1, 2, 4]), (30, [3, 6, 12]), (100, [10, 20, 40])]
)
def test_rungs_are_after_a_tenth_a_fifth_and_two_fifths_of_a_training(epochs, levels):
    assert Rungs(epochs).levels == levels


def test_nobody_passes_before_there_are_three():
    assert not any(rungs(0.9, 0.8).passes(trial, 1) for trial in (0, 1))
    assert [rungs(0.8, 0.9, 0.7).passes(trial, 1) for trial in range(3)] == [False, True, False]


def test_what_is_no_number_is_worse_than_all():
    assert [rungs(float("nan"), 0.5, float("nan"), 0.4, 0.3, 0.2).passes(trial, 1) for trial in range(4)] == [
        False,
        True,
        False,
        True,
    ]


def test_between_rungs_everybody_passes():
    assert rungs(0.1, 0.2, 0.3).passes(0, 3)


def test_of_equals_the_first_passes():
    assert [rungs(0.5, 0.5, 0.5).passes(trial, 1) for trial in range(3)] == [True, False, False]


def test_the_highest_rung_comes_first_and_there_the_best():
    made = rungs(0.1, 0.2, 0.3, 0.9, 0.8, 0.7, 0.65, 0.6, 0.5)
    assert made.next({0, 1, 4, 5}) == 4
    for trial, accuracy in ((3, 0.5), (4, 0.6), (5, 0.7)):
        made.note(trial, 2, accuracy)
    assert made.next({4, 5, 6}) == 5
    assert made.next({4, 6}) is None  # 4 waits at the second rung now, and is not the best there


def test_when_no_trial_begins_any_more_the_best_at_a_rung_goes_on_however_few_came():
    made = rungs(0.1, 0.2)
    assert made.next({0, 1}) is None
    assert made.next({0, 1}, last=True) == 1
    made.note(1, 2, 0.3)
    assert made.next({0, 1}, last=True) == 1
    assert made.next({0}, last=True) is None
    assert made.hopeless({0, 1}, total=2) == [0]


def test_in_a_study_of_nine_trials_three_pass_the_first_rung_so_the_fourth_of_them_never_will():
    made = rungs(0.1, 0.2, 0.3, 0.4, 0.5)
    assert made.hopeless({0, 1, 2, 3, 4}, total=9) == [0, 1]
    assert made.hopeless({0, 1, 2, 3, 4}, total=15) == []
    made.note(4, 2, 0.1)
    made.note(3, 2, 0.2)
    assert made.hopeless({2, 3, 4}, total=9) == [4]


def test_not_more_than_a_number_wait_however_long_the_study():
    made = rungs(*(trial / 100 for trial in range(MOST + 2)))
    assert made.hopeless(range(MOST + 2), total=10_000) == [0, 1]
    assert made.worst({7, 3, 5}) == [3, 5, 7]
