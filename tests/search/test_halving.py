"""Who goes on at a rung, who waits, and who never will."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hpo.search import halving
from hpo.search.halving import MAX_WAITING, Rungs, stored_rungs
from hpo.store.schema import LEVELS


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


@pytest.mark.parametrize(
    ("steps", "levels"),
    [(391, [1, 2, 4]), (60, [1, 2, 4]), (59, [2, 4]), (32, [2, 4]), (16, [4]), (12, [5]), (11, []), (1, [])],
    ids=["all of CIFAR-10", "just enough", "too few", "4,000 images", "2,000 images", "digits", "half is too late", "one batch"],
)
def test_no_rung_comes_before_sixty_batches_or_after_half_of_a_training(steps, levels):
    assert halving.rungs(10, steps) == levels


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 10, 99])
def test_a_study_made_before_rungs_were_stored_has_those_of_its_epochs(epochs):
    assert stored_rungs({}, epochs) == Rungs(epochs).levels
    assert stored_rungs({LEVELS: "mine"}, epochs) == Rungs(epochs).levels
    assert stored_rungs({LEVELS: [5, "2", 3, -1, 10**9, 3]}, 10) == [3, 5]


def test_at_the_end_fewer_than_three_at_a_rung_all_go_on():
    made = rungs(0.9, 0.8)
    assert made.hopeless({0, 1}, 2) == []
    assert [made.next({0, 1}, last=True), made.next({1}, last=True)] == [0, 1]
    made = rungs(0.9, 0.8, 0.7)
    assert made.next({1, 2}, last=True) is None


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
    assert made.next({0}, last=True) == 0  # one in three of two is none: they stop nobody
    assert made.hopeless({0, 1}, total=2) == []


def test_a_trial_is_hopeless_only_when_no_future_lets_it_pass():
    made = Rungs(10)
    for trial, accuracy in enumerate((0.70, 0.69)):
        made.note(trial, 4, accuracy)
    assert made.hopeless({1}, total=50) == []
    for trial in range(2, 6):
        made.note(trial, 4, 0.1)
    assert made.passes(1, 4)


def test_of_nine_trials_three_pass_a_rung_so_the_fourth_of_them_never_will():
    made = rungs(0.1, 0.2, 0.3, 0.4, 0.5)
    assert made.hopeless({0, 1, 2, 3, 4}, total=9) == [0, 1]
    assert made.hopeless({0, 1, 2, 3, 4}, total=15) == []


def test_those_that_ended_below_a_rung_come_to_it_no_more():
    made = rungs(0.1, 0.2, 0.3, 0.4, 0.5)
    made.note(4, 2, 0.1)
    made.note(3, 2, 0.2)
    made.note(6, 2, 0.3)
    assert made.hopeless({3, 4, 6}, total=12) == []
    for trial in range(3):
        made.end(trial, failed=False)
    assert made.hopeless({3, 4, 6}, total=12) == []  # six more may come: of nine, three pass
    made.note(5, 1, 0.01)
    made.end(5, failed=False)
    assert made.hopeless({3, 4, 6}, total=12) == [4]  # of eight, two


@given(st.lists(st.integers(0, 20), min_size=1, max_size=25), st.integers(0, 25), st.data())
def test_what_is_called_hopeless_never_passes(accuracies, more, data):
    """Whatever comes later, in whatever order, and though all of it is worse."""
    made = Rungs(4)  # rungs after epochs 1 and 2
    for trial, accuracy in enumerate(accuracies):
        made.note(trial, 1, accuracy / 20)
    second = data.draw(st.sets(st.sampled_from(range(len(accuracies)))))
    for trial in second:
        made.note(trial, 2, data.draw(st.integers(0, 20)) / 20)
    ended = data.draw(st.sets(st.sampled_from(range(len(accuracies)))))
    for trial in ended:
        made.end(trial, failed=False)
    waiting = set(range(len(accuracies))) - ended
    hopeless = made.hopeless(waiting, total=len(accuracies) + more)
    assume(len(waiting) <= MAX_WAITING)
    for trial in set(hopeless) & second:
        assert not made.passes(trial, 2, last=True)
    for trial in range(len(accuracies), len(accuracies) + more):
        made.note(trial, 1, -1.0)
        made.note(trial, 2, -1.0)
    for trial in waiting - second - set(hopeless):
        made.note(trial, 2, -1.0)
    assert not any(made.passes(trial, 2 if trial in second else 1, last=True) for trial in hopeless)


def test_who_does_not_compete_takes_no_place():
    made = rungs(0.5, 0.4, 0.3)
    made.note(3, 1, 0.9, competes=False)
    assert made.passes(0, 1)
    assert made.passes(3, 1)  # it would
    made.note(4, 1, 0.45, competes=False)
    assert not made.passes(4, 1)
    assert (made.unearned(3), made.unearned(4)) == (None, 1)


def test_who_failed_leaves_its_place():
    made = rungs(0.9, 0.5, 0.4, 0.3)
    assert [made.passes(trial, 1) for trial in range(4)] == [True, False, False, False]
    made.end(0, failed=True)
    assert [made.passes(trial, 1) for trial in range(1, 4)] == [True, False, False]


def test_not_more_than_a_number_wait_however_long_the_study():
    made = rungs(*(trial / 100 for trial in range(MAX_WAITING + 2)))
    assert made.hopeless(range(MAX_WAITING + 2), total=10_000) == [0, 1]
    assert made.worst({7, 3, 5}) == [3, 5, 7]
