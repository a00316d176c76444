"""Whoever only reads finds a study as it is, or a sentence that says what there is instead."""

from __future__ import annotations

import time

import optuna
import pytest
from instant import Notes, new_study, run

from hpo.errors import NoResultError, UsageError
from hpo.runner.board import Board
from hpo.store.database import locate, open_database
from hpo.store.reading import record


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = new_study(tmp_path_factory.mktemp("record") / "hpo.db", sampler="random")
    run(made, 8)
    return record.load("first", made.location)


def test_an_unknown_study_is_refused_with_the_nearest(study):
    with pytest.raises(UsageError, match=r"there is no study 'frist' in .*hpo\.db\. Did you mean 'first'\?"):
        record.load("frist", study.location)


def test_an_empty_database_says_how_to_begin(tmp_path):
    location = locate(str(tmp_path / "hpo.db"))
    open_database(location, create=True)
    with pytest.raises(UsageError, match="create one: hpo run"):
        record.load("first", location)


def test_a_study_without_a_complete_trial_has_no_best(tmp_path):
    made = new_study(tmp_path / "hpo.db")
    made.ask()
    found = record.load("first", made.location)
    with pytest.raises(NoResultError, match=r"no complete trial yet\. Continue it: hpo resume first"):
        assert found.best
    assert found.winner_folder is None


def test_studies_of_several_objectives_are_left_to_others(tmp_path):
    location = locate(str(tmp_path / "hpo.db"))
    optuna.create_study(
        storage=open_database(location, create=True).storage, study_name="two", directions=["maximize", "minimize"]
    )
    assert record.load_all(location) == []
    with pytest.raises(UsageError, match="has 2 objectives"):
        record.load("two", location)


def test_counts_best_and_rows_agree(study):
    rows = [study.row(trial) for trial in study.trials]
    assert [row["number"] for row in rows] == list(range(8))
    assert study.n_finished == study.counts["complete"] + study.counts["pruned"] == 8
    assert study.best.value == max(row["accuracy"] for row in rows if row["state"] == "complete")
    assert all(row["epochs"] == 4 for row in rows if row["state"] == "complete")
    assert all("halving pruner" in row["reason"] for row in rows if row["state"] == "pruned")
    assert {"depth", "filters", "dropout", "lr", "seconds", "n_parameters", "macs"} <= rows[0].keys()
    assert study.winner_folder == study.location.folder / "first" / f"trial-{study.best.number:05d}"


def test_the_table_of_trials_is_a_row_a_trial(study):
    table = study.dataframe()
    assert list(table["number"]) == list(range(8))
    assert table["accuracy"].between(0, 1).all()


def test_a_study_of_another_program_has_neither_settings_nor_space(tmp_path):
    location = locate(str(tmp_path / "hpo.db"))
    optuna.create_study(storage=open_database(location, create=True).storage, study_name="theirs").set_user_attr("settings", 3)
    found = record.load("theirs", location)
    assert (found.settings, found.space) == (None, None)


def test_time_left_is_said_after_three_trials():
    board = Board(study="s", varied=(), epochs=4, total=13, began=time.monotonic() - 30)
    board.counts.update(complete=2, waiting=1, fail=4)
    assert board.left is None
    board.tried = {0, 1, 2}
    assert board.left == pytest.approx(10 * 10, abs=1)
    board.timeout = 60
    assert 29 < board.left <= 30


def test_what_was_trained_is_shown_to_the_watcher(tmp_path):
    notes = Notes()
    run(new_study(tmp_path / "hpo.db", sampler="random", pruner="none"), 2, watcher=notes)
    assert notes.ends == [(0, "complete"), (1, "complete")]


def test_a_study_that_is_not_loaded_whole_says_the_same_of_a_trial(study):
    found = record.load("first", study.location, whole=False)
    assert not any(trial.user_attrs for trial in found.trials)
    assert {len(trial.intermediate_values) for trial in found.trials} == {1}
    assert [found.curve(trial) for trial in found.trials] == [trial.intermediate_values for trial in study.trials]
    assert (found.counts, found.winner.number) == (study.counts, study.winner.number)
    assert [found.row(trial) for trial in found.trials] == [study.row(trial) for trial in study.trials]
    assert found.checkpoint == study.checkpoint
