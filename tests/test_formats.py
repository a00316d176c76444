"""What programs read is strict JSON and CSV with values; what people read fits their terminal."""

from __future__ import annotations

import csv
import io
import json
import math
import re

import optuna
import pytest
from hostile import in_process
from instant import new_study, run
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

import hpo
from hpo.builtin.convnet import OBJECTIVE
from hpo.cli.rows import show_rows
from hpo.store.database import locate, open_database


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A study of the space with sixteen parameters."""
    path = tmp_path_factory.mktemp("wide") / "hpo.db"
    run(new_study(path, space="wide", sampler="random"), 6)
    return path


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A stranger's study: infinite values, choices of every kind, parameters that are called as our columns."""
    path = tmp_path_factory.mktemp("odd") / "hpo.db"
    study = optuna.create_study(
        storage=open_database(locate(str(path)), create=True).storage, study_name="odd", direction="minimize"
    )
    space = {"state": CategoricalDistribution([None, True, "\x1b[31m=1", 1.5]), "lr": FloatDistribution(0, 1)}
    for i, (value, choice) in enumerate([(math.inf, None), (0.5, True), (0.25, "\x1b[31m=1"), (-math.inf, 1.5)]):
        study.add_trial(create_trial(value=value, params={"state": choice, "lr": i / 10}, distributions=space))
    study.add_trial(create_trial(state=TrialState.FAIL))
    return path


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("command", ["list", "show odd", "trials odd"])
def test_json_is_strict(odd, command):
    code, out, _ = in_process(*command.split(), "--storage", odd, "--format", "json")
    assert code == 0
    assert strict(out)


def test_a_number_that_is_not_finite_is_null_in_json_and_itself_in_csv(odd):
    rows = strict(in_process("trials", "odd", "--storage", odd, "--format", "json")[1])
    assert [row["value"] for row in rows] == [None, 0.5, 0.25, None, None]
    assert [row["state"] for row in rows] == ["complete"] * 4 + ["fail"]
    table = list(csv.DictReader(io.StringIO(in_process("trials", "odd", "--storage", odd, "--format", "csv")[1])))
    assert [row["value"] for row in table] == ["inf", "0.5", "0.25", "-inf", ""]
    assert [row["state (parameter)"] for row in table] == ["", "true", "\\x1b[31m=1", "1.5", ""]


def test_csv_has_json_and_no_repr_of_pythons_for_what_has_parts(wide):
    [row] = csv.DictReader(io.StringIO(in_process("show", "first", "--storage", wide, "--format", "csv")[1]))
    assert json.loads(row["settings"])["dataset"] == "digits"
    assert json.loads(row["winner"])["state"] == "complete"
    assert float(row["best"]) == json.loads(row["winner"])["accuracy"]
    assert "None" not in row.values()
    assert "%" not in row["best"]


def test_a_comparison_is_told_in_values(tmp_path):
    where = ("--storage", tmp_path / "hpo.db", "--out", tmp_path / "page.html")
    run(new_study(tmp_path / "hpo.db", "a", sampler="random"), 3)
    run(new_study(tmp_path / "hpo.db", "b", sampler="random", seed=1), 6)
    a, b = strict(in_process("compare", "a", "b", *where, "--format", "json")[1])
    assert b["gain"] == pytest.approx(b["best"] - a["best"])
    assert (a["gain"], a["obstacle"], b["trials"]) == (None, None, 6)
    row = list(csv.DictReader(io.StringIO(in_process("compare", "a", "b", *where, "--format", "csv")[1])))[1]
    assert float(row["best"]) == b["best"]
    assert "%" not in "".join(row.values())


def test_times_have_their_zone(wide):
    for row in strict(in_process("trials", "first", "--storage", wide, "--format", "json")[1]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", row["started"])


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_that_does_not_fit_leaves_columns_out_and_says_which(wide, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = in_process("trials", "first", "--storage", wide)
    lines = out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= columns
    assert len(lines) <= 2 + 6  # headings of two words are two lines; no row is more than one
    varied = [name.replace("_", " ") for name in OBJECTIVE.space("wide").varied]
    left_out = " ".join(err.split()).partition("do not fit: ")[2].partition(". ")[0].split(", ")
    assert left_out == varied[-len(left_out) :]
    assert "--format csv" in err
    monkeypatch.setenv("COLUMNS", "400")
    assert in_process("trials", "first", "--storage", wide)[2] == ""


def test_trials_are_chosen_by_state_sorted_and_cut(wide):
    def chosen(*words):
        return strict(in_process("trials", "first", "--storage", wide, "--format", "json", *words)[1])

    every = chosen()
    complete = [row for row in every if row["state"] == "complete"]
    assert chosen("--state", "complete") == complete
    assert chosen("--state", "complete", "--state", "pruned") == every
    assert [row["lr"] for row in chosen("--sort", "lr")] == sorted(row["lr"] for row in every)
    assert [row["lr"] for row in chosen("--sort", "-lr")] == sorted((row["lr"] for row in every), reverse=True)
    best = sorted(every, key=lambda row: -row["accuracy"])
    assert chosen("--sort", "accuracy") == best
    assert chosen("--top", "2", "--state", "complete") == [row for row in best if row["state"] == "complete"][:2]
    code, _, err = in_process("trials", "first", "--storage", wide, "--sort", "lrr")
    assert (code, "Did you mean 'lr'?" in err) == (2, True)
    code, _, err = in_process("trials", "first", "--storage", wide, "--top", "0")
    assert (code, "--top" in err) == (2, True)


def test_a_study_that_minimizes_has_its_smallest_value_on_top(odd):
    rows = strict(in_process("trials", "odd", "--storage", odd, "--format", "json", "--top", "2")[1])
    assert [row["value"] for row in rows] == [0.25, 0.5]


def test_the_version_is_told():
    assert in_process("--version") == (0, f"hpo {hpo.__version__}\n", "")
    assert re.match(r"\d+\.\d+", hpo.__version__)


def test_without_a_command_there_is_help():
    code, out, err = in_process()
    assert (code, err) == (0, "")
    assert "Commands:" in out


def test_the_first_column_names_what_a_row_is_about_and_stays_whole(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    row = {"file": "weights.safetensors", "bytes": 1234567, "largest_difference": 1.1920928955078125e-07, "classes_differ": 0}
    show_rows([row | {"ms_per_picture": 0.123456789}], "table", empty="", kept=("file", "largest_difference", "classes_differ"))
    assert "weights.safetensors " in capsys.readouterr().out
