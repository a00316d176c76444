"""Studies made by an older hpo continue as they were made; those of a newer one are refused.

data/recipe-1.tar.xz is a study by the last hpo that stored no recipe: digits, AdamW, group norms, a last batch that is one image
too large, cutout on images that are not standardized. It was killed after the second epoch of trial 1, of three trials of four
epochs.

data/recipe-2.tar.xz is one by the hpo of commit 460da9a, the last before its rooms became today's: digits, six epochs, halving
with a rung after the second. It was killed after the first epoch of trial 6, of fourteen; trials 2, 4 and 5 wait, and 0, 1 and 3
are complete.
"""

import itertools
import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
import torch
from instant import new_study
from running import Hpo

import hpo
from hpo.builtin.convnet import Config
from hpo.builtin.recipe import BEFORE, LATEST, RECIPES
from hpo.data import datasets
from hpo.errors import UsageError
from hpo.search.study import WritableStudy
from hpo.settings import derived_seed
from hpo.store import definition
from hpo.store.database import locate, open_database
from hpo.store.reading.record import load
from hpo.training.task import Task
from hpo.training.trial import Trial

DATA = Path(__file__).parents[1] / "data"
LOSSES = {  # of training and scoring by epoch, as that hpo had them in float32
    "continued": [(1.265778, 0.639782), (1.188276, 0.568640)],
    "begun": [(2.298417, 2.219202), (2.090716, 1.858576), (1.829500, 1.522293), (1.667414, 1.330457)],
    "waiting": [(1.446031, 0.792886), (1.196600, 0.522715), (1.048974, 0.361924), (0.989937, 0.350951)],
    "killed": [
        (1.996911, 1.531874)
    ],  # near the peak of the rate: after one more epoch numbers of threads differ by some per cent
}


def unpacked(archive, name, folder):
    with tarfile.open(DATA / archive) as files:
        files.extractall(folder, filter="data")
    return load(name, locate(str(folder / "studies" / "hpo.db")))


@pytest.fixture
def old(tmp_path):
    """The record of the study that stored no recipe."""
    return unpacked("recipe-1.tar.xz", "old", tmp_path)


@pytest.fixture
def second(tmp_path):
    """The record of the study of recipe 2."""
    return unpacked("recipe-2.tar.xz", "today", tmp_path)


def set_attribute(record, key, value):
    with closing(sqlite3.connect(record.location.path)) as database, database:
        database.execute("DELETE FROM study_user_attributes WHERE key = ?", [key])
        row = [record.study._study_id, key, json.dumps(value)]
        database.execute("INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (?, ?, ?)", row)


def stored(record):
    return definition.stored(open_database(record.location), record.name)


def prepared(record, number, folder, cache, params=None):
    """A trial of an old study, from its checkpoint on where it has one."""
    before = stored(record)
    digits = datasets.load("digits", folder, cache)
    task = Task.of(before.settings, digits, torch.device("cpu"), 2**30, RECIPES[before.recipe])
    config = Config(**before.space.point(params or record.trials[number].params))
    return Trial(task, config, derived_seed(before.settings.seed, "trial", number), record.folder / f"trial-{number:05d}")


def check_losses(trial, known, rel=1e-3):
    """Train it as far as its losses are known."""
    got = [
        (epoch.metrics["train_loss"], epoch.metrics["score_loss"])
        for epoch in itertools.islice(trial.epochs(), len(LOSSES[known]))
    ]
    for epoch, expected in zip(got, LOSSES[known], strict=True):
        assert epoch == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize(("number", "params", "known"), [(1, None, "continued"), (2, {"filters": 5, "lr": 0.3}, "begun")])
def test_a_study_without_a_recipe_is_trained_as_by_the_hpo_that_made_it(old, cache, tmp_path, monkeypatch, number, params, known):
    monkeypatch.setattr("hpo.training.train.fast_dtype", lambda _: torch.float32)  # so that processors agree
    trial = prepared(old, number, tmp_path, cache, params)
    assert len(trial.history) == 4 - len(LOSSES[known])
    check_losses(trial, known)


@pytest.mark.slow
def test_it_continues_by_command_from_its_checkpoint_and_remembers_its_recipe(old, cache, tmp_path):
    program = Hpo(tmp_path, cache)
    first = old.trials[1].intermediate_values
    resumed = program.start("resume", "old", "--workers", 1, "--no-report", "-v")
    assert resumed.ended(600) == 0, resumed.err
    assert "trial 1 continues after epoch 2/4" in resumed.err
    record = program.study("old")
    assert [trial.state.name for trial in record.trials] == ["COMPLETE"] * 3
    assert record.trials[1].intermediate_values.items() >= first.items()
    assert record.recipe == 1
    program.close()


@pytest.mark.parametrize(("number", "epochs", "known", "rel"), [(2, 2, "waiting", 1e-3), (6, 1, "killed", 1e-2)])
def test_a_study_of_recipe_2_is_trained_as_by_the_hpo_that_made_it(
    second, cache, tmp_path, monkeypatch, number, epochs, known, rel
):
    monkeypatch.setattr("hpo.training.train.fast_dtype", lambda _: torch.float32)
    trial = prepared(second, number, tmp_path, cache)
    assert len(trial.history) == epochs
    check_losses(trial, known, rel)


def test_a_study_of_recipe_2_is_opened_with_what_waits_and_what_was_interrupted(second):
    study = WritableStudy(open_database(second.location), stored(second))
    assert [trial.number for trial in study.unfinished()] == [6]
    assert len(study.plan.waiting) == 3
    assert study.best.number == 1
    assert stored(second).starts == []
    assert second.space.starts == ({"filters": 6, "lr": 0.3},)


@pytest.mark.slow
def test_a_study_of_recipe_2_continues_by_command(second, cache, tmp_path):
    program = Hpo(tmp_path, cache)
    first = {trial.number: trial.intermediate_values for trial in second.trials}
    resumed = program.start("resume", "today", "--trials", "7", "--no-report", "-v")
    assert resumed.ended(600) == 0, resumed.err
    assert "trial 6 continues after epoch 1/6" in resumed.err
    record = program.study("today")
    assert len(record.trials) == record.n_finished == 7
    assert all(record.trials[number].intermediate_values.items() >= known.items() for number, known in first.items())
    assert record.recipe == 2
    program.close()


def test_a_new_study_stores_the_recipe_of_the_hpo_that_makes_it(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    record = load(study.name, study.location)
    assert record.attributes["recipe"] == record.recipe == stored(record).recipe == LATEST.version


def test_a_study_of_a_newer_recipe_is_refused_with_a_sentence(old):
    set_attribute(old, "recipe", LATEST.version + 1)
    says = rf"by a newer hpo: its recipe has version {LATEST.version + 1}, and this hpo trains by versions 1 to .* hpo run old-2"
    with pytest.raises(UsageError, match=says):
        hpo.resume("old", storage=str(old.location.path))


@pytest.mark.parametrize("recipe", ["new", [1], 0, -3, 1.5, None])
def test_a_recipe_that_is_no_version_is_not_hpos(old, recipe):
    set_attribute(old, "recipe", recipe)
    with pytest.raises(UsageError, match="was not made by hpo"):
        stored(old)


def test_a_space_that_is_older_than_a_field_of_config_takes_the_value_that_trains_as_before(old):
    space = old.attributes["space"]
    for name in BEFORE:
        space["parameters"].pop(name, None)
    set_attribute(old, "space", space)
    record = load("old", old.location)
    for name, value in BEFORE.items():
        assert record.space.point()[name] == stored(record).space.point()[name] == value


def test_versions_are_numbered_from_1_and_the_latest_is_the_largest():
    assert [recipe.version for recipe in RECIPES.values()] == list(RECIPES) == list(range(1, LATEST.version + 1))
