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
    def samples(memory, descriptors, n_threads=5):
        return [Sample(n, 70 * 2**20 + memory(n), descriptors(n), n_threads) for n in range(1, 1000)]

    assert flat(samples(lambda n: n * 2000, lambda _: 11), 1000)[0] == []
    ill = samples(lambda n: n * 2**14, lambda n: 11 + n // 400)
    assert [text.split()[0] for text in flat(ill, 1000)[0]] == ["descriptors", "memory"]
    assert flat(samples(lambda n: (n > 300) * 2**25, lambda _: 11), 1000)[0] != []  # nor may it grow once and for all
    leaking = [Sample(n, 70 * 2**20 + n * 2**17, 11, 5) for n in range(1, 60)]  # a checkpoint a trial
    assert [text.split()[0] for text in flat(leaking, 60)[0]] == ["memory"]
