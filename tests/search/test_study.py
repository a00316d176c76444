"""The mirror in memory and the record in the database say the same at every moment, and a study goes on as if never closed."""

from __future__ import annotations

from datetime import UTC, datetime

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instant import ALONE, EPOCHS, curve, new_study, reopen
from optuna.trial import TrialState

from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.errors import StorageError, UsageError
from hpo.search.memory import FOR_TPE
from hpo.search.samplers import STARTUP_TRIALS
from hpo.search.study import create
from hpo.search_space import SearchSpace
from hpo.settings import Settings
from hpo.store.database import locate, open_database
from hpo.store.definition import Definition, stored
from hpo.store.reading import record
from hpo.store.schema import WAITS

SAMPLERS = ["tpe", "random", "qmc", pytest.param("gp", marks=pytest.mark.slow)]
SPACE = SearchSpace.of(
    "small",
    {
        "filters": {"type": "int", "low": 16, "high": 64, "step": 16, "default": 32},
        "dropout": {"type": "float", "low": 0, "high": 0.5, "default": 0},
        "lr": {"type": "float", "low": 1e-3, "high": 1, "log": True, "default": 0.1},
        "norm": {"choices": ["batch", "none"], "default": "none"},
    },
)


def seen(trials) -> list[tuple]:
    """What must be equal of trials, whoever keeps them."""
    return [(t.number, t.state, t.params, t.value, t.intermediate_values, t.user_attrs, rungs(t)) for t in trials]


def rungs(trial) -> dict:
    return {key: value for key, value in trial.system_attrs.items() if key.startswith(("completed_rung", WAITS))}


def assert_same(study) -> None:
    """The mirror is what is stored, and what it would be if it were opened now."""
    recorded = seen(study.database.storage.get_all_trials(study._study_id))
    assert seen(study.trials) == recorded
    assert seen(reopen(study).trials) == recorded


def train(study, trial, epochs=EPOCHS) -> str:
    """Report epochs until the trial shall not go on; return what it shall do."""
    begun = len(trial.scores)
    judgements = (study.report(trial, e, curve(study.space.point(trial.params), e)) for e in range(begun + 1, epochs + 1))
    return next((judgement for judgement in judgements if judgement != "go on"), "go on")


def finish(study, trial) -> None:
    match train(study, trial):
        case "stop":
            study.prune(trial)
        case "wait":
            pass  # the plan keeps it
        case _:
            study.complete(trial, trial.scores[EPOCHS])


@pytest.mark.parametrize("space", ["basic", "wide", "tutorial"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_trial_0_is_the_default_point(tmp_path, sampler, space):
    study = new_study(tmp_path / "hpo.db", space=space, sampler=sampler)
    first, second = study.ask(), study.ask()
    assert first.params == study.space.default
    assert second.params != first.params


@pytest.mark.parametrize("pruner", ["halving", "median", "hyperband"])
def test_the_points_that_a_space_begins_with_and_a_last_epoch_are_never_stopped(tmp_path, pruner):
    study = new_study(tmp_path / "hpo.db", pruner=pruner)
    default, start = study.ask(), study.ask()
    others = [study.ask() for _ in range(6)]
    for trial in others:
        for epoch in range(1, EPOCHS):
            study.report(trial, epoch, 0.9)
    assert {study.report(trial, epoch, 0.01) for trial in (default, start) for epoch in range(1, EPOCHS + 1)} == {"go on"}
    assert study.report(others[0], EPOCHS, 0.0) == "go on"


def at_the_first_rung(study, *accuracies) -> list[str]:
    """Report the first epoch of as many new trials; return what each shall do."""
    judgements = []
    for accuracy in accuracies:
        trial = study.ask()
        judgements.append(study.report(trial, 1, accuracy))
    return judgements


def test_at_a_rung_the_best_third_goes_on_and_the_others_wait_until_they_are_among_it(tmp_path):
    study = new_study(tmp_path / "hpo.db", space=ALONE)
    assert at_the_first_rung(study, 0.8, 0.7, 0.5) == ["go on", "wait", "wait"]  # the default point takes nobody's place
    assert study.plan.next() is None
    assert at_the_first_rung(study, 0.6) == ["wait"]
    trial = study.plan.next()
    study.plan.resume(trial)
    assert (trial.number, trial.scores, study.plan.next()) == (1, {1: 0.7}, None)
    assert study.report(trial, 1, 0.7) == "go on"  # what its checkpoint brings back is no news
    assert at_the_first_rung(study, 0.1, 0.2, 0.9) == ["wait", "wait", "go on"]
    assert [trial.number for trial in study.plan.hopeless(None)] == [4, 5, 2, 3]
    assert_same(study)


def test_who_waits_waits_after_a_reopening_and_who_goes_on_goes_on(tmp_path):
    study = new_study(tmp_path / "hpo.db", space=ALONE, epochs=2)
    at_the_first_rung(study, 0.8, 0.7, 0.5, 0.6, 0.1, 0.2, 0.9, 0.3, 0.4, 0.35)
    first = study.plan.waiting[1]
    study.plan.resume(first)
    study.report(first, 2, 0.75)
    for _ in range(2):
        assert sorted(study.plan.waiting) == [2, 3, 4, 5, 7, 8, 9]
        assert study.plan.next().number == 3
        study = reopen(study)
        assert [trial.number for trial in study.unfinished()] == [0, 1, 6]


def test_a_trial_that_failed_takes_no_place_after_a_reopening_either(tmp_path):
    study = new_study(tmp_path / "hpo.db", space=ALONE)
    at_the_first_rung(study, 0.9, 0.7, 0.5)
    failed = study.ask()
    assert study.report(failed, 1, 0.8) == "go on"
    study.fail(failed)
    for opened in (study, reopen(study)):
        assert opened.plan.next() is None
        assert opened.plan._rungs._ranked[1] == [(-0.7, 1), (-0.5, 2)]


def test_the_sampler_does_not_take_a_bad_default_point_for_a_good_one(tmp_path):
    study = new_study(tmp_path / "hpo.db", space=ALONE)
    default = study.ask()
    for epoch in range(1, EPOCHS + 1):
        study.report(default, epoch, 0.1)
    at_the_first_rung(study, 0.5, 0.6, 0.7)
    study.complete(default, 0.1)
    for opened in (study, reopen(study)):
        with opened._mirror._memory.showing(FOR_TPE):
            shown = opened._mirror.trials[0]
        assert (shown.state, shown.intermediate_values) == (TrialState.PRUNED, {1: 0.1})
        assert opened.trials[0].state == TrialState.COMPLETE


def test_nor_where_optunas_pruner_would_have_stopped_it(tmp_path):
    starts = tuple({"lr": lr / 10} for lr in range(2, 9))
    study = new_study(tmp_path / "hpo.db", space=SPACE.model_copy(update={"starts": starts}), pruner="median")
    for accuracy in (0.5, 0.6, 0.7, 0.6, 0.5, 0.7, 0.1):
        trial = study.ask()
        for epoch in range(1, EPOCHS + 1):
            assert study.report(trial, epoch, accuracy) == "go on"
        study.complete(trial, accuracy)
    for opened in (study, reopen(study)):
        with opened._mirror._memory.showing(FOR_TPE):
            shown = opened._mirror.trials
        assert [trial.state.name for trial in shown] == ["COMPLETE"] * 6 + ["PRUNED"]
        assert max(shown[6].intermediate_values) == 1


@pytest.mark.parametrize("mark", [3, None, "1", [1]])
def test_a_mark_that_names_no_rung_is_none(tmp_path, mark):
    study = new_study(tmp_path / "hpo.db")
    study.ask()
    trial = study.ask()
    for epoch in (1, 2, 3):
        study.report(trial, epoch, 0.5)
    study.database.storage.set_trial_system_attr(study._ids[1], "hpo:waits", mark)
    study = reopen(study)
    assert [trial.number for trial in study.unfinished()] == [0, 1]
    assert not study.plan.waiting


def test_a_trial_that_waits_is_to_the_sampler_as_one_that_was_stopped(tmp_path):
    waited, stopped = (new_study(tmp_path / name, seed=5) for name in ("a.db", "b.db"))
    for _ in range(20):
        for study in (waited, stopped):
            trial = study.ask()
            judgement = train(study, trial)
            if judgement == "go on":
                study.complete(trial, trial.scores[EPOCHS])
            elif study is stopped:
                study.prune(trial)
    assert len(waited.plan.waiting) > 5
    assert [trial.params for trial in waited.trials] == [trial.params for trial in stopped.trials]


@pytest.mark.slow  # it loads torch
def test_a_gaussian_process_chooses_under_halving_too_though_hardly_a_trial_is_complete(tmp_path):
    study = new_study(tmp_path / "hpo.db", space=ALONE, sampler="gp")
    at_the_first_rung(study, *(0.9 - trial / 100 for trial in range(STARTUP_TRIALS + 1)))
    assert not any(trial.state == TrialState.COMPLETE for trial in study.trials)
    study.ask()
    noted = study._mirror.attributes(STARTUP_TRIALS + 1)
    assert any(key.startswith("gp:relative_params") for key in noted)


def test_an_epoch_reported_twice_counts_once(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    trial = study.ask()
    study.report(trial, 1, 0.1)
    study.report(trial, 1, 0.8)
    assert study.trials[0].intermediate_values == {1: 0.1}
    assert_same(study)


def test_hyperband_puts_a_trial_into_the_same_bracket_after_a_reopening(tmp_path):
    study = new_study(tmp_path / "hpo.db", pruner="hyperband")
    names = {opened._mirror._study.study_name for opened in (study, reopen(study))}
    assert names == {"first"}  # its brackets are drawn by the study's name and the trial's number


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_loser_that_a_dying_run_did_not_come_to_stop_is_stopped_by_the_next(tmp_path, pruner):
    study = new_study(tmp_path / "hpo.db", pruner=pruner)
    for _ in range(8):
        finish(study, study.ask())
    loser = study.ask()
    epoch = next(epoch for epoch in range(1, EPOCHS) if study.report(loser, epoch, 0.01) == "stop")
    study = reopen(study)
    [loser] = study.unfinished()
    assert study.report(loser, epoch, 0.01) == "stop"
    study.prune(loser)
    assert_same(study)


def test_ends_are_recorded_with_state_value_and_attributes(tmp_path):
    study = new_study(tmp_path / "hpo.db", pruner="none")
    done, pruned, failed, running = (study.ask() for _ in range(4))
    for trial in (done, pruned, running):
        train(study, trial, epochs=2)
    done.attributes["train_loss"] = [1.0, 0.5]
    failed.attributes["reason"] = "the loss was not finite in epoch 1 (lr = 1)."
    study.complete(done, done.scores[2])
    study.prune(pruned)
    study.fail(failed)
    assert_same(study)
    trials = record.load("first", study.location).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert [trial.value for trial in trials] == [done.scores[2], pruned.scores[2], None, None]
    assert trials[0].user_attrs == done.attributes | {"seed": study.seed(0)}
    assert trials[2].user_attrs == failed.attributes | {"seed": study.seed(2)}
    assert all((trial.datetime_complete is None) == (trial.state == TrialState.RUNNING) for trial in trials)
    assert study.n_finished == 2
    assert study.best.number == 0


def test_of_equal_trials_the_first_is_the_best(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    trials = [study.ask() for _ in range(3)]
    for trial in reversed(trials):
        study.report(trial, EPOCHS, 0.5)
        study.complete(trial, 0.5)
    assert study.best.number == record.load("first", study.location).best.number == 0


steps = st.lists(
    st.one_of(
        st.just(("ask",)),
        st.tuples(st.just("report"), st.integers(0, 3), st.floats(0, 1)),
        st.tuples(st.sampled_from(["complete", "prune", "fail"]), st.integers(0, 3)),
        st.just(("resume",)),
        st.just(("reopen",)),
    ),
    max_size=20,
)


@given(steps, st.sampled_from(["halving", "median", "hyperband", "none"]))
@settings(max_examples=12)
def test_after_any_sequence_the_mirror_is_the_record(tmp_path_factory, sequence, pruner):
    study = new_study(tmp_path_factory.mktemp("any") / "hpo.db", space=SPACE, sampler="random", pruner=pruner)
    going = {}
    for what, *values in sequence:
        trial = list(going.values())[values[0] % len(going)] if values and going else None
        if what == "ask":
            trial = study.ask()
            going[trial.number] = trial
        elif what == "reopen":
            study = reopen(study)
            assert {t.number: (t.params, t.scores) for t in study.unfinished()} == {
                t.number: (t.params, t.scores) for t in going.values()
            }
            going = {trial.number: trial for trial in study.unfinished()}
        elif trial and what == "report":
            match study.report(trial, len(trial.scores) + 1, values[1]):
                case "stop":
                    study.prune(going.pop(trial.number))  # as the runner does, at once
                case "wait":
                    going.pop(trial.number)
        elif what == "resume" and (trial := study.plan.next()):
            study.plan.resume(trial)
            going[trial.number] = trial
        elif trial and (trial.scores or what == "fail"):
            going.pop(trial.number)
            study.complete(trial, trial.score) if what == "complete" else getattr(study, what)(trial)
    assert_same(study)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_reopened_anywhere_goes_on_with_the_same_suggestions(tmp_path, sampler):
    """Two trials are in training at any time; one of the studies is opened anew after every second trial."""

    def suggestions(path, *, reopened):
        study = new_study(path, space=SPACE, sampler=sampler, seed=3)
        going, params = [study.ask()], []
        for number in range(1, 18):
            going.append(study.ask())
            params.append(going[-1].params)
            finish(study, going.pop(0)) if number % 5 else study.fail(going.pop(0))
            if reopened and number % 2:
                study = reopen(study)
                going = study.unfinished()
        return params

    assert suggestions(tmp_path / "a.db", reopened=True) == suggestions(tmp_path / "b.db", reopened=False)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_suggestions_differ_from_trial_to_trial_and_from_seed_to_seed(tmp_path, sampler):
    points = []
    for seed in (0, 1):
        study = new_study(tmp_path / f"{seed}.db", sampler=sampler, seed=seed)
        trials = [study.ask() for _ in range(7)]
        points += [tuple(trial.params.values()) for trial in trials[len(study.space.first) :]]
    assert len(set(points)) == 10


def test_the_first_trials_are_the_points_that_the_space_begins_with(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    assert [study.ask().params for _ in range(2)] == study.space.first
    assert study.ask().params not in study.space.first


def test_a_space_without_anything_to_vary_is_tried_and_continued(tmp_path):
    study = new_study(tmp_path / "hpo.db", space=SearchSpace.of("fixed", {"lr": 0.1}))
    assert study.ask().params == {}
    assert [trial.number for trial in reopen(study).unfinished()] == [0]


def wish(study, *points) -> None:
    """Enqueue points as another program does."""
    for point in points:
        record.load("first", study.location).study.enqueue_trial(point)


def test_points_that_another_program_has_enqueued_are_tried_next_and_what_they_leave_out_takes_its_default(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    study.ask()
    wish(study, {"depth": 2, "dropout": 0}, {"filters": 48})
    study = reopen(study)
    asked = [study.ask() for _ in range(3)]
    assert [trial.number for trial in asked] == [1, 2, 3]
    default = study.space.default
    assert [trial.params for trial in asked] == [
        default | {"depth": 2, "dropout": 0},
        default | {"filters": 48},
        study.space.first[1],
    ]
    assert_same(study)


def test_a_point_enqueued_while_a_study_runs_is_tried_next(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    study.ask()
    wish(study, {"depth": 2})
    assert study.look_around() == {}
    assert study.ask().params == study.space.default | {"depth": 2}
    assert study.ask().params == study.space.first[1]
    assert_same(study)


UNFIT = {
    "outside its range": ({"lr": 50.0}, "lr = 50.0 is outside its range in space 'basic'"),
    "not a number": ({"lr": float("nan")}, "lr = nan is outside its range in space 'basic'"),
    "of another type": ({"depth": "three"}, "depth = 'three' is outside its range in space 'basic'"),
    "a list": ({"depth": [3]}, r"depth = [3] is outside its range in space 'basic'"),
    "of no parameter": ({"learning_rate": 0.1}, "space 'basic' has no parameter 'learning_rate'"),
    "fixed otherwise": ({"batch_size": 64}, "batch_size = 64 is outside its range in space 'basic'"),
    "tried before": ({"batch_size": 0}, "trial 0 has tried its point, and a point is tried once"),
}


@pytest.mark.parametrize(("point", "reason"), UNFIT.values(), ids=UNFIT)
def test_an_enqueued_point_that_cannot_be_tried_fails_with_the_reason(tmp_path, point, reason):
    study = new_study(tmp_path / "hpo.db")
    study.ask()
    wish(study, point)
    for again in range(2):
        refused = study.look_around()
        assert list(refused) == ([1] if not again else [])
        study = reopen(study)
    [_, trial] = record.load("first", study.location).own
    assert (trial.number, trial.state) == (1, TrialState.FAIL)
    assert trial.user_attrs["reason"].startswith(reason)
    assert study.ask().number == 2


def test_a_point_enqueued_twice_is_tried_once(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    study.ask()
    wish(study, {"depth": 2}, {"depth": 2})
    study.look_around()
    assert study.ask().number == 1
    assert study.look_around() == {2: "trial 1 has tried its point, and a point is tried once"}


def test_a_study_begins_with_its_default_point_whatever_was_enqueued_before(tmp_path):
    """Reports compare with trial 0."""
    study = new_study(tmp_path / "hpo.db")
    wish(study, {"depth": 2})
    assert list(study.look_around()) == [0]
    assert study.ask().params == study.space.default


def test_trials_of_another_program_are_nothing_to_learn_from_and_count_for_nothing(tmp_path):
    visited = new_study(tmp_path / "hpo.db")
    theirs = record.load("first", visited.location).study
    for number in range(14):
        visited.look_around()
        finish(visited, visited.ask())
        if number == 3:
            theirs.ask()
            params, known = visited.space.default, visited._distributions
            theirs.add_trial(optuna.trial.create_trial(params=params, distributions=known, value=99.0))
    assert visited.best.value <= 1
    assert all(trial.state == TrialState.FAIL for trial in visited._mirror.trials[4:6])  # which samplers leave out
    assert [t.number for t in reopen(visited).own] == [*range(4), *range(6, 16)]
    assert reopen(visited).n_finished == visited.n_finished
    assert 5 not in [trial.number for trial in reopen(visited).unfinished()]


def test_trials_that_another_program_added_meanwhile_are_refused_with_the_way_on(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    study.ask()
    begun = {"params": study.space.default, "distributions": study._distributions, "state": TrialState.RUNNING}
    study.database.storage.create_new_trial(study._study_id, optuna.trial.create_trial(**begun))  # as another hpo would
    for call in (study.ask, study.look_around):
        with pytest.raises(StorageError, match=r"another program has added trials .* hpo resume first"):
            call()


FEW = SearchSpace.of(
    "few",
    {
        "filters": {"type": "int", "low": 8, "high": 24, "step": 8, "default": 8},
        "norm": {"choices": ["batch", "none"], "default": "none"},
    },
)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_finite_space_is_tried_out_without_a_point_twice(tmp_path, sampler):
    study = new_study(tmp_path / "hpo.db", space=FEW, sampler=sampler)
    for number in range(6):
        assert not study.exhausted
        finish(study, study.ask())
        if number % 2:
            study = reopen(study)
    assert len({str(trial.params) for trial in study.trials}) == 6
    assert study.exhausted
    assert reopen(study).exhausted
    assert_same(study)


def test_a_study_is_stored_with_all_that_it_takes_to_do_it_again(tmp_path):
    study = new_study(tmp_path / "hpo.db", space="wide", seed=5)
    found = record.load("first", study.location)
    assert (found.settings, found.space) == (study.settings, study.space)
    assert found.attributes.keys() == {"settings", "space", "environment", "command", "objective", "recipe"}
    assert found.study.metric_names == ["accuracy"]
    assert found.study.direction == optuna.study.StudyDirection.MAXIMIZE
    made = Definition("first", OBJECTIVE, study.settings, study.space, {"cores": 2}, "hpo run", [], {}, OBJECTIVE.recipe)
    assert stored(study.database, "first") == made
    assert stored(study.database, "second") is None


FOREIGN = {
    "no attributes": {},
    "attributes of other things": {"settings": "mine", "space": "outer"},
    "settings of another hpo": {"settings": {"dataset": "cifar10", "epoch": 3}, "space": {"name": "s", "parameters": {}}},
    "half": {"settings": Settings().model_dump(mode="json")},
}


@pytest.mark.parametrize("attributes", FOREIGN.values(), ids=FOREIGN)
def test_a_study_that_hpo_did_not_make_is_refused_and_left_as_it_is(tmp_path, attributes):
    location = locate(str(tmp_path / "hpo.db"))
    database = open_database(location, create=True)
    theirs = optuna.create_study(storage=database.storage, study_name="theirs")
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    for key, value in attributes.items():
        theirs.set_user_attr(key, value)
    with pytest.raises(UsageError, match=r"'theirs' in .* was not made by (this )?hpo.*hpo run theirs-2"):
        stored(database, "theirs")
    assert len(record.load("theirs", location).trials) == 1


def test_a_study_half_made_is_left_as_it_is_until_it_is_made_whole(tmp_path):
    """Another run may be about to make it."""
    location = locate(str(tmp_path / "hpo.db"))
    database = open_database(location, create=True)
    optuna.create_study(storage=database.storage, study_name="first", direction="maximize")
    assert stored(database, "first") is None
    assert record.names(database) == ["first"]
    assert new_study(location.path).ask().number == 0


@pytest.mark.parametrize(
    ("wanted", "space", "parts"),
    [
        ({"epochs": 20}, None, ["epochs = 10, and you asked for 20"]),
        ({"sampler": "gp", "seed": 1}, None, ["sampler = 'tpe', and you asked for 'gp'", "seed = 0, and you asked for 1"]),
        ({"limit_train": 500}, None, ["limit_train = None, and you asked for 500"]),
        (
            {},
            SearchSpace.of("b", {"lr": 0.1}, knobs=Config),
            ["space 'basic' with depth: low 2, high 4", "default 3, and you asked for value 3"],
        ),
        ({}, OBJECTIVE.space("wide"), ["space 'basic' with growth: value 2.0, and you asked for low 1.0, high 2.5", "…"]),
    ],
)
def test_other_settings_or_another_space_are_refused_with_both_values_and_the_way_out(wanted, space, parts):
    with pytest.raises(UsageError) as caught:
        Definition("first", OBJECTIVE, Settings(), OBJECTIVE.space("basic")).check_same(OBJECTIVE, wanted, space)
    for part in ["study 'first'", "hpo resume first", "hpo run first-2", *parts]:
        assert part in str(caught.value)


def test_a_space_without_a_parameter_that_the_study_has_is_another_space():
    basic = OBJECTIVE.space("basic")
    without = basic.model_copy(update={"parameters": {k: p for k, p in basic.parameters.items() if k != "lr"}})
    with pytest.raises(UsageError, match=r"space 'basic' with lr: low 0\.01, high 0\.5, .*and you asked for none"):
        Definition("first", OBJECTIVE, Settings(), basic).check_same(OBJECTIVE, {}, without)


def test_the_same_settings_and_the_same_space_of_another_name_are_no_difference():
    basic = OBJECTIVE.space("basic")
    renamed = basic.model_copy(update={"name": "mine"})
    Definition("first", OBJECTIVE, Settings(), basic).check_same(OBJECTIVE, Settings().model_dump(), renamed)


def test_other_images_are_refused_with_both_values():
    before = Definition("first", OBJECTIVE, Settings(), OBJECTIVE.space(), {"data_digest": "aa", "n_train": 100, "cores": 2})
    before.check_same_data({"data_digest": "aa", "n_train": 100, "cores": 64})
    with pytest.raises(UsageError, match=r"n_train = 100, but here it is 200.*hpo run first-2"):
        before.check_same_data({"data_digest": "aa", "n_train": 200})


def test_times_are_those_of_the_trial(tmp_path):
    began = datetime.now(UTC)
    study = new_study(tmp_path / "hpo.db")
    study.complete(study.ask(), 0.5)
    [trial] = record.load("first", study.location).trials
    assert began <= trial.datetime_start <= trial.datetime_complete <= datetime.now(UTC)


def test_trial_0_takes_part_in_the_competition_though_it_is_never_stopped(tmp_path):
    """Of three at the first rung one goes on: it is trial 0, so no other does."""
    study = new_study(tmp_path / "hpo.db", space=ALONE, pruner="halving")
    first, second, third = study.ask(), study.ask(), study.ask()
    assert study.report(first, 1, 0.8) == "go on"
    assert [study.report(second, 1, 0.5), study.report(third, 1, 0.6)] == ["wait", "wait"]
    assert study.report(first, 2, 0.1) == "go on"


def test_a_study_keeps_the_rungs_that_it_was_made_with(tmp_path):
    location = new_study(tmp_path / "hpo.db").location
    database, settings = open_database(location), Settings(dataset="digits")
    made = create(database, Definition("small", OBJECTIVE, settings, ALONE, {"n_train": 1437}))
    assert made.plan._rungs.levels == reopen(made).plan._rungs.levels == [5]
    old = create(database, Definition("old", OBJECTIVE, settings, ALONE))
    assert old.plan._rungs.levels == [1, 2, 4]


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_no_pruner_stops_a_trial_before_the_first_rung(tmp_path, pruner):
    location = new_study(tmp_path / "hpo.db").location
    settings = Settings(dataset="digits", pruner=pruner)
    study = create(open_database(location), Definition("small", OBJECTIVE, settings, ALONE, {"n_train": 1437}))
    for accuracy in (0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1):
        trial = study.ask()
        judgements = [study.report(trial, epoch, accuracy) for epoch in range(1, 6)]
        assert judgements[:4] == ["go on"] * 4
        if accuracy > 0.5:
            study.report(trial, 10, accuracy)
            study.complete(trial, accuracy)
    assert judgements[4] == "stop"
