"""The short form of survival.py: a few random kills, and a kill at every failpoint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from survival import ASKING, ELSEWHERE, OBJECTIVE_POINTS, POINTS, Campaign, compare, failpoints, new_hpo, random_kills

import hpo as package


@pytest.fixture(scope="module")
def hpo(tmp_path_factory):
    program = new_hpo(tmp_path_factory.mktemp("survival"), tmp_path_factory.mktemp("cache"))
    yield program
    program.close()


def test_every_failpoint_of_the_code_has_its_turn():
    text = "".join(path.read_text() for path in Path(package.__file__).parent.rglob("*.py"))
    assert sorted(POINTS + ASKING + ELSEWHERE) == sorted(set(re.findall(r'\breach\("([a-z.]+)"\)', text)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_by_random_kills(hpo):
    campaign = random_kills(Campaign(hpo, "random", workers=2), kills=4, seed=0)
    assert campaign.violations == []
    assert campaign.kills == 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_of_trials_that_share_a_process_is_lost_by_random_kills_and_they_come_out_as_alone(hpo):
    campaign = random_kills(Campaign(hpo, "lanes", workers=1, what="lanes", lanes=3), kills=4, seed=2)
    assert campaign.violations == []
    assert campaign.kills == 4
    assert campaign.results == campaign.undisturbed().results


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ["train", "command", "optuna"])
def test_nothing_of_ones_own_code_is_lost_by_random_kills(hpo, what):
    campaign = random_kills(Campaign(hpo, what, workers=1, what=what), kills=4, seed=1)
    assert campaign.violations == []
    assert campaign.results == campaign.undisturbed().results


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_optuna_objective_is_given_the_same_answers_after_a_kill_at_any_point_of_its_questions(hpo):
    campaign = Campaign(hpo, "asking", workers=1, storage="studies/asking.db", what="optuna")
    failpoints(campaign, OBJECTIVE_POINTS, seed=0)
    assert campaign.violations == []
    assert campaign.kills == len(OBJECTIVE_POINTS)
    assert campaign.results == campaign.undisturbed().results


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_by_a_kill_at_any_failpoint_and_the_search_is_that_of_an_undisturbed_run(hpo):
    campaign = failpoints(Campaign(hpo, "points", workers=1, storage="studies/points.db"), POINTS, seed=0)
    assert campaign.violations == []
    assert campaign.kills == len(POINTS)
    assert campaign.results == campaign.undisturbed().results
    assert compare(campaign.record, "trial 0 epoch 1/3: 1.23%\ntrial 1 complete 99.99%", campaign.total + 1) != []
