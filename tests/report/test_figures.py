"""What the figures say that a reader could misread: who trained a trial, when, and what an axis' ticks mean."""

import datetime as dt
import re

import made
import pytest
from made import summarize
from optuna.distributions import FloatDistribution, IntDistribution

from hpo.report.artifacts import read_artifacts
from hpo.report.figures import history, winner
from hpo.report.figures.figure import log_axis, round_step
from hpo.report.figures.history import distribution, early_scores
from hpo.report.figures.parameters import importance, map_of_two, parallel
from hpo.report.figures.timeline import timeline
from hpo.report.figures.trade import size
from hpo.report.page import page


def trial(number, state, begin, end=None, worker=None, seconds=None):
    """A trial from one minute to another; one in training has no worker yet, as the runner stores it."""
    attributes = {} if worker is None else {"worker": worker, "seconds": 60.0 * (seconds or end - begin)}
    one = made.trial(number, state, [0.5, 0.6], **attributes)
    if worker is None:
        one.user_attrs.pop("worker")
        one.user_attrs.pop("seconds")
    at = [made.BEGIN + dt.timedelta(minutes=minute) for minute in (begin, end or 0)]
    one.datetime_start, one.datetime_complete = (time.astimezone().replace(tzinfo=None) for time in at)
    one.datetime_complete = None if end is None else one.datetime_complete
    return one


def lanes(trials, **environment):
    """Worker by trial in the drawn timeline."""
    figure = timeline(summarize(made.study(trials, environment=environment)))
    return {number: lane for bar in figure.data for number, lane in zip(bar["customdata"], bar["y"], strict=True)}


def test_trials_in_training_lie_on_the_workers_that_are_free():
    ended = [trial(0, "COMPLETE", 0, 5, worker=1), trial(1, "COMPLETE", 0, 3, worker=0), trial(2, "PRUNED", 3, 9, worker=0)]
    now = [trial(3, "RUNNING", 5), trial(4, "RUNNING", 9)]
    assert lanes([*ended, *now]) == {0: 1, 1: 0, 2: 0, 3: 1, 4: 0}


def test_a_worker_whose_first_trial_is_in_training_is_there():
    assert lanes([trial(0, "RUNNING", 0), trial(1, "COMPLETE", 0, 4, worker=1)], workers=2) == {0: 0, 1: 1}


def test_paused_trials_make_no_workers_up():
    paused = [trial(i, "RUNNING", i) for i in range(6)]
    ended = [trial(6 + i, "COMPLETE", 6 + i, 7 + i, worker=i % 2) for i in range(6)]
    assert set(lanes(paused + ended).values()) == {0, 1}


def test_trials_of_a_study_without_workers_lie_apart_where_they_overlap():
    trials = [trial(0, "COMPLETE", 0, 4), trial(1, "COMPLETE", 1, 3), trial(2, "COMPLETE", 3, 5)]
    assert lanes(trials) == {0: 0, 1: 1, 2: 1}


def test_a_trial_that_lay_idle_is_drawn_whole_and_counted_by_its_training():
    trials = [trial(0, "COMPLETE", 0, 100, worker=0, seconds=10), trial(1, "COMPLETE", 50, 90, worker=0)]
    figure = timeline(summarize(made.study(trials)))
    assert figure.alt.replace("\N{NO-BREAK SPACE}", " ").endswith("50 % of the time in training.")
    assert "interrupted or paused" in figure.note
    assert "paused" not in timeline(summarize(made.study(trials[1:]))).note


def test_a_winner_that_the_space_named_is_drawn_among_pruned_trials():
    space = {"filters": IntDistribution(16, 64), "lr": FloatDistribution(0.01, 1.0)}
    ended = [(32, 0.7), (64, 0.9), (48, 0.5), (40, 0.4), (16, 0.3)]
    trials = [
        made.trial(i, "COMPLETE" if i < 2 else "PRUNED", [accuracy], {"filters": filters, "lr": 0.2}, space)
        for i, (filters, accuracy) in enumerate(ended)
    ]
    summary = summarize(made.study(trials, space={"name": "mine", "parameters": {}, "starts": [{"filters": 64}]}))
    assert [line["name"] for line in parallel(summary).data] == ["the others", "trial 1, the best"]
    assert [dots["customdata"] for dots in map_of_two(summary).data] == [[2, 3, 4], [0, 1]]


def test_each_stint_of_a_trial_is_drawn_where_it_was_trained():
    zero = made.BEGIN.timestamp()
    paused = trial(0, "PRUNED", 0, 90, worker=0, seconds=10)
    paused.user_attrs["stints"] = [[1, zero, zero + 300], [0, zero + 3000, zero + 3300]]
    trials = [paused, trial(1, "COMPLETE", 5, 60, worker=1), trial(2, "RUNNING", 60)]
    figure = timeline(summarize(made.study(trials)))
    bars = [bar for row in figure.data for bar in zip(row["customdata"], row["y"], row["base"], row["x"], strict=True)]
    assert sorted(bars) == [(0, 0, 50, 5), (0, 1, 0, 5), (1, 1, 5, 55), (2, 0, 60, 30)]
    assert "paused" not in figure.note


@pytest.mark.parametrize(
    "stints",
    [
        "x",
        5,
        [5],
        [["<b>", 0, 1]],
        [[0, "a", 1]],
        [[0, 1, 2, 3]],
        [[0, 1e300, 1e301]],
        [[-1, 0, 1]],
        [[0, 9, 10]],
        [],
    ],
)
def test_stints_that_are_none_change_nothing(stints):
    one, other = trial(0, "COMPLETE", 0, 5, worker=0), trial(0, "COMPLETE", 0, 5, worker=0)
    other.user_attrs["stints"] = stints
    plain, strange = (timeline(summarize(made.study([each]))) for each in (one, other))
    assert plain == strange


@pytest.mark.parametrize("values", [[0.5, 0.5], [0.851, 0.8534, 0.8571], [0.1, 0.9, 1.0], [0.3] * 50 + [0.31]])
def test_every_trial_is_in_a_bin_and_bins_begin_at_round_numbers(values):
    figure = distribution(summarize(made.study([made.trial(i, accuracies=[value]) for i, value in enumerate(values)])))
    assert sum(sum(bar["y"]) for bar in figure.data) == len(values)
    width = figure.data[0]["width"]
    assert width == pytest.approx(round_step(width))
    assert all((x / width - 0.5) == pytest.approx(round(x / width - 0.5), abs=1e-3) for x in figure.data[0]["x"])


@pytest.mark.parametrize(("least", "step"), [(1, 1), (1.01, 2), (3, 5), (0.6, 1), (0.05, 0.05), (51, 100), (1e-12, 1e-12)])
def test_steps_are_round(least, step):
    assert round_step(least) == pytest.approx(step)


@pytest.mark.parametrize(("low", "high", "ticks"), [(1e-4, 1, 1), (10, 100, "D2"), (310_000, 320_000, "L5000"), (50, 200, "L50")])
def test_a_logarithmic_axis_has_ticks_however_short_it_is(low, high, ticks):
    assert log_axis("x", low, high, "~s")["dtick"] == ticks


def test_parameters_of_which_too_little_is_known_have_neutral_titles():
    few = summarize(made.searched(8))
    assert importance(few) is None
    assert map_of_two(few).title == "Scores over depth and dropout"
    assert "that decide first" not in page(few)
    many = summarize(made.searched())
    assert importance(many).title == "What decides the score"
    assert map_of_two(many).title == "The two most important parameters"


def test_slices_of_a_wide_space_are_not_called_the_most_important_where_nothing_is_known():
    space = {f"x{i:02}": FloatDistribution(0, 1) for i in range(16)}
    trials = [made.trial(i, accuracies=[0.5 + i / 100], params=dict.fromkeys(space, i / 5), space=space) for i in range(5)]
    text = page(summarize(made.study(trials)))
    assert "12 of 16 parameters." in text
    assert "most important" not in text


def test_a_front_of_one_is_said_in_one_sentence():
    trials = [made.trial(i, accuracies=[value], n_parameters=n) for i, (value, n) in enumerate([(0.9, 1e5), (0.8, 2e5)])]
    alt = size(summarize(made.study(trials))).alt.replace("\N{NO-BREAK SPACE}", " ")
    assert alt == "Accuracy and size of 2 finished trials; the best is also the cheapest, 100 k at 90.00 %."


def test_early_scores_are_drawn_with_their_interval_from_rung_to_rung():
    figure = early_scores(summarize(made.fifty()))
    assert figure.layout["xaxis"]["ticktext"] == ["1 to 2"]
    (dots,) = figure.data
    assert dots["customdata"] == [21]
    assert dots["y"][0] - dots["error_y"]["arrayminus"][0] == pytest.approx(0.41, abs=0.01)
    assert early_scores(summarize(made.searched(8))) is None


def test_a_study_that_was_interrupted_lasted_as_long_as_it_trained():
    zero = made.BEGIN.timestamp()
    left = [trial(0, "RUNNING", 0), trial(1, "RUNNING", 0)]
    assert "elapsed" not in page(summarize(made.study(left)))
    left[1].user_attrs["stints"] = [[1, zero, zero + 300]]
    assert summarize(made.study(left)).lasted == 300
    assert "elapsed" in page(summarize(made.study(left)))


def traces(figure):
    return {trace["name"]: trace for trace in figure.data}


def test_scores_of_few_and_of_many_epochs_are_told_apart():
    trials = [made.trial(0, accuracies=made.curve(0.8)), made.trial(1, accuracies=made.curve(0.7))]
    trials += [made.trial(2 + i, "PRUNED", made.curve(0.6)[:epochs]) for i, epochs in enumerate((1, 1, 2, 4))]
    summary = summarize(made.study(trials))
    drawn = history.history(summary)
    marks = traces(drawn)
    assert marks["pruned"]["customdata"] == [" after epoch 1 of 10", " after epoch 1 of 10", *_after(2, 4)]
    assert marks["pruned"]["marker"]["size"] == sorted(marks["pruned"]["marker"]["size"])
    assert max(marks["pruned"]["marker"]["size"]) < min(marks["finished"]["marker"]["size"])
    assert "Smaller marks: fewer epochs." in drawn.note
    bars = traces(history.distribution(summary))
    assert list(bars) == ["finished", "pruned after epoch 4", "pruned after epoch 2", "pruned after epoch 1"]
    assert [sum(bar["y"]) for bar in bars.values()] == [2, 1, 1, 2]
    alike = summarize(made.study(trials[:2]))
    assert history.history(alike).note == ""


def _after(*epochs):
    return [f" after epoch {epoch} of 10" for epoch in epochs]


def test_many_epochs_at_which_trials_stopped_share_a_few_patterns():
    trials = [made.trial(i, "PRUNED", made.curve(0.5 + i / 30)[:i]) for i in range(1, 10)]
    bars = traces(history.distribution(summarize(made.study(trials))))
    assert list(bars) == [f"pruned after epochs {part}" for part in ("7 to 9", "5 to 6", "3 to 4", "1 to 2")]


@pytest.mark.parametrize(
    ("tta", "environment", "said"),
    [
        ({"value": "shifted"}, {"early_views": 1, "mirroring": "as flip and tta say"}, True),
        ({"value": True}, {"early_views": 1}, True),
        ({"choices": [True, False]}, {"early_views": 1}, True),
        ({"value": False}, {"early_views": 1}, False),
        ({"value": True}, {"early_views": 2}, False),
        ({"value": True}, {"early_views": 1, "mirroring": "off: flip and tta do not apply to these images"}, False),
        ({"value": True}, {}, False),
        ("shifted", {"early_views": 1}, False),
    ],
)
def test_curves_say_where_their_last_step_is_one_of_more_views(tta, environment, said):
    study = made.study(
        [made.trial(0, accuracies=made.curve(0.8))], space={"name": "basic", "parameters": {"tta": tta}}, environment=environment
    )
    summary = summarize(study)
    assert [("(tta)" in figure.note) for figure in (history.curves(summary), winner.learning(summary))] == [said, said]


def test_the_training_loss_is_said_to_be_another_quantity_than_the_scored_one():
    trials = [made.trial(0, accuracies=made.curve(0.8), train_loss=[1.0] * 10, score_loss=[0.5] * 10)]
    space = {"name": "basic", "parameters": {"label_smoothing": {"value": 0.1}}}
    smoothed = summarize(made.study(trials, space=space, environment={"classes": made.CLASSES}))
    assert winner.learning(smoothed).note == (
        "The two losses are different quantities: the training loss includes label smoothing 0.1 (minimum 0.50), dropout and "
        "augmentation."
    )
    assert "label smoothing" not in winner.learning(summarize(made.study(trials))).note


def test_a_bin_of_few_images_has_no_whiskers(tmp_path):
    scores = read_artifacts(made.artifacts(tmp_path, n=60)).scores
    drawn = winner.calibration(scores)
    assert min(drawn.data[1]["customdata"]) >= 10
    assert re.fullmatch(r"Bins of fewer than 10 images are not drawn \(\d+ images in all\)\.", drawn.note)
    few = tmp_path / "few"
    few.mkdir()
    assert winner.calibration(read_artifacts(made.artifacts(few, n=12)).scores) is None
