"""Made-up studies whose truth is known: the finding that should appear appears, and no other."""

import re

import made
import numpy as np
import pytest
from made import summarize
from optuna.distributions import FloatDistribution, IntDistribution

from hpo.report import page
from hpo.report.findings import find, result, search
from hpo.report.statistics.rungs import agreements

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
        "9 trials of 9 failed: 3 out of memory, 2 loss is not finite, 1 a, 1 b and 2 with other causes."
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
    assert found["state"] == "The study is not over: of 4 trials 1 in training or to be continued and 1 enqueued."


def test_pure_noise_is_called_noise():
    found = findings(over(ONE, lambda _p, rng: made.counted(0.8, rng)))
    assert found.keys() == {"winner", "optimism", "progress", "undecided"}
    assert found["winner"].endswith("within noise, so the search found nothing better.")
    assert "unlikely to help" in found["progress"]
    assert found["undecided"].startswith("It is not clear from 60 finished trials which parameters matter")


def test_pure_noise_is_called_noise_nearly_always():
    said = [result.winner(summarize(made.study(finished(noise(seed=seed))))).text for seed in range(40)]
    assert np.mean([": within noise, so the search" in text or text.endswith("no other trial beat it.") for text in said]) >= 0.95


def test_the_luck_of_the_choice_is_estimated_about_right():
    said, true = [], []
    for seed in range(40):
        accuracies = noise(seed=seed)
        text = result.optimism(summarize(made.study(finished(accuracies)))).text
        said.append(float(re.search(r"up to ([\d.]+)\spoints", text)[1]))
        true.append(100 * (max(accuracies) - 0.8))
    assert 0.8 * np.mean(true) < np.mean(said) < 1.05 * np.mean(true)  # less: some of the spread might have been true


def test_rivals_as_good_as_the_winner_are_counted_and_a_score_that_luck_did_not_raise_is_not_called_optimistic():
    found = findings(made.study(finished([0.7, 0.8, 0.8, 0.8, 0.6])))["optimism"]
    assert found.endswith(
        "3 trials are close enough to the top to have won by chance, but they are so similar that the winner's score is hardly "
        "optimistic."
    )


def test_a_clear_winner_is_clear():
    found = findings(made.study(finished(climbing())))
    assert found.keys() == {"winner", "optimism", "progress"}
    assert "+30.0 points over trial 0" in found["winner"]
    assert "noise" not in found["winner"]
    assert found["optimism"].endswith("No other trial is close enough to it to have won by chance.")
    assert "unlikely to help" in found["progress"]


def test_a_default_that_nothing_beats_stays_the_winner():
    found = findings(made.study(finished([0.9, *np.linspace(0.5, 0.7, 20)])))
    assert found.keys() == {"winner", "optimism", "progress"}
    assert "no other trial beat it" in found["winner"]


def test_a_search_that_still_improves_is_worth_going_on():
    found = findings(made.study(finished(np.linspace(0.5, 0.9, 40))))
    assert found.keys() == {"winner", "optimism", "progress"}
    assert "more trials are likely to help" in found["progress"]
    assert "trial 39, the last one" in found["progress"]


def test_a_best_value_at_the_edge_is_named_with_the_range_to_try():
    found = findings(over(ONE, lambda p, rng: 0.5 + 0.1 * np.log10(p["lr"] * 1e4) + rng.normal(0, 0.01)))
    assert found.keys() - {"idle"} == {"winner", "optimism", "progress", "edge", "decisive"}
    assert found["edge"].startswith(
        "The best values lie at the edge of the range: lr at its upper end 1, try 0.0001 to 10 (the best"
    )
    assert found["decisive"].startswith("lr (")


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
    assert found["idle"].startswith("dropout hardly matters: over its whole range it explains at most ")


def test_nothing_is_to_be_tried_below_zero_dropout():
    space = {"dropout": FloatDistribution(0, 0.6)}
    found = findings(over(space, lambda p, rng: 0.9 - p["dropout"] / 2 + rng.normal(0, 0.005)))
    assert found.keys() - {"progress"} == {"winner", "optimism", "decisive"}


def test_a_parameter_that_decides_inside_its_range_is_no_edge():
    found = findings(over(ONE, lambda p, rng: 0.85 - 0.06 * (np.log10(p["lr"]) + 2) ** 2 + rng.normal(0, 0.01)))
    assert found.keys() - {"progress"} == {"winner", "optimism", "decisive", "idle"}
    assert found["decisive"].startswith("lr (")


@pytest.mark.slow
def test_edges_are_seldom_seen_in_noise():
    studies = (over(made.SPACE, lambda _p, rng: rng.normal(0.7, 0.05), 40, seed) for seed in range(30))
    assert sum(search.edges(summarize(study)) is not None for study in studies) <= 1


def test_a_search_whose_early_scores_are_a_poor_guide_says_so():
    found = findings(pruned_by(lambda final: 0.6 - final / 3))
    assert found.keys() == {"winner", "optimism", "progress", "pruning", "early-scores"}
    assert found["early-scores"].startswith(
        "Early scores are a poor guide to later ones, so pruning may have stopped better networks"
    )
    assert "from epoch 2 to 10 ranks correlate by \N{MINUS SIGN}1.00 (95 % interval" in found["early-scores"]
    assert "21 trials" in found["early-scores"]


def test_early_scores_that_say_nothing_are_a_poor_guide():
    early = iter(np.random.default_rng(2).permutation(np.linspace(0.2, 0.3, 40)))
    assert "poor guide" in findings(pruned_by(lambda _final: next(early)))["early-scores"]


def test_early_scores_that_tell_later_ones_are_a_good_guide():
    found = findings(pruned_by(lambda final: final / 2))
    assert found.keys() == {"winner", "optimism", "progress", "pruning", "early-scores"}
    assert found["early-scores"].startswith(
        "Early scores are a good guide to later ones: from epoch 2 to 10 ranks correlate by 1.00"
    )
    assert found["pruning"].startswith("Pruning stopped 20 of 40 trials early and saved 160 of 400 epochs (40 %)")
    assert "about 16 min of training" in found["pruning"]


def test_each_rung_of_halving_is_compared_with_the_next_where_ten_trials_reached_both():
    epochs = [10] * 6 + [4] * 8 + [1] * 46
    finals = np.sort(np.random.default_rng(1).uniform(0.5, 0.9, 60))[::-1]
    rows = [(made.curve(final)[:e], "COMPLETE" if e == 10 else "PRUNED") for final, e in zip(finals, epochs, strict=True)]
    text = findings(made.study([made.trial(i, state, path) for i, (path, state) in enumerate(rows)]))["early-scores"]
    assert "from epoch 1 to 4 ranks correlate by 1.00" in text
    assert "14 trials" in text
    assert "to 10" not in text


def test_of_many_rungs_the_weakest_step_is_named():
    rng = np.random.default_rng(3)
    stops = [1 + i % 8 for i in range(80)]
    trials = [made.trial(i, "PRUNED", [*np.sort(rng.uniform(0.2, 0.8, stop))]) for i, stop in enumerate(stops)]
    trials += [made.trial(80 + i, accuracies=made.curve(accuracy)) for i, accuracy in enumerate(rng.uniform(0.5, 0.9, 12))]
    assert "the weakest of 8 such pairs" in findings(made.study(trials))["early-scores"]


@pytest.mark.slow
def test_the_interval_of_a_rank_correlation_covers_the_truth():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        early = rng.normal(size=12)
        late = 0.8 * early + 0.6 * rng.normal(size=12)  # Spearman's correlation of the whole population: 0.786
        curves = [[0.5 + 0.01 * a, 0.5 + 0.01 * b] for a, b in zip(early, late, strict=True)]
        trials = [made.trial(i, "PRUNED", path) for i, path in enumerate(curves)]
        (found,) = agreements(summarize(made.study([*trials, *(made.trial(20 + i, "PRUNED", [0.1]) for i in range(9))])))
        covered.append(found.low <= 0.786 <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.99


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
    assert found.keys() - {"progress", "idle"} == {"winner", "optimism", "decisive", "pruning", "early-scores"}
    assert found["decisive"].text.startswith("lr (")
    assert "among 60 finished or pruned trials" in found["decisive"].basis


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
    # Trial 0 is trained to the end in any case: with 0.2 after two epochs it would have been stopped there.
    assert summarize(made.study(trials)).standing.to_dict() == {1: 0, 4: 0, 0: 1, 2: 2, 3: 3}
    unpruned = [trial for trial in trials if trial.state.name != "PRUNED"]
    assert summarize(made.study(unpruned)).standing.to_dict() == {0: 0, 1: 1}


def test_the_fifty_trials_of_the_example_say_what_is_known_of_their_space():
    found = findings(made.fifty())
    assert found["edge"] == (
        "The best values lie at the edge of the range: filters at its upper end 64, try 16 to 88 "
        "(the best trial and 2 of the other 3 finished trials lie there)."
    )
    assert re.match(r"lr \(.*\), depth \(.*\) and filters \(.*\) have the most influence on the score\.", found["decisive"])
    assert "from epoch 1 to 2 ranks correlate by 0.74 (95 % interval 0.41 to 0.90, 21 trials)" in found["early-scores"]
    assert found["progress"] == "The best score was reached by trial 28, 21 trials before the end."


# Each sentence has a least basis: these studies are just below it, and those of the tests above beyond.


def test_few_trials_that_stopped_early_do_not_say_that_more_are_unlikely_to_help():
    short = [made.trial(i, "PRUNED", [0.3]) for i in range(2, 12)]
    found = findings(made.study([*finished([0.8, 0.9]), *short]))
    assert found["progress"] == "The best score was reached by trial 1, 10 trials before the end."
    many = [made.trial(i, "PRUNED", [0.3]) for i in range(2, 40)]  # a third of 13, none of which was trained to the end
    assert (
        findings(made.study([*finished([0.8, 0.9]), *many]))["progress"]
        == "The best score was reached by trial 1, 38 trials before the end."
    )


@pytest.mark.parametrize("n", [2, 9])
def test_few_trials_say_nothing_about_when_the_best_came(n):
    assert "progress" not in findings(made.study(finished(noise(n))))


@pytest.mark.parametrize("n", [4, 11])
def test_few_trials_say_nothing_about_parameters(n):
    found = findings(over(ONE, lambda p, rng: 0.85 - 0.06 * (np.log10(p["lr"]) + 2) ** 2 + rng.normal(0, 0.003), n))
    assert not found.keys() & {"edge", "decisive", "undecided", "idle"}


def test_that_no_effect_was_seen_is_not_said_to_be_none():
    found = findings(over(made.SPACE, lambda _p, rng: made.counted(0.8, rng), 20))
    assert found["undecided"] == (
        "It is not clear from 20 finished trials which parameters matter: none explains more of the scores than chance would."
    )
    assert "idle" not in found


@pytest.mark.parametrize("n", [3, 9])
def test_few_trials_that_went_on_say_nothing_about_early_scores(n):
    trials = [*finished(noise(n)), *(made.trial(20 + i, "PRUNED", [0.1]) for i in range(20))]
    assert "early-scores" not in findings(made.study(trials))


def test_without_pruned_trials_nothing_is_said_about_early_scores_or_pruning():
    assert not findings(made.study(finished(noise(40)))).keys() & {"early-scores", "pruning"}


def test_pruned_trials_without_times_save_epochs_but_no_time():
    pruned = [made.trial(i, "PRUNED", [0.3], seconds=0.0) for i in range(1, 4)]
    assert findings(made.study([*finished([0.8]), *pruned]))["pruning"].endswith("saved 27 of 40 epochs (68 %).")


def alike(folder, worse, **attributes):
    """Finished trials that differ on few images: each is right where one of 90 % is, but for so many of the first images."""
    ease = np.random.default_rng(4).random(made.N_SCORED)
    right = [ease < 0.9] * len(worse)
    right = [bits & (np.arange(made.N_SCORED) >= n) for bits, n in zip(right, worse, strict=True)]
    return made.answered(right, folder, **attributes)


def found_in(folder, study):
    return {finding.topic: finding.text.replace("\N{NO-BREAK SPACE}", " ") for finding in find(summarize(study, folder))}


def test_a_small_network_that_is_as_good_is_named(tmp_path):
    study = alike(tmp_path, [2000, 0, 25, 2500], n_parameters=[5e5, 4e6, 1e6, 1e5])
    found = found_in(tmp_path, study)
    assert found.keys() == {"winner", "optimism", "size"}
    assert "Trial 2 is as good as the winner, to within 0.5 points (\N{MINUS SIGN}0.2 points measured)" in found["size"]
    assert "25 % of its parameters: 1 M instead of 4 M" in found["size"]


def test_a_fast_network_that_is_as_good_is_named(tmp_path):
    found = found_in(tmp_path, alike(tmp_path, [2000, 0, 25, 2500], seconds=[50, 400, 100, 10]))
    assert found.keys() == {"winner", "optimism", "time"}
    assert "25 % of its training time: 100 s instead of 7 min" in found["time"]


def test_a_network_that_is_only_not_shown_to_be_worse_is_not_called_as_good(tmp_path):
    costs = {"n_parameters": [5e5, 4e6, 1e6]}
    assert "size" not in findings(made.study(finished([0.6, 0.9, 0.8999], **costs))), "their answers are not known"
    assert "size" not in found_in(tmp_path, alike(tmp_path, [2000, 0, 80], **costs)), "worse by 0.7 points"


def test_a_gain_is_compared_image_by_image_where_the_answers_are_known(tmp_path):
    study = alike(tmp_path, [100, 0])
    apart, paired = findings(study)["winner"], found_in(tmp_path, study)["winner"]
    assert "+0.9 points over trial 0, the default point (95 % interval 0.0 to +1.7 points)" in apart or "within noise" in apart
    assert "within noise" not in paired
    told = {f.topic: f for f in find(summarize(study))}["winner"].basis
    assert "does not record which images each trial got right" in told
    assert "image by image" in {f.topic: f for f in find(summarize(study, tmp_path))}["winner"].basis


@pytest.mark.parametrize("start", [0.8, 0.8005, 0.77], ids=["won", "within noise", "worse"])
def test_what_the_search_has_added_to_the_best_point_that_was_given_is_said(start):
    tried = ((32, 0.7), (64, start), (48, 0.8001 if start > 0.8 else 0.8 if start < 0.8 else 0.79))
    tried = (*tried[:2], (48, max(tried[2][1], 0.801))) if start == 0.8005 else tried
    space = {"filters": IntDistribution(16, 64), "lr": FloatDistribution(0.01, 1.0)}
    trials = [
        made.trial(i, accuracies=[accuracy], params={"filters": filters, "lr": 0.2}, space=space)
        for i, (filters, accuracy) in enumerate(tried)
    ]
    text = findings(made.study(trials, space={"name": "mine", "parameters": {}, "starts": [{"filters": 64}]}))["winner"]
    assert "points over trial 0, the default point" in text
    assert ("the search found nothing better" in text) == (start != 0.77)
    assert ("over the best starting point of the space, trial 1 with" in text) == (start != 0.8)


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
    assert ("gave this starting point; the search found nothing better." in winner) == said


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


def test_no_line_breaks_between_a_number_and_its_unit():
    summary = summarize(made.fifty())
    drawn = page.drawn(summary, page.SEARCH + page.SPACE)
    texts = [text for one in find(summary) for text in (one.text, one.basis)] + [
        text for one in drawn for text in (one.alt, one.note)
    ]
    assert any("\N{NO-BREAK SPACE}%" in text for text in texts)
    assert any("\N{NO-BREAK SPACE}points" in text for text in texts)
    apart = re.compile(r"\d (%|points|min|h|s|k|M|G)\b|\d %")
    assert [text for text in texts if apart.search(text)] == []
