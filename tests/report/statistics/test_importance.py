"""What is said of parameters whose effect is known. How often it is wrong under a real search: tests/bench/influence.md."""

import made
import numpy as np
import pytest
from made import summarize
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo.report.statistics.importance import MAX_TRIALS, importances

TWO = {name: made.SPACE[name] for name in ("lr", "dropout")}


def known(value, n=50, seed=0, space=made.SPACE, chosen=None):
    """What is known of each parameter of `n` trials; `chosen` changes a random point as a search would."""
    rng = np.random.default_rng(seed)
    trials = []
    for i in range(n):
        point = made.point(rng, space) | (chosen(i, rng) if chosen else {})
        trials.append(made.trial(i, value=value(point, rng), params=point, space=space))
    return {one.name: one for one in summarize(made.study(trials)).importance}


def peak(p, rng):
    """Best at a learning rate of 0.01, with noise that is small beside it."""
    return 0.8 - 0.05 * (np.log10(p["lr"]) + 2) ** 2 + rng.normal(0, 0.01)


def test_a_parameter_that_decides_is_told_with_its_share():
    found = known(lambda p, rng: 0.5 + 0.1 * p["depth"] + rng.normal(0, 0.02))
    assert [one.name for one in found.values() if one.decides] == ["depth"]
    assert next(iter(found)) == "depth"
    assert found["depth"].low <= found["depth"].share <= found["depth"].high
    assert found["depth"].share > 0.8


def test_a_peak_within_the_range_decides_as_a_slope_does():
    assert [one.name for one in known(peak).values() if one.decides] == ["lr"]


def test_a_choice_decides():
    found = known(lambda p, rng: {"batch": 0.9, "group": 0.8, "none": 0.6}[p["norm"]] + rng.normal(0, 0.05))
    assert [one.name for one in found.values() if one.decides] == ["norm"]


@pytest.mark.slow
def test_noise_seldom_decides_and_seldom_hardly_matters_for_sure():
    found = [known(lambda _, rng: rng.normal(0.5, 0.1), 40, seed) for seed in range(40)]
    assert sum(any(one.decides for one in each.values()) for each in found) <= 3
    assert all(one.share < 0.4 for each in found for one in each.values())


def test_what_a_search_concentrates_beside_the_one_that_decides_does_not_decide():
    def chosen(i, rng):  # both come near their best places, one for a reason
        width = 1.0 if i < 10 else 0.2
        centre = {"lr": -2.0, "dropout": 0.1}
        return {
            "lr": float(10 ** np.clip(centre["lr"] + 4 * width * rng.uniform(-0.5, 0.5), -4, 0)),
            "dropout": float(np.clip(centre["dropout"] + 0.6 * width * rng.uniform(-0.5, 0.5), 0, 0.6)),
        }

    found = [known(peak, 50, seed, TWO, chosen) for seed in range(20)]
    assert sum(each["lr"].decides for each in found) >= 18
    assert sum(each["dropout"].decides for each in found) <= 2


def test_a_weak_effect_is_not_said_to_hardly_matter():
    def value(p, rng):
        return 0.8 - 0.05 * (np.log10(p["lr"]) + 2) ** 2 - 0.15 * p["dropout"] + rng.normal(0, 0.02)

    assert not any(known(value, 50, seed, TWO)["dropout"].hardly_matters for seed in range(40))


def test_what_works_with_another_only_is_not_said_to_hardly_matter():
    def value(p, rng):
        return 0.8 + 0.2 * (p["dropout"] - 0.3) * (np.log10(p["lr"]) + 2) + rng.normal(0, 0.01)

    found = [known(value, 60, seed, TWO) for seed in range(20)]
    assert not any(one.hardly_matters for each in found for one in each.values())


def test_a_parameter_that_the_search_hardly_varied_is_not_said_to_hardly_matter():
    def chosen(_, rng):
        return {"dropout": 0.1 + 0.02 * float(rng.random())}

    assert not any(known(peak, 60, seed, TWO, chosen)["dropout"].hardly_matters for seed in range(20))


def test_what_hardly_matters_is_seen_in_many_trials():
    found = [known(peak, 100, seed) for seed in range(10)]
    assert np.mean([each[name].hardly_matters for each in found for name in ("dropout", "depth", "norm")]) > 0.5
    assert not any(each["lr"].hardly_matters for each in found)


def test_ranks_rise_towards_the_end_where_they_do():
    space = {"filters": IntDistribution(16, 128, step=16), "lr": made.SPACE["lr"]}
    found = known(lambda p, rng: p["filters"] / 400 + peak(p, rng), space=space)
    lower, upper = found["filters"].ends
    assert upper < 0.05 < lower
    assert min(found["lr"].ends) > 0.05


@pytest.mark.parametrize("n", [3, 11])
def test_too_few_trials_say_nothing(n):
    assert known(lambda _p, rng: rng.random(), n) == {}


def test_equal_scores_say_nothing():
    assert known(lambda _p, _rng: 0.5) == {}


def test_more_parameters_than_trials_are_no_trouble():
    space = {f"x{i:02}": FloatDistribution(0, 1) for i in range(60)} | {"lr": made.SPACE["lr"]}
    found = known(peak, 40, space=space)
    assert [one.name for one in found.values() if one.decides] == ["lr"]


def test_choices_of_which_one_was_never_tried_are_no_trouble():
    space = {"norm": CategoricalDistribution(tuple("abcdefgh")), "lr": made.SPACE["lr"]}
    found = known(peak, 40, space=space, chosen=lambda i, _: {"norm": "ab"[i % 2]})
    assert not found["norm"].hardly_matters
    assert found["lr"].decides


def test_fixed_parameters_and_those_that_few_trials_have_are_left_out():
    rng = np.random.default_rng(0)
    space = {"fixed": FloatDistribution(1, 1), "lr": made.SPACE["lr"], "late": FloatDistribution(0, 1)}
    points = [{"fixed": 1.0, "lr": made.point(rng)["lr"]} | ({"late": rng.random()} if i > 9 else {}) for i in range(20)]
    trials = [made.trial(i, value=i / 20, params=p, space=space) for i, p in enumerate(points)]
    assert [one.name for one in summarize(made.study(trials)).importance] == ["lr"]


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_a_parameter_that_some_trials_have_is_judged_among_those(slope):
    decided, kinds = [], CategoricalDistribution(("a", "b"))
    space = {"kind": kinds, "only": FloatDistribution(0, 1), "always": FloatDistribution(0, 1)}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        points = [{"kind": str(rng.choice(["a", "b"])), "always": rng.random()} for _ in range(60)]
        points = [p | ({"only": rng.random()} if p["kind"] == "a" else {}) for p in points]
        values = [0.4 * slope * p.get("only", 0.5) + (p["kind"] == "a") / 10 + rng.normal() / 30 for p in points]
        spaces = [{name: space[name] for name in point} for point in points]
        trials = [
            made.trial(i, value=v, params=p, space=s) for i, (v, p, s) in enumerate(zip(values, points, spaces, strict=True))
        ]
        summary = summarize(made.study(trials))
        assert {one.name for one in summary.importance} == {"kind", "only", "always"}
        decided.append("only" in summary.deciding)
    assert sum(decided) == 10 if slope else sum(decided) <= 1


def test_the_same_trials_give_the_same_numbers():
    rng = np.random.default_rng(0)
    summary = summarize(made.study([made.trial(i, value=rng.random(), params=made.point(rng)) for i in range(30)]))
    values = summary.finished["value"].to_numpy()
    assert importances(summary.params, values, summary.distributions) == summary.importance


def test_of_a_long_study_an_even_part_is_looked_at():
    rng = np.random.default_rng(0)
    points = [made.point(rng) for _ in range(3 * MAX_TRIALS)]
    summary = summarize(made.study([made.trial(i, value=peak(p, rng), params=p) for i, p in enumerate(points)]))
    assert [one.name for one in summary.importance if one.decides] == ["lr"]
    assert {one.name for one in summary.importance if one.hardly_matters} >= {"dropout", "norm"}
