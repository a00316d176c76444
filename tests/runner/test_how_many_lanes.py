"""How many trials train at once follows from what was measured: with tables of rates from an H100, and with made-up ones."""

from __future__ import annotations

import itertools
import random

import pytest

from hpo.messages import Memory
from hpo.runner.workers.lanes import ENOUGH, Lanes

# Images per second of all trials together, by their number; captured steps, one process, an H100. Where a number was not
# measured, it lies between its neighbours.
OF_64_FILTERS = {1: 133_000, 2: 185_000, 4: 225_000, 8: 252_000}
OF_32_FILTERS = {1: 153_000, 2: 208_000, 4: 283_000, 8: 384_000}  # two and four: not measured
TIME_SLICED = {1: 133_000, 2: 131_000, 4: 129_000, 8: 129_000}  # as processes are without MPS; two and eight: not measured
LARGE_BATCHES = {1: 259_000, 2: 300_000, 4: 316_000, 8: 318_000}  # 64 filters, batch 512; two and eight: not measured
NO_GAIN_ABOVE_2 = {1: 100_000, 2: 180_000, 4: 185_000, 8: 185_000}


def play(lanes: Lanes, table: dict[int, float], epochs: int = 200, *, noise: float = 0.0, length=lambda _trial: 10, memory=None):
    """Train trials of so many epochs, each sharing what the table says; return how many lanes there were after each epoch."""
    luck, found, left, new = random.Random(1), [], {}, iter(range(10**6))
    for _ in range(epochs):
        while len(left) < lanes.n:
            trial = next(new)
            left[trial] = length(trial)
            lanes.begins(trial)
        trial = luck.choice(sorted(left))
        speed = 1 if trial % 3 else 0.3  # some networks are larger
        rate = speed * table[len(left)] / len(left) * luck.uniform(1 - noise, 1 + noise) if len(left) in table else 1.0
        lanes.trained(trial, rate, len(left), memory and memory(len(left)))
        left[trial] -= 1
        if not left[trial]:
            del left[trial]
        found.append(lanes.n)
    return found


@pytest.mark.parametrize(
    ("table", "expected"),
    [(OF_64_FILTERS, 4), (OF_32_FILTERS, 8), (TIME_SLICED, 1), (LARGE_BATCHES, 2), (NO_GAIN_ABOVE_2, 2)],
)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_there_are_as_many_as_bring_something(table, expected, noise):
    found = play(Lanes(8, grows=True), table, noise=noise)
    assert found[0] == 2
    assert set(found[-50:]) == {expected}


def test_it_is_known_soon():
    found = play(Lanes(8, grows=True), OF_32_FILTERS)
    assert found.index(4) < 10
    assert found.index(8) < 40


def test_a_number_that_was_given_up_is_not_tried_again():
    found = play(Lanes(8, grows=True), OF_64_FILTERS, 400)
    changes = [found[0], *(after for before, after in itertools.pairwise(found) if after != before)]
    assert changes == [2, 4, 8, 4]


def test_a_number_that_was_asked_for_stays():
    assert set(play(Lanes(3), {3: 1000.0})) == {3}
    assert set(play(Lanes(1, grows=True), {1: 1000.0})) == {1}


def test_nothing_changes_where_no_trial_trained_before_and_after():
    assert set(play(Lanes(8, grows=True), OF_64_FILTERS, length=lambda _: 1)) == {2}
    long_then_short = play(Lanes(8, grows=True), OF_64_FILTERS, length=lambda trial: 12 if trial < 2 else 1)
    assert long_then_short[-1] in (2, 4)


def test_there_are_no_more_than_memory_allows():
    def each(gib: int):
        return lambda n: Memory(peak=n * gib * 2**30, limit=80 * 2**30)

    assert max(play(Lanes(8, grows=True), OF_32_FILTERS, memory=each(20))) == 2  # four would leave nothing
    assert max(play(Lanes(8, grows=True), OF_32_FILTERS, memory=each(10))) == 4
    assert max(play(Lanes(8, grows=True), OF_32_FILTERS, memory=each(8))) == 8


def test_a_trials_first_epoch_and_one_in_which_the_number_changed_do_not_count():
    lanes = Lanes(8, grows=True)
    for trial in (0, 1):
        lanes.begins(trial)
        assert not lanes.trained(trial, 1.0, 2)
    for _ in range(ENOUGH - 1):
        assert not lanes.trained(0, 90.0, 2)
    assert lanes.trained(0, 90.0, 2)
    assert lanes.n == 4
    lanes.begins(2)
    lanes.begins(3)
    assert not lanes.trained(0, 80.0, 4)  # half of it was trained beside one other
    assert not lanes.trained(0, 57.0, 4)
    assert not lanes.trained(0, 57.0, 3)  # one has ended, and the next is not yet there
    assert lanes.gain(2) is None


def test_epochs_of_trials_that_nobody_counts_the_images_of_say_nothing():
    lanes = Lanes(8, grows=True)
    lanes.begins(0)
    assert not any(lanes.trained(0, 0.0, 2) for _ in range(20))


def test_what_it_knows_is_said_in_words():
    lanes = Lanes(8, grows=True)
    assert lanes.reason == "to see what they bring"
    play(lanes, NO_GAIN_ABOVE_2)
    assert lanes.reason == "2 are 1.80 times as fast as 1, 4 are 1.03 times as fast as 2"
