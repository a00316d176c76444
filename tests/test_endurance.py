"""The short form of endurance.py."""

from __future__ import annotations

import pytest
from endurance import Sample, flat, long_run, orphans, reader, runners
from survival import new_hpo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def hpo(tmp_path_factory):
    program = new_hpo(tmp_path_factory.mktemp("endurance"), tmp_path_factory.mktemp("cache"))
    yield program
    program.close()


def test_a_second_runner_is_refused_and_the_first_goes_on(hpo):
    assert runners(hpo, times=2) == []


def test_no_process_outlives_a_runner_that_is_killed(hpo):
    found, seconds = orphans(hpo, times=3)
    assert found == []
    assert len(seconds) == 3


def test_a_run_waits_for_a_reader_says_so_after_five_seconds_and_loses_nothing(hpo):
    found, said_after = reader(hpo, seconds=9)
    assert found == []
    assert 4.5 < said_after < 9


def test_a_runner_does_not_grow_with_its_trials(hpo):
    found, line = flat(long_run(hpo, trials=60), trials=60)
    assert found == [], line


def test_growth_would_be_found():
    leaking = [Sample(n, 10**8 + n * 2**18, 20 + n // 50, 5) for n in range(1, 1000)]
    found, _ = flat(leaking, 1000)
    assert [text.split()[0] for text in found] == ["descriptors", "memory"]
