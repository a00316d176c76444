"""The short form of survival.py: a few random kills, and a kill at every failpoint of the runner."""

import pytest
from running import Hpo
from survival import POINTS, RUN, campaign


@pytest.fixture(scope="module")
def hpo(tmp_path_factory):
    program = Hpo(tmp_path_factory.mktemp("survival"), tmp_path_factory.mktemp("cache"))
    yield program
    program.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_lost_by_random_kills(hpo, workers):
    outcome = campaign(hpo, f"random-{workers}", workers=workers, kills=4, seed=workers)
    assert outcome.violations == []
    assert outcome.kills >= 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_by_a_kill_at_any_failpoint_and_the_search_is_that_of_an_undisturbed_run(hpo):
    outcome = campaign(hpo, "points", workers=1, kills=0, seed=0, points=POINTS)
    assert outcome.violations == []
    hpo("run", "calm", "--workers", 1, "--trials", outcome.record.n_finished, *RUN[2:])
    assert outcome.params() == [trial.params for trial in hpo.study("calm").trials]
