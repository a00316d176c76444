"""Made-up studies whose truth is known: the finding that should appear appears, and no other."""

import re

import made
import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from hpo.report.findings import find, result, search
from hpo.report.summary import summarize

ONE = {"lr": made.SPACE["lr"], "dropout": made.SPACE["dropout"]}


def findings(study):
    return {finding.topic: finding.text.replace("\N{NO-BREAK SPACE}", " ") for finding in find(summarize(study))}


def finished(accuracies, **attributes):
    """Finished trials of these accuracies; an attribute is a value for all or a list of one each."""
    trials = []
    for i, accuracy in enumerate(accuracies):
        own = {key: value[i] if isinstance(value, list) else value for key, value in attributes.items()}
        trials.append(made.trial(i, accuracies=made.curve(accuracy), **own))
    return trials


def noise(n=40, seed=0, accuracy=0.8):
    rng = np.random.default_rng(seed)
    return [made.counted(accuracy, rng) for _ in range(n)]


def climbing(n=40, low=0.5, high=0.75, seed=3):
    """Accuracies far apart, the best early: no end in sight, no rivals, no noise."""
    rng = np.random.default_rng(seed)
    return [0.6, 0.9, *rng.uniform(low, high, n - 2)]


def over(space, accuracy, n=60, seed=0):
    rng = np.random.default_rng(seed)
    points = [made.point(rng, space) for _ in range(n)]
    return made.study(
        [made.trial(i, accuracies=made.curve(accuracy(p, rng)), params=p, space=space) for i, p in enumerate(points)]
    )


def pruned_by(rank, n=40):
    """Half of the trials stopped after two epochs; `rank` maps a final accuracy to the one after two epochs."""
    finals = np.random.default_rng(5).permutation(np.linspace(0.5, 0.9, n))
    early = np.array([rank(final) for final in finals])
    keep = early >= np.median(early)
    keep[0] = True
    trials = []
    for i, (first, final, kept) in enumerate(zip(early, finals, keep, strict=True)):
        path = [first - 0.02, first, *np.linspace(first, final, 9)[1:]]
        trials.append(made.trial(i, accuracies=path) if kept else made.trial(i, "PRUNED", path[:2]))
    return made.study(trials)


def test_an_empty_study_says_that_it_is_empty():
    assert findings(made.study([])) == {"state": "The study has no trials yet."}


def test_a_study_of_failures_names_their_causes():
    reasons = ["out of memory", "out of memory", "loss is not finite", "out of memory"]
    trials = [made.trial(i, "FAIL", reason=reason) for i, reason in enumerate(reasons)]
    assert findings(made.study(trials)) == {
        "state": "None of 4 trials finished: 4 failed, 0 pruned.",
        "failures": "4 trials of 4 failed: 3 out of memory and 1 loss is not finite.",
    }


def test_a_single_trial_is_not_compared_with_anything():
    found = findings(made.study(finished([0.8])))
    assert found.keys() == {"winner", "optimism"}
    assert "nothing to compare" in found["winner"]
    assert "79.2 % to 80.8 %" in found["winner"]


def test_rare_causes_of_failures_are_counted_together():
    reasons = ["out of memory"] * 3 + ["loss is not finite"] * 2 + ["a", "b", "c", None]
    trials = [made.trial(i, "FAIL", reason=reason) for i, reason in enumerate(reasons)]
    assert findings(made.study(trials))["failures"] == (
        "9 trials of 9 failed: 3 out of memory, 2 loss is not finite, 1 a, 1 b and 2 of other causes."
    )


def test_a_winner_is_not_compared_with_a_default_that_failed():
    found = findings(made.study([made.trial(0, "FAIL", reason="boom"), *finished([0.6, 0.7, 0.9])[1:]]))
    assert found.keys() == {"winner", "optimism", "failures"}
    assert "trial 0" not in found["winner"]


def test_a_perfect_score_has_an_interval_too():
    found = findings(made.study(finished([0.97, 1.0])))
    assert "100.00 % (95 % interval 100.0 % to 100.0 %)" in found["winner"]
    assert "+3.0 points over trial 0" in found["winner"]


def test_paused_trials_change_nothing_that_is_said_of_the_others():
    ended = finished(climbing(), n_parameters=1e6)
    paused = [made.trial(100 + i, "RUNNING", [0.3, 0.95]) for i in range(5)]
    alone, beside = findings(made.study(ended)), findings(made.study(ended + paused))
    assert beside.pop("state") == "The study is not over: of 45 trials 5 in training or to be continued."
    assert beside == alone


def test_a_running_study_says_so():
    trials = [*finished([0.7, 0.8]), made.trial(2, "RUNNING", [0.5]), made.trial(3, "WAITING")]
    found = findings(made.study(trials))
    assert found.keys() == {"winner", "optimism", "state"}
    assert found["state"] == "The study is not over: of 4 trials 1 in training or to be continued and 1 waiting."


def test_pure_noise_is_called_noise():
    found = findings(over(ONE, lambda _p, rng: made.counted(0.8, rng)))
    assert found.keys() == {"winner", "optimism", "progress", "idle"}
    assert found["winner"].endswith("within noise.")
    assert "hardly worth it" in found["progress"]
    assert found["idle"].startswith("No parameter shows an influence")


def test_pure_noise_is_called_noise_nearly_always():
    said = [result.winner(summarize(made.study(finished(noise(seed=seed))))).text for seed in range(40)]
    assert np.mean([text.endswith(("within noise.", "no other trial beat it.")) for text in said]) >= 0.95


def test_the_luck_of_the_choice_is_estimated_about_right():
    said, true = [], []
    for seed in range(40):
        accuracies = noise(seed=seed)
        text = result.optimism(summarize(made.study(finished(accuracies)))).text
        said.append(float(re.search(r"up to ([\d.]+) points", text)[1]))
        true.append(100 * (max(accuracies) - 0.8))
    assert np.mean(said) == pytest.approx(np.mean(true), rel=0.15)


def test_a_clear_winner_is_clear():
    found = findings(made.study(finished(climbing())))
    assert found.keys() == {"winner", "optimism", "progress"}
    assert "+30.0 points over trial 0" in found["winner"]
    assert "noise" not in found["winner"]
    assert "No other trial comes within noise" in found["optimism"]
    assert "hardly worth it" in found["progress"]


def test_a_default_that_nothing_beats_stays_the_winner():
    found = findings(made.study(finished([0.9, *np.linspace(0.5, 0.7, 20)])))
    assert found.keys() == {"winner", "optimism", "progress"}
    assert "no other trial beat it" in found["winner"]


def test_a_search_that_still_improves_is_worth_going_on():
    found = findings(made.study(finished(np.linspace(0.5, 0.9, 40))))
    assert found.keys() == {"winner", "optimism", "progress"}
    assert "more trials look worth it" in found["progress"]
    assert "trial 39, the last one" in found["progress"]


def test_a_best_value_at_the_edge_is_named_with_the_range_to_try():
    found = findings(over(ONE, lambda p, rng: 0.5 + 0.1 * np.log10(p["lr"] * 1e4) + rng.normal(0, 0.01)))
    assert found.keys() == {"winner", "optimism", "progress", "edge", "decisive", "idle"}
    assert found["edge"] == "The best values lie at the edge of the range: lr at its upper end 1, try 0.0001 to 10."
    assert found["decisive"].startswith("lr (")
    assert found["idle"] == "dropout shows no influence that could be told from chance."


def test_the_lower_edge_of_whole_numbers_is_named_too():
    space = {"filters": IntDistribution(32, 128, step=16)}
    found = findings(over(space, lambda p, rng: 0.9 - p["filters"] / 400 + rng.normal(0, 0.005)))
    assert found.keys() - {"progress"} == {"winner", "optimism", "edge", "decisive"}
    assert "filters at its lower end 32, try 1 to 128" in found["edge"]


def test_what_only_tells_bad_from_good_is_not_said_to_be_without_influence():
    found = findings(over(ONE, lambda p, rng: min(0.8, 0.6 + p["dropout"]) + rng.normal(0, 0.01)))
    assert "dropout" not in found.get("idle", "")
    assert "No parameter" not in found.get("idle", "")


def test_a_choice_that_decides_is_named():
    space = {"norm": made.SPACE["norm"], "dropout": made.SPACE["dropout"]}
    found = findings(over(space, lambda p, rng: {"batch": 0.9, "group": 0.8, "none": 0.6}[p["norm"]] + rng.normal(0, 0.01)))
    assert found.keys() - {"progress"} == {"winner", "optimism", "decisive", "idle"}
    assert found["decisive"].startswith("norm (")
    assert found["idle"] == "dropout shows no influence that could be told from chance."


def test_nothing_is_to_be_tried_below_zero_dropout():
    space = {"dropout": FloatDistribution(0, 0.6)}
    found = findings(over(space, lambda p, rng: 0.9 - p["dropout"] / 2 + rng.normal(0, 0.005)))
    assert found.keys() - {"progress"} == {"winner", "optimism", "decisive"}


def test_a_parameter_that_decides_inside_its_range_is_no_edge():
    found = findings(over(ONE, lambda p, rng: 0.85 - 0.06 * (np.log10(p["lr"]) + 2) ** 2 + rng.normal(0, 0.01)))
    assert found.keys() - {"progress"} == {"winner", "optimism", "decisive", "idle"}
    assert found["decisive"].startswith("lr (")


def test_edges_are_seldom_seen_in_noise():
    studies = (over(made.SPACE, lambda _p, rng: rng.normal(0.7, 0.05), 40, seed) for seed in range(30))
    assert sum(search.edges(summarize(study)) is not None for study in studies) <= 1


def test_a_pruner_that_kills_the_winner_is_named():
    found = findings(pruned_by(lambda final: 0.6 - final / 3))
    assert found.keys() == {"winner", "optimism", "progress", "pruning", "pruned-winner"}
    assert found["pruned-winner"].startswith("Pruning may have stopped a better network")
    assert "correlation \N{MINUS SIGN}" in found["pruned-winner"]


def test_early_scores_that_say_nothing_make_pruning_doubtful_without_naming_a_trial():
    early = iter(np.random.default_rng(2).permutation(np.linspace(0.2, 0.3, 40)))
    found = findings(pruned_by(lambda _final: next(early)))["pruned-winner"]
    assert found.startswith("Pruning may have stopped a better network: after epoch 2 finished trials rank like in the end")
    assert "0 %" not in found


def test_a_pruner_that_is_right_is_trusted():
    found = findings(pruned_by(lambda final: final / 2))
    assert found.keys() == {"winner", "optimism", "progress", "pruning", "pruned-winner"}
    assert found["pruned-winner"].startswith("Pruning hardly stopped a winner")
    assert found["pruning"].startswith("Pruning stopped 20 of 40 trials early and saved 160 of 400 epochs (40 %)")
    assert "about 16 min of training" in found["pruning"]


def halved(accuracy, n=60, seed=0, space=ONE):
    """Halving: all are trained for an epoch, a third of them for two, a third of those for four, and of those to the end."""
    rng = np.random.default_rng(seed)
    points = [made.point(rng, space) for _ in range(n)]
    paths = [made.curve(accuracy(p, rng)) for p in points]
    epochs, left = [10] + [1] * (n - 1), range(1, n)
    for level in (2, 4, 10):
        left = sorted(left, key=lambda i: -paths[i][epochs[i] - 1])[: len(left) // 3]
        epochs = [level if i in left else stop for i, stop in enumerate(epochs)]
    rows = zip(points, paths, epochs, strict=True)
    states = {10: "COMPLETE"}
    return made.study([made.trial(i, states.get(e, "PRUNED"), path[:e], p, space) for i, (p, path, e) in enumerate(rows)])


def test_what_decides_is_said_of_a_search_that_finishes_few():
    study = halved(lambda p, rng: 0.85 - 0.06 * (np.log10(p["lr"]) + 2) ** 2 + rng.normal(0, 0.003))
    found = {finding.topic: finding for finding in find(summarize(study))}
    assert len(summarize(study).finished) < 10
    assert found.keys() - {"progress"} == {"winner", "optimism", "decisive", "idle", "pruning"}
    assert found["decisive"].text.startswith("lr (")
    assert found["idle"].text == "dropout shows no influence that could be told from chance."
    assert (
        "of 59 finished or pruned trials that the search chose, those stopped early behind the others by how far they came"
        in found["idle"].basis
    )


def test_an_edge_is_seen_in_a_search_that_finishes_few():
    found = findings(halved(lambda p, rng: 0.5 + 0.1 * np.log10(p["lr"] * 1e4) + rng.normal(0, 0.003)))
    assert "lr at its upper end 1, try 0.0001 to 10" in found["edge"]


def test_noise_decides_nothing_in_a_search_that_finishes_few():
    said = [findings(halved(lambda _p, rng: made.counted(0.8, rng), seed=seed)).keys() for seed in range(10)]
    assert sum("decisive" in topics for topics in said) <= 1
    assert not any("edge" in topics for topics in said)


def test_who_came_further_stands_before_who_was_stopped_sooner():
    ended = [("COMPLETE", [0.1, 0.2]), ("PRUNED", [0.9]), ("PRUNED", [0.3, 0.5]), ("COMPLETE", [0.1, 0.4]), ("PRUNED", [0.9])]
    trials = [made.trial(i, state, accuracies) for i, (state, accuracies) in enumerate(ended)]
    trials += [made.trial(5, "FAIL", [0.99]), made.trial(6, "RUNNING", [0.99, 0.99])]
    assert summarize(made.study(trials)).standing.to_dict() == {
        1: 0,
        2: 1,
        3: 2,
        4: 0,
    }  # trial 0 is trained to the end in any case
    unpruned = [trial for trial in trials if trial.state.name != "PRUNED"]
    assert summarize(made.study(unpruned)).standing.to_dict() == {0: 0, 1: 1}


def test_the_doubt_about_pruning_is_answered_by_those_that_went_on_where_few_finished():
    rng = np.random.default_rng(1)
    finals = np.sort(rng.uniform(0.5, 0.9, 60))[::-1]
    epochs = [10] * 6 + [4] * 8 + [1] * 46
    rows = [(made.curve(final)[:e], "COMPLETE" if e == 10 else "PRUNED") for final, e in zip(finals, epochs, strict=True)]
    found = {
        f.topic: f for f in find(summarize(made.study([made.trial(i, state, path) for i, (path, state) in enumerate(rows)])))
    }
    text = found["pruned-winner"].text
    assert text.startswith("Pruning hardly stopped a winner: after epoch 1 the trials that went on rank like after epoch 4 with")
    assert "over 13 trials, which went on because they were good" in found["pruned-winner"].basis


def test_a_small_network_that_is_as_good_is_named():
    found = findings(made.study(finished([0.6, 0.9, 0.897, 0.7], n_parameters=[5e5, 4e6, 1e6, 1e5])))
    assert found.keys() == {"winner", "optimism", "size"}
    assert "Trial 2 is within noise of the winner" in found["size"]
    assert "25 % of its parameters: 1 M instead of 4 M" in found["size"]


def test_a_fast_network_that_is_as_good_is_named():
    found = findings(made.study(finished([0.6, 0.9, 0.897, 0.7], seconds=[50, 400, 100, 10])))
    assert found.keys() == {"winner", "optimism", "time"}
    assert "25 % of its training time: 100 s instead of 7 min" in found["time"]


def test_a_small_network_that_is_worse_is_not_offered():
    found = findings(made.study(finished([0.6, 0.9, 0.88], n_parameters=[5e5, 4e6, 1e6])))
    assert found.keys() == {"winner", "optimism"}


@pytest.mark.parametrize(("accuracy", "says"), [(0.62, "+5.0 points"), (0.575, "within noise")])
def test_cifar10_is_held_against_the_tutorial(accuracy, says):
    found = findings(made.study(finished([0.5, accuracy]), settings={"dataset": "cifar10"}))
    assert found.keys() == {"winner", "optimism", "tutorial"}
    assert says in found["tutorial"]


@pytest.mark.parametrize("settings", [{"dataset": "digits"}, {"limit_test": 500}, {"score": "validation"}])
def test_other_scores_are_not_held_against_the_tutorial(settings):
    found = findings(made.study(finished([0.5, 0.6]), settings={"dataset": "cifar10"} | settings))
    assert "tutorial" not in found


def test_a_winner_of_held_out_images_is_said_to_be_one():
    trials = finished([0.7, 0.8])
    found = findings(made.study(trials, settings={"score": "validation"}, environment={"n_scored": 5000}))
    assert "5,000 held-out training images; the test set stayed unread" in found["optimism"]


@pytest.mark.parametrize(
    ("starts", "said"), [([{"filters": 64}], True), ([{"filters": 48}], False), ([{}], False), ("64", False), ([64, None], False)]
)
def test_a_winner_that_the_space_named_is_no_find_of_the_search(starts, said):
    tried = ((32, 0.7), (64, 0.8), (16, 0.6))
    space = {"filters": IntDistribution(16, 64), "lr": FloatDistribution(0.01, 1.0)}
    trials = [
        made.trial(i, accuracies=[accuracy], params={"filters": filters, "lr": 0.2}, space=space)
        for i, (filters, accuracy) in enumerate(tried)
    ]
    winner = findings(made.study(trials, space={"name": "mine", "starts": starts}))["winner"]
    assert ("names this point to begin with: the search has found none that is better." in winner) == said


def test_a_strangers_study_gets_no_sentence_about_accuracy():
    found = findings(made.foreign(60))
    assert "x" not in found.get("idle", "")
    assert found.keys() <= {"winner", "decisive"}
    assert found["winner"].startswith("Trial ")
    assert "%" not in found["winner"]


def test_without_the_number_of_scored_images_there_is_no_interval():
    found = findings(made.study(finished([0.7, 0.8]), environment={"n_scored": None}))
    assert found == {
        "winner": "Trial 1 is the best of 2 finished trials: 80.00 %, against 70.00 % of trial 0, the default point."
    }
