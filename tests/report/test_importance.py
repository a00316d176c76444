import made
import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from hpo.report.importance import importances, quantile
from hpo.report.summary import summarize

SPACE = made.SPACE | {
    "filters": IntDistribution(16, 128, step=16),
    "batch": IntDistribution(8, 512, log=True),
    "mix": FloatDistribution(0, 1, step=0.25),
    "act": CategoricalDistribution(("relu", "gelu")),
}


def study(n, value, space=SPACE, seed=0):
    rng = np.random.default_rng(seed)
    points = [made.point(rng, space) for _ in range(n)]
    return made.study([made.trial(i, value=value(p, rng), params=p, space=space) for i, p in enumerate(points)])


@pytest.mark.parametrize("n", [12, 40, 300])
def test_importance_is_what_optuna_computes(n):
    made_study = study(n, lambda p, rng: 0.5 + 0.05 * p["depth"] - 0.1 * p["dropout"] + rng.normal(0, 0.02))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile(n))
    expected = get_param_importances(made_study, evaluator=evaluator)
    found = {one.name: one.share for one in summarize(made_study).importance}
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_parameter_that_decides_stands_out_from_permutations():
    found = summarize(study(60, lambda p, rng: 0.5 + 0.1 * p["depth"] + rng.normal(0, 0.02))).importance
    assert found[0].name == "depth"
    assert found[0].p < 0.01
    assert found[0].low <= found[0].share


def test_noise_seldom_looks_like_influence():
    space = {name: made.SPACE[name] for name in ("lr", "dropout")}
    p = [one.p for seed in range(20) for one in summarize(study(40, lambda _, rng: rng.normal(0.5, 0.1), space, seed)).importance]
    assert np.mean(np.array(p) < 0.05) <= 0.15
    assert np.mean(np.array(p) > 0.1) >= 0.8


def test_too_few_trials_say_nothing():
    assert summarize(study(9, lambda _p, rng: rng.random())).importance == []


def test_fixed_and_missing_parameters_are_left_out():
    rng = np.random.default_rng(0)
    space = {"fixed": FloatDistribution(1, 1), "lr": made.SPACE["lr"], "late": FloatDistribution(0, 1)}
    points = [{"fixed": 1.0, "lr": made.point(rng)["lr"]} | ({"late": 0.5} if i > 5 else {}) for i in range(20)]
    trials = [made.trial(i, value=i / 20, params=p, space=space) for i, p in enumerate(points)]
    assert [one.name for one in summarize(made.study(trials)).importance] == ["lr"]


def test_the_same_trials_give_the_same_numbers():
    summary = summarize(study(30, lambda _p, rng: rng.random()))
    values = summary.finished["value"].to_numpy()
    again = importances(summary.params, values, summary.distributions)
    assert again == summary.importance
