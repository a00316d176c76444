"""Who is to blame when processes die: counted by trial, by process, and for the run."""

from __future__ import annotations

import pytest

from hpo.runner.mishaps import DEATHS_IN_A_ROW, TRIAL_DEATHS, Mishaps


def test_the_death_of_a_process_with_several_trials_counts_against_none():
    mishaps = Mishaps(1)
    mishaps.died(0, [1, 2, 3])
    assert not any(mishaps.alone(trial) or mishaps.deadly(trial) for trial in (1, 2, 3))
    assert mishaps.killed_on(1) is None


def test_who_was_there_at_two_such_deaths_trains_alone_until_it_has_finished_an_epoch():
    mishaps = Mishaps(2)
    mishaps.died(0, [1, 2, 3])
    mishaps.trained(0, 3)  # which says nothing about it: it may be the next epoch that kills
    mishaps.died(1, [3, 4])
    assert [trial for trial in range(6) if mishaps.alone(trial)] == [3]
    mishaps.trained(1, 3)
    assert not mishaps.alone(3)
    mishaps.died(0, [3, 5])
    assert not mishaps.alone(3)


def test_deaths_alone_count_and_the_third_is_the_last():
    mishaps = Mishaps(1)
    mishaps.died(0, [1, 2])
    mishaps.died(0, [1, 2])
    for n in range(TRIAL_DEATHS):
        assert not mishaps.deadly(1)
        assert mishaps.alone(1)
        assert mishaps.killed_on(1) == (0 if n else None)
        mishaps.died(0, [1])
    assert mishaps.deadly(1)
    assert not mishaps.deadly(2)


def test_a_trial_that_had_too_little_memory_beside_others_trains_alone_to_its_end():
    mishaps = Mishaps(1)
    mishaps.crowded(1)
    mishaps.trained(0, 1)
    assert mishaps.alone(1)


def test_the_trial_in_which_a_device_was_lost_trains_alone_at_once():
    mishaps = Mishaps(1)
    mishaps.suspect(1)
    mishaps.died(0, [1, 2])
    assert mishaps.alone(1)
    assert not mishaps.alone(2)


@pytest.mark.parametrize("alone", [0, 1, 3])
def test_deaths_that_one_trial_may_have_caused_count_once_against_process_and_run(alone):
    mishaps = Mishaps(1)
    for beside in range(2, 2 + DEATHS_IN_A_ROW):
        mishaps.died(0, [1, beside, 100 + beside])
    for _ in range(alone):
        mishaps.died(0, [1])
    assert not mishaps.lost(0)
    assert mishaps.too_many_deaths("killed") == ""


def test_deaths_that_no_one_trial_can_have_caused_stop_the_run():
    mishaps = Mishaps(1)
    for n in range(DEATHS_IN_A_ROW):
        assert not mishaps.lost(0)
        mishaps.died(0, [2 * n, 2 * n + 1])
    assert mishaps.lost(0)
    assert mishaps.too_many_deaths("killed").startswith("deaths: workers died 5 times in a row")
