"""Whatever names a study's best trial names the same one: by direction, of hpo's own trials, with a finite value."""

from __future__ import annotations

import json
import math
import re

import optuna
import pytest
from hostile import in_process
from instant import InstantPool, new_study, reopen, run
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from hpo.builtin.convnet import OBJECTIVE
from hpo.dashboard.note import note_of
from hpo.errors import NoResultError
from hpo.report.summary import summarize
from hpo.runner.board import Board
from hpo.search.warm_start import warm_start
from hpo.search_space import SearchSpace
from hpo.settings import Settings
from hpo.store.database import locate, open_database
from hpo.store.own import best_first
from hpo.store.reading import record

LR = FloatDistribution(1e-5, 1.0, log=True)


def theirs(folder, values, direction):
    """A study of plain Optuna's."""
    location = locate(str(folder / "plain.db"))
    made = optuna.create_study(storage=open_database(location, create=True).storage, study_name="loss", direction=direction)
    for i, value in enumerate(values):
        made.add_trial(create_trial(params={"lr": 0.01 * (i + 1)}, distributions={"lr": LR}, value=value))
    return record.load("loss", location)


@pytest.mark.parametrize(
    ("direction", "values", "best"),
    [
        ("minimize", [1.51, 2.17, 1.5, 1.6], 2),
        ("maximize", [80.0, 85.0, 84.0], 1),
        ("minimize", [math.inf, 0.5, 0.3, -math.inf, 0.4], 2),
        ("maximize", [0.1, math.inf, 0.7, 0.7], 2),
    ],
)
def test_every_place_names_the_same_best_of_a_strangers_study(tmp_path, direction, values, best):
    found = theirs(tmp_path, values, direction)
    assert found.best.number == found.winner.number == summarize(found).best == best
    where = ("--storage", tmp_path / "plain.db")
    [listed] = json.loads(in_process("list", "--format", "json", *where)[1])
    [shown] = json.loads(in_process("show", "loss", "--format", "json", *where)[1])
    assert listed["best"] == shown["best"] == values[best]
    assert shown["winner"]["number"] == best
    _, table, _ = in_process("show", "loss", *where)
    assert f"best: trial {best}, {values[best]:.4g}" in table
    for text in (table, in_process("list", *where)[1], in_process("trials", "loss", *where)[1], note_of(summarize(found))):
        assert "%" not in text
    assert f"Trial {best}" in note_of(summarize(found))
    [started] = [point["lr"] for point in warm_start("loss", found.location, OBJECTIVE, SPACE, Settings()).points][:1]
    assert started == found.best.params["lr"]


SPACE = SearchSpace.of("lr", {"lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True, "default": 0.5}})


def test_a_trial_that_another_program_added_is_never_the_best_of_a_study_of_hpos(tmp_path):
    study = new_study(tmp_path / "hpo.db", sampler="random", pruner="none")
    run(study, 3)
    before = record.load("first", study.location)
    foreign = create_trial(params={"foo": 1.0}, distributions={"foo": FloatDistribution(0, 2)}, value=99.0)
    before.study.add_trial(foreign)
    found = record.load("first", study.location)
    summary = summarize(found)
    assert found.best.number == before.best.number == summary.best == reopen(study).best.number
    assert found.is_share
    assert found.counts == {"complete": 3, "foreign": 1}
    assert found.n_finished == 3
    assert summary.is_share
    assert summary.trials["best"].max() == found.best.value
    assert 99.0 not in summary.finished["value"].tolist()
    assert warm_start("first", study.location, OBJECTIVE, OBJECTIVE.space("basic"), Settings()).points
    for command in ("list", "show first"):
        _, table, _ = in_process(*command.split(), "--storage", tmp_path / "hpo.db")
        assert f"{found.best.value:.2%}" in table
        assert "9900" not in table


def test_the_board_the_folders_and_the_record_agree_on_equal_values(tmp_path):
    study = new_study(tmp_path / "hpo.db", sampler="random", pruner="none")
    run(study, 4, InstantPool(size=3, curve=lambda point, epoch: 0.5))  # noqa: ARG005  # all alike, ended in any order
    found = record.load("first", study.location)
    assert found.best.number == 0
    assert [path.name for path in study.folder.glob("trial-*")] == ["trial-00000"]
    board = Board(study="s", varied=(), epochs=4, total=4)
    for number in (2, 1, 3):
        board.has_tried(number)
        board.has_completed(number, 0.5)
    assert board.best == (1, 0.5)
    assert board.without_best == 2


def test_values_that_are_not_finite_are_no_results():
    assert best_first([(0, math.nan), (1, math.inf), (2, None), (3, -1.0), (4, -math.inf)], maximize=True) == [3]


def test_a_study_whose_trials_all_diverged_has_no_best(tmp_path):
    found = theirs(tmp_path, [math.inf, math.inf], "minimize")
    with pytest.raises(NoResultError, match="no complete trial"):
        assert found.best
    assert (found.winner, found.winner_folder) == (None, None)
    for command in ("list", "show loss", "trials loss"):
        code, _, err = in_process(*command.split(), "--storage", tmp_path / "plain.db")
        assert (code, err) == (0, "")


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_strangers_trial_0_is_no_default_point(tmp_path, form):
    theirs(tmp_path, [1.5, 1.4], "minimize")
    for command in ("list", "show loss"):
        _, out, _ = in_process(*command.split(), "--storage", tmp_path / "plain.db", "--format", form)
        assert not re.search(r"default\)|1\.5\b", out)
