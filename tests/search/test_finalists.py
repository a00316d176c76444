"""Which trials of a study are trained again, with which seeds, and in which order."""

from __future__ import annotations

import pytest
from instant import ALONE, InstantPool, Notes, new_study, reopen, run

from hpo.search import finalists
from hpo.search_space import SearchSpace
from hpo.settings import derived_seed
from hpo.store.database import locate
from hpo.store.definition import stored as definition_of
from hpo.store.reading.record import load
from hpo.store.repetitions import Entry, Repetitions

SPACE = SearchSpace.of(
    "mixed",
    {
        "lr": {"type": "float", "low": 0.01, "high": 1.0, "log": True, "default": 0.1},
        "width": {"type": "int", "low": 8, "high": 64, "step": 8, "default": 32},
        "norm": {"choices": ["batch", "group"], "default": "batch"},
    },
)
POINT = {"lr": 0.1, "width": 32, "norm": "batch"}


@pytest.fixture
def searched(tmp_path):
    """A study of twelve trials that are all complete."""
    study = new_study(tmp_path / "hpo.db", space=ALONE, pruner="none")
    run(study, 12)
    return load("first", locate(str(tmp_path / "hpo.db")))


@pytest.mark.parametrize(
    ("other", "are_near"),
    [
        ({}, True),
        ({"lr": 0.11}, True),
        ({"lr": 0.2}, False),
        ({"width": 40}, False),
        ({"norm": "group"}, False),
    ],
)
def test_points_are_near_where_every_number_is_within_a_twentieth_of_its_range(other, are_near):
    assert finalists.near(SPACE, POINT, POINT | other) == are_near


def test_the_default_point_is_first_and_then_the_best_that_differ(searched):
    plan = finalists.chosen(searched, searched.space, 3, 4)
    assert [entry.role for entry in plan.entries] == ["default", "finalist", "finalist", "finalist"]
    assert plan.entries[0].point == searched.space.default
    values = [searched.trials[entry.trial].value for entry in plan.entries[1:]]
    assert values == sorted(values, reverse=True)
    assert plan.entries[1].trial == searched.best.number
    pairs = [(a, b) for i, a in enumerate(plan.entries) for b in plan.entries[:i]]
    assert not any(finalists.near(searched.space, a.point, b.point) for a, b in pairs)


def test_pruned_trials_are_no_finalists(tmp_path):
    study = new_study(tmp_path / "hpo.db", space=ALONE)
    run(study, 20)
    record = load("first", locate(str(tmp_path / "hpo.db")))
    assert record.counts["pruned"] > 5
    plan = finalists.chosen(record, record.space, 20, 3)
    assert all(record.trials[entry.trial].state.name == "COMPLETE" for entry in plan.entries)


def test_seeds_are_none_of_the_studys_and_more_begin_with_fewer(searched):
    five, eight = finalists.seeds(searched, 5), finalists.seeds(searched, 8)
    assert eight[:5] == five
    assert len({*eight}) == 8
    assert not {*eight} & {derived_seed(0, "trial", number) for number in range(1000)}


def test_an_ablation_puts_back_one_choice_at_a_time():
    found = finalists.ablations(SPACE, {"lr": 0.5, "width": 32, "norm": "group"})
    assert [(entry.without, entry.point) for entry in found] == [
        ("lr", {"lr": 0.1, "width": 32, "norm": "group"}),
        ("norm", {"lr": 0.5, "width": 32, "norm": "batch"}),
    ]


def repeated(path, entries=3, seeds=(11, 12)):
    """A new study that repeats points."""
    lrs = (0.2, 0.1, 0.4, 0.3)[:entries]
    points = [ALONE.default | {"lr": lr} for lr in lrs]
    made = [Entry(role="finalist" if i else "default", point=point) for i, point in enumerate(points)]
    plan = Repetitions(study="first", entries=tuple(made), seeds=seeds)
    return new_study(path, "first.finalists", ALONE, repetitions=plan, pruner="none", sampler="random")


class Seeds(InstantPool):
    """A pool that remembers the seed of each trial."""

    def __init__(self, **more):
        super().__init__(**more)
        self.seeds = {}

    def send(self, worker, message):
        if hasattr(message, "seed"):
            self.seeds.setdefault(message.trial, message.seed)
            assert self.seeds[message.trial] == message.seed
        super().send(worker, message)


def test_every_point_is_trained_with_every_seed_and_nothing_else(tmp_path):
    study, pool = repeated(tmp_path / "hpo.db"), Seeds()
    assert run(study, 6, pool) == "total"
    assert [trial.params["lr"] for trial in study.own] == [0.2, 0.1, 0.4] * 2
    assert [*pool.seeds.values()] == [11] * 3 + [12] * 3
    record = load("first.finalists", locate(str(tmp_path / "hpo.db")))
    assert [trial.user_attrs["seed"] for trial in record.trials] == [11] * 3 + [12] * 3
    assert study.exhausted


def test_a_training_that_was_interrupted_goes_on_with_its_seed(tmp_path):
    study, notes = repeated(tmp_path / "hpo.db"), Notes()

    def interrupt(n):
        if n == 10:
            raise KeyboardInterrupt

    notes.after_epoch = interrupt
    pool = Seeds()
    with pytest.raises(KeyboardInterrupt):
        run(study, 6, pool, notes)
    again, later = reopen(study), Seeds()
    assert run(again, 6, later) == "total"
    assert [trial.params["lr"] for trial in again.own] == [0.2, 0.1, 0.4] * 2
    assert later.seeds[2] == pool.seeds[2] == 11
    assert all(trial.state.name == "COMPLETE" for trial in again.own)


def test_a_failed_training_is_not_repeated_and_the_others_are_done(tmp_path):
    from hpo.messages import TrialFailed

    study = repeated(tmp_path / "hpo.db")
    pool = InstantPool(fate=lambda trial, _: TrialFailed(trial=1, cause="diverged", reason="inf") if trial == 1 else None)
    assert run(study, 6, pool) == "exhausted: every training was begun"
    assert [trial.state.name for trial in study.own] == ["COMPLETE", "FAIL"] + ["COMPLETE"] * 4


def test_what_another_program_enqueues_is_refused(tmp_path):
    study = repeated(tmp_path / "hpo.db")
    load("first.finalists", locate(str(tmp_path / "hpo.db"))).study.enqueue_trial({"lr": 0.5})
    notes = Notes()
    run(reopen(study), 6, watcher=notes)
    assert "a study of finalists trains its finalists alone" in notes.warnings[0]


def test_a_plan_that_somebody_has_edited_is_refused(tmp_path):
    from hpo.errors import StorageError, UsageError

    study = repeated(tmp_path / "hpo.db")
    optuna_study = load("first.finalists", locate(str(tmp_path / "hpo.db"))).study
    plan = dict(optuna_study.user_attrs["finalists"])
    for odd in ({**plan, "seeds": []}, {**plan, "entries": [{"role": "default", "point": {"lr": 9}}]}, 7):
        optuna_study.set_user_attr("finalists", odd)
        with pytest.raises((StorageError, UsageError)):
            definition_of(study.database, "first.finalists")
