"""What the ledger writes are the rows that Optuna itself would have written, and half of a transaction is never seen."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import datetime, timedelta

import optuna
import pytest
import sqlalchemy as sa
from instant import new_study, reopen
from optuna.trial import TrialState, create_trial

from hpo.errors import StorageError
from hpo.search_space import SearchSpace
from hpo.store.ledger import RUN, Ledger
from hpo.store.reading import record
from hpo.store.schema import distributions
from hpo.system import failpoints

TABLES = {
    "trials": "number, study_id, state",
    "trial_params": "param_name, param_value, distribution_json",
    "trial_values": "objective, value, value_type",
    "trial_intermediate_values": "step, intermediate_value, intermediate_value_type",
    "trial_user_attributes": "key, value_json",
    "trial_system_attributes": "key, value_json",
    "study_system_attributes": "study_id, key, value_json",
}
ATTRIBUTES = {"train_loss": [1.0, 0.25], "seconds": 2.5, "checkpoint": "a/☃.pt", "reason": 'it said "no"', "macs": 10**12}
RUNGS = {"completed_rung_0": 0.5, "completed_rung_1": 0.1 + 0.2}
END = {
    "complete": (TrialState.COMPLETE, 1 / 3),
    "pruned": (TrialState.PRUNED, 0.0),
    "failed": (TrialState.FAIL, None),
}


def rows(study) -> dict[str, list]:
    """All that the database says about trials, but for its times and the runs' marks."""
    with closing(sqlite3.connect(study.location.path)) as connection:
        found = {
            table: connection.execute(f"SELECT {what} FROM {table} ORDER BY 1, 2").fetchall() for table, what in TABLES.items()
        }
    return {table: [row for row in rows if RUN not in row] for table, rows in found.items()}


def ledger(study) -> Ledger:
    return Ledger(study.database, study._study_id, study.name)


def points(study, n) -> list[dict]:
    """Points of the study's space."""
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [memory.ask(distributions(study.space)).params for _ in range(n)]


@pytest.mark.parametrize("space", ["basic", "wide", "fixed"])
def test_the_rows_are_those_that_optuna_would_have_written(tmp_path, space):
    space = SearchSpace.of("fixed", {"lr": 0.1}) if space == "fixed" else space
    mine, theirs = (new_study(tmp_path / name / "hpo.db", space=space) for name in ("mine", "theirs"))
    book, optunas, every = ledger(mine), theirs.database.storage, distributions(mine.space)
    for number, (params, (state, value)) in enumerate(zip(points(mine, 3), END.values(), strict=True)):
        trial = book.begin(number, params, every, {"qmc": number}, seed=7)
        book.report(trial, {1: 0.5}, {})
        book.report(trial, {2: 1e-17, 3: 0.7}, RUNGS)
        book.report(trial, {}, {"completed_rung_1": 0.2})
        book.end(trial, state, value, ATTRIBUTES, {"completed_rung_2": 0.1})

        same = optunas.create_new_trial(
            theirs._study_id, create_trial(state=TrialState.RUNNING, params=params, distributions=every)
        )
        optunas.set_study_system_attr(theirs._study_id, "qmc", number)
        optunas.set_trial_user_attr(same, "seed", 7)
        for epoch, accuracy in ((1, 0.5), (2, 1e-17), (3, 0.7)):
            optunas.set_trial_intermediate_value(same, epoch, accuracy)
        for key, rung in (*RUNGS.items(), ("completed_rung_1", 0.2), ("completed_rung_2", 0.1)):
            optunas.set_trial_system_attr(same, key, rung)
        for key, attribute in ATTRIBUTES.items():
            optunas.set_trial_user_attr(same, key, attribute)
        optunas.set_trial_state_values(same, state, None if value is None else [value])
    assert rows(mine) == rows(theirs)


@pytest.fixture
def elsewhere(monkeypatch):
    """A machine whose clock shows another time than UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "ELSE+5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
def test_optuna_reads_its_own_words_and_local_times(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    began = datetime.now()  # noqa: DTZ005  # Optuna's are naive and local
    [params] = points(study, 1)
    book = ledger(study)
    trial = book.begin(0, params, distributions(study.space), {}, seed=7)
    book.report(trial, {1: 0.25}, {})
    book.end(trial, TrialState.COMPLETE, 0.25, {"seconds": 1, "seed": 7}, {})
    [found] = record.load("first", study.location).study.trials
    assert (found.number, found.state, found.params, found.value) == (0, TrialState.COMPLETE, params, 0.25)
    assert (found.intermediate_values, found.user_attrs, found.distributions) == (
        {1: 0.25},
        {"seconds": 1, "seed": 7},
        distributions(study.space),
    )
    assert began <= found.datetime_start <= found.datetime_complete <= datetime.now() + timedelta(seconds=1)  # noqa: DTZ005


def commits(study) -> list[int]:
    """Count the transactions from now on."""
    counted = [0]
    sa.event.listen(study.database.storage.engine, "commit", lambda _: counted.__setitem__(0, counted[0] + 1))
    return counted


def test_a_trials_begin_epoch_and_end_are_a_transaction_each(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    counted = commits(study)
    trial = study.ask()
    assert counted == [1]
    assert study.report(trial, 1, 0.5) == "go on"  # reaches a rung
    assert counted == [2]
    trial.attributes |= ATTRIBUTES
    study.complete(trial, 0.5)
    assert counted == [3]


@pytest.mark.parametrize("place", ["epoch.reporting", "trial.described"])
def test_half_of_a_transaction_is_never_seen(tmp_path, monkeypatch, place):
    study = new_study(tmp_path / "hpo.db")
    trial = study.ask()
    study.report(trial, 1, 0.5)
    trial.attributes |= ATTRIBUTES
    before = rows(study)
    monkeypatch.setattr(failpoints, "_armed", {place: (1, "raise")})
    with pytest.raises(RuntimeError, match="failpoint"):
        study.complete(trial, 0.5) if place == "trial.described" else study.report(trial, 2, 0.5)
    assert rows(study) == before


def test_trials_of_other_studies_in_the_database_are_not_counted(tmp_path):
    first, second = new_study(tmp_path / "hpo.db"), new_study(tmp_path / "hpo.db", "second")
    for number in range(3):
        assert (first.ask().number, second.ask().number) == (number, number)


def test_a_trial_that_another_program_added_is_all_that_is_added(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    study.ask()
    record.load("first", study.location).study.ask()
    before = rows(study)
    with pytest.raises(StorageError, match="another program has added trials"):
        study.ask()
    assert rows(study) == before


@pytest.mark.parametrize("deed", ["ends", "removes"])
def test_a_trial_that_another_program_ends_or_removes_is_not_touched_any_more(tmp_path, deed):
    study = new_study(tmp_path / "hpo.db")
    trial = study.ask()
    if deed == "ends":
        record.load("first", study.location).study.tell(0, 0.5)
    else:
        optuna.delete_study(study_name="first", storage=study.database.storage)
    before = rows(study)
    for step in (lambda: study.report(trial, 1, 0.5), lambda: study.complete(trial, 0.5)):
        with pytest.raises(StorageError, match=r"another program has (ended a trial of|removed .*) study 'first'.*: hpo"):
            step()
    assert rows(study) == before


# -- ids that another study or trial has taken over ----------------------------------------------------------------------------


def everything(path):
    """All rows of all tables."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.mark.parametrize("name", ["first", "theirs"])
def test_nothing_is_written_into_a_study_that_has_taken_over_the_ids_of_a_removed_one(tmp_path, name):
    study = new_study(tmp_path / "hpo.db")
    mine = [study.ask(), study.ask()]
    ids = list(study._ids)
    optuna.delete_study(study_name="first", storage=study.database.storage)
    other = optuna.create_study(study_name=name, storage=study.database.storage)
    assert (other._study_id, [other.ask()._trial_id, other.ask()._trial_id]) == (study._study_id, ids)
    before = everything(study.location.path)
    steps = (
        lambda: study.report(mine[0], 1, 0.5),
        lambda: study.leave(mine[1]),
        lambda: study.complete(mine[0], 0.5),
        study.ask,
        lambda: study.note("stopped", "x"),
    )
    for step in steps:
        with pytest.raises(StorageError, match="another program has removed"):
            step()
    assert everything(study.location.path) == before


def test_nothing_is_written_into_a_trial_that_has_taken_over_the_id_of_a_removed_one(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    trial = study.ask()
    with closing(sqlite3.connect(study.location.path)) as connection, connection:
        for table in ("trials", "trial_system_attributes", "trial_params"):
            connection.execute(f"DELETE FROM {table}")
    assert record.load("first", study.location).study.ask()._trial_id == study._ids[0]
    before = everything(study.location.path)
    with pytest.raises(StorageError, match="another program has removed a trial"):
        study.report(trial, 1, 0.5)
    assert everything(study.location.path) == before


def test_trials_of_an_earlier_run_are_gone_on_with_and_a_strangers_is_not_marked(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    trial = study.ask()
    study.report(trial, 1, 0.5)
    with closing(sqlite3.connect(study.location.path)) as connection, connection:
        connection.execute("DELETE FROM trial_system_attributes")  # as an older hpo left it
        connection.execute("DELETE FROM study_system_attributes")
    stranger = record.load("first", study.location).study.ask()
    again = reopen(study)
    again.claim()
    again.report(again.unfinished()[0], 2, 0.6)
    marked, alone = record.load("first", study.location).trials
    assert marked.intermediate_values == {1: 0.5, 2: 0.6}
    assert RUN in marked.system_attrs
    assert RUN not in alone.system_attrs
    assert stranger.number == alone.number
    with pytest.raises(StorageError, match="another program has removed or taken over study"):  # it is the later run's
        study.report(trial, 3, 0.7)


def test_a_trial_that_has_ended_since_the_study_was_opened_is_not_gone_on_with(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    study.ask()
    again = reopen(study)
    record.load("first", study.location).study.tell(0, state=TrialState.FAIL)
    before = everything(study.location.path)
    with pytest.raises(StorageError, match="another program has ended a trial"):
        again.claim()
    assert everything(study.location.path) == before
