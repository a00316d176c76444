"""What a user types becomes settings, or one sentence that names option, value and bound."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hpo.errors import UsageError
from hpo.settings import RunOptions, Settings, data_folder, duration, study_name


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        (" 30m ", 1800),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1d2h3m4s", 93_784),
        ("0.5h", 1800),
        ("366d", 366 * 86400),
        (12.5, 12.5),
    ],
)
def test_a_duration_is_read(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "soon", "30 m", "m", "1m1h", "-5m", "0", "0s", "367d", "9" * 400, "1,5h", "nan", "inf", -1, 0, math.nan, math.inf],
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a duration"):
        duration(text)


@given(st.text(max_size=20))
def test_any_text_is_a_duration_up_to_a_year_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert 0 < duration(text) <= 366 * 86400


@pytest.mark.parametrize("name", ["a", "first", "cifar10-2", "A.b_c-9", "..a", "x" * 100])
def test_a_name_of_letters_digits_dots_dashes_is_a_study_name(name):
    assert study_name(name) == name


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "../a", ".", "..", "ä", "a\n", "a\0", "x" * 101, "a%", "é" * 5000])
def test_any_other_name_is_refused_shown_and_told_what_is_allowed(name):
    with pytest.raises(UsageError, match=r"1 to 100 letters, digits, '\.', '_' or '-'") as caught:
        study_name(name)
    assert repr(name)[1:10].rstrip("'") in str(caught.value)
    assert len(str(caught.value)) < 200


BAD_SETTINGS = [
    ({"dataset": "cifar"}, ["--dataset", "'cifar'", "Did you mean 'cifar10'?"]),
    ({"dataset": "imagenet"}, ["--dataset", "'imagenet'", "cifar10, cifar100, digits, fashion-mnist"]),
    ({"sampler": "tpee"}, ["--sampler", "'tpee'", "Did you mean 'tpe'?"]),
    ({"pruner": "halfing"}, ["--pruner", "'halfing'", "Did you mean 'halving'?"]),
    ({"score": "tests"}, ["--score", "'tests'", "Did you mean 'test'?"]),
    ({"epochs": 0}, ["--epochs", "0", "greater than or equal to 1"]),
    ({"epochs": -3}, ["--epochs", "-3", "greater than or equal to 1"]),
    ({"epochs": 10_001}, ["--epochs", "10001", "less than or equal to 10000"]),
    ({"epochs": "ten"}, ["--epochs", "'ten'", "integer"]),
    ({"epochs": 1.5}, ["--epochs", "1.5", "integer"]),
    ({"seed": -1}, ["--seed", "-1", "greater than or equal to 0"]),
    ({"seed": 2**63}, ["--seed", str(2**63), "less than"]),
    ({"limit_train": 0}, ["--limit-train", "0", "greater than or equal to 1"]),
    ({"limit_test": 10**9}, ["--limit-test", "1000000000", "less than or equal to 1000000"]),
    ({"colour": 1}, ["--colour", "unknown key"]),
]

BAD_OPTIONS = [
    ({"trials": 0}, ["--trials", "0", "greater than or equal to 1"]),
    ({"trials": -1}, ["--trials", "-1", "greater than or equal to 1"]),
    ({"trials": 10**9}, ["--trials", "1000000000", "less than or equal to 1000000"]),
    ({"trials": "many"}, ["--trials", "'many'", "integer"]),
    ({"timeout": "soon"}, ["--timeout", "'soon'", "90s, 30m, 1h30m or 2d"]),
    ({"timeout": "0s"}, ["--timeout", "'0s'", "between 0 and a year"]),
    ({"timeout": []}, ["--timeout", "[]", "is not a duration"]),
    ({"trial_timeout": "-1m"}, ["--trial-timeout", "'-1m'", "is not a duration"]),
    ({"target": math.nan}, ["--target", "nan"]),
    ({"target": "high"}, ["--target", "'high'", "number"]),
    ({"patience": 0}, ["--patience", "0", "greater than or equal to 1"]),
    ({"workers": 0}, ["--workers", "0", "'auto' or a number from 1 to 1024"]),
    ({"workers": "-2"}, ["--workers", "'-2'", "'auto' or a number from 1 to 1024"]),
    ({"workers": "1025"}, ["--workers", "'1025'", "1024"]),
    ({"workers": "all"}, ["--workers", "'all'", "'auto'"]),
    ({"workers": "9" * 5000}, ["--workers", "999", "'auto' or a number from 1 to 1024"]),
    ({"device": "mps"}, ["--device", "'mps'", "auto, cpu, cuda, cuda:0"]),
    ({"device": "cuda0"}, ["--device", "'cuda0'", "Did you mean 'cuda:0'?"]),
    ({"device": "cuda:0,"}, ["--device", "'cuda:0,'", "Did you mean 'cuda:0'?"]),
    ({"keep_checkpoints": 0}, ["--keep-checkpoints", "0", "greater than or equal to 1"]),
]


@pytest.mark.parametrize(
    ("model", "values", "parts"),
    [(Settings, *case) for case in BAD_SETTINGS] + [(RunOptions, *case) for case in BAD_OPTIONS],
    ids=lambda part: ",".join(f"{k}={v!s:.12}" for k, v in part.items()) if isinstance(part, dict) else "",
)
def test_a_bad_value_is_refused_in_a_line_with_option_value_and_bound(model, values, parts):
    with pytest.raises(UsageError) as caught:
        model.of(**values)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RunOptions(trials=0), "RunOptions: trials = 0: should be greater than or equal to 1"),
        (lambda: Settings(epochs=0, sampler="tpee"), "Settings: epochs = 0: should be greater than or equal to 1; sampler"),
        (lambda: Settings(colour=1), "Settings: colour: unknown key"),
    ],
)
def test_from_python_a_bad_value_is_an_error_of_hpos_in_a_line(make, says):
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_stored_values_are_judged_by_pydantic_so_that_a_reader_can_pass_over_them():
    with pytest.raises(ValidationError):
        Settings.model_validate({"epochs": 0})


def test_data_are_where_this_run_says_then_where_the_study_had_them_then_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv("HPO_DATA_DIR", raising=False)
    assert data_folder() == data_folder(None, tmp_path / "gone") == Path("data")
    monkeypatch.setenv("HPO_DATA_DIR", "~/elsewhere")
    assert data_folder() == data_folder(None, tmp_path / "gone") == Path.home() / "elsewhere"
    assert data_folder(None, tmp_path) == tmp_path
    assert data_folder(Path("named"), tmp_path) == Path("named")


def test_all_bad_values_are_named_at_once():
    with pytest.raises(UsageError, match=r"--epochs = 0: .*; --seed = -1: "):
        Settings.of(epochs=0, seed=-1)


def test_none_means_not_given():
    assert Settings.of(epochs=None, dataset="digits").model_fields_set == {"dataset"}
    assert RunOptions.of(timeout=None) == RunOptions()


@pytest.mark.parametrize(("target", "means"), [("0.93", 0.93), ("93%", 0.93), (0.93, 0.93), ("100%", 1.0), (1, 1.0)])
def test_a_target_is_a_fraction_or_per_cent_for_a_program_too(target, means):
    assert RunOptions.of(target=target).target == RunOptions(target=target).target == means


@pytest.mark.parametrize("workers", ["auto", 1, "2", 1024])
def test_workers_are_auto_or_a_number(workers):
    assert RunOptions.of(workers=workers).workers == (workers if workers == "auto" else int(workers))


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:0,cuda:13"])
def test_a_device_is_auto_cpu_or_a_list_of_gpus(device):
    assert RunOptions.of(device=device).device == device


def test_settings_cannot_change_and_come_back_from_json_equal():
    settings = Settings.of(dataset="digits", limit_train=500, seed=2**63 - 1)
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
    with pytest.raises(ValidationError):
        settings.epochs = 3
