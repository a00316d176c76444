"""Samplers and pruners are Optuna's, by name; a study's suggestions follow from its seed and its history alone."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from hpo.builtin.convnet import OBJECTIVE
from hpo.search.pruning import make_pruner
from hpo.search.samplers import STARTUP_TRIALS, FlatTPE, derived_seed, make_sampler
from hpo.search_space import SearchSpace
from hpo.settings import PRUNERS, SAMPLERS, Settings
from hpo.store.schema import distributions, experimental

SAMPLER_CLASSES = {"tpe": "TPESampler", "random": "RandomSampler", "qmc": "QMCSampler"}
PRUNER_CLASSES = {
    "halving": "NopPruner",  # hpo's own
    "median": "MedianPruner",
    "hyperband": "HyperbandPruner",
    "none": "NopPruner",
}


def test_every_name_is_known_to_these_tests():
    assert {*SAMPLER_CLASSES, "gp"} == set(SAMPLERS)
    assert set(PRUNER_CLASSES) == set(PRUNERS)


@pytest.mark.parametrize("name", [*SAMPLER_CLASSES, pytest.param("gp", marks=pytest.mark.slow)])
def test_a_samplers_name_is_optunas_sampler(name):
    with experimental():
        sampler = make_sampler(Settings(sampler=name), {}, 0)
    assert isinstance(sampler, getattr(optuna.samplers, SAMPLER_CLASSES.get(name, "GPSampler")))


@pytest.mark.parametrize("n", [0, 1, 9, 10, 60])
def test_tpe_suggests_what_optunas_suggests_after_the_same_trials(n):
    flat = distributions(OBJECTIVE.space("basic")) | {"fixed": IntDistribution(3, 3), "alpha": FloatDistribution(0, 1)}
    history = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), direction="maximize")
    for trial in [history.ask(flat) for _ in range(n + 2)][:n]:  # the last two run
        trial.report(trial.params["lr"], 1)
        if trial.number % 3:
            history.tell(trial, state=TrialState.PRUNED)
        else:
            history.tell(trial, trial.params["lr"])
    suggested = []
    for sampler in (optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=7), FlatTPE(flat, seed=7)):
        study = optuna.create_study(sampler=sampler, direction="maximize")
        study.add_trials(history.trials)
        suggested.append([study.ask(flat).params for _ in range(3)])
    assert suggested[0] == suggested[1]


@pytest.mark.parametrize("name", PRUNER_CLASSES)
def test_a_pruners_name_is_optunas_pruner(name):
    with experimental():
        assert type(make_pruner(Settings(pruner=name), [1])) is getattr(optuna.pruners, PRUNER_CLASSES[name])


def test_seeds_differ_by_seed_purpose_and_number_and_never_change():
    seeds = [derived_seed(*of) for of in [(0, "trial", 0), (1, "trial", 0), (0, "sampler", 0), (0, "trial", 1)]]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert derived_seed(0, "trial", 0) == 1850186942  # a study begun with one hpo goes on with the next


def test_every_kind_of_parameter_is_the_same_in_optunas_words():
    space = SearchSpace.of(
        "s",
        {
            "depth": {"type": "int", "low": 1, "high": 4, "default": 2},
            "filters": {"type": "int", "low": 16, "high": 64, "step": 16, "default": 32},
            "batch_size": {"type": "int", "low": 32, "high": 512, "log": True, "default": 64},
            "dropout": {"type": "float", "low": 0, "high": 0.5, "default": 0},
            "momentum": {"type": "float", "low": 0.5, "high": 0.9, "step": 0.1, "default": 0.9},
            "lr": {"type": "float", "low": 1e-3, "high": 1, "log": True, "default": 0.1},
            "norm": {"choices": ["batch", "none"], "default": "none"},
            "kernel": 3,
        },
    )
    assert distributions(space) == {
        "depth": IntDistribution(1, 4),
        "filters": IntDistribution(16, 64, step=16),
        "batch_size": IntDistribution(32, 512, log=True),
        "dropout": FloatDistribution(0.0, 0.5),
        "momentum": FloatDistribution(0.5, 0.9, step=0.1),
        "lr": FloatDistribution(1e-3, 1.0, log=True),
        "norm": CategoricalDistribution(("batch", "none")),
    }


@pytest.mark.parametrize(
    ("parameter", "high"),
    [
        ({"type": "int", "low": 16, "high": 95, "step": 16, "default": 32}, 80),
        ({"type": "int", "low": 16, "high": 17, "step": 16, "default": 16}, 16),
    ],
)
def test_a_range_that_is_no_whole_number_of_steps_ends_at_its_last_step(parameter, high):
    found = distributions(SearchSpace.of("s", {"filters": parameter}))["filters"]
    assert (found.low, found.high) == (16, high)


def test_steps_of_a_float_range_end_at_the_last_one():
    parameter = {"type": "float", "low": 0.1, "high": 0.9, "step": 0.3, "default": 0.4}
    assert distributions(SearchSpace.of("s", {"dropout": parameter}))["dropout"].high == 0.7
