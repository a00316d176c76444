"""The commands, called in-process: exit codes, what is printed where, and that bad input creates nothing."""

from __future__ import annotations

import csv
import io
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hpo
from hpo.builtin.convnet import OBJECTIVE
from hpo.cli.main import main
from hpo.errors import UsageError
from hpo.search.study import create
from hpo.settings import Settings
from hpo.store.database import locate, open_database
from hpo.store.definition import Definition

ENVIRONMENT = {"n_scored": 360, "data_digest": "d", "classes": ["0", "1"]}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_DATA_DIR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a study of a complete, a pruned, a failed (with a hostile reason) and a running trial."""
    location = locate(str(tmp_path_factory.mktemp("stored") / "hpo.db"))
    settings = Settings(dataset="digits", epochs=2)
    made = Definition("first", OBJECTIVE, settings, OBJECTIVE.space("basic"), ENVIRONMENT, "hpo run first")
    writable = create(open_database(location, create=True), made)
    ends = (writable.complete, writable.prune, writable.fail, None)
    for number, end in enumerate(ends):
        trial = writable.ask()
        writable.report(trial, 1, 0.5 + number / 100)
        trial.attributes["reason"] = "=HYPERLINK(1) [red]markup[/red]"
        if end == writable.complete:
            writable.report(trial, 2, 0.75)
            writable.complete(trial, 0.75)
        elif end:
            end(trial)
    return location.path


@pytest.fixture
def stored(database: Path) -> str:
    """Put the database where commands look for one, and return the study's name."""
    Path("studies").mkdir()
    shutil.copy(database, "studies/hpo.db")
    return "first"


BAD = [
    (["lst"], "Did you mean 'list'?"),
    (["run", "--trails", "3"], "--trials"),
    (["run", "--dataset", "cifar"], "Did you mean 'cifar10'?"),
    (["run", "--sampler", "tp"], "Did you mean 'tpe'?"),
    (["run", "--pruner", "medan"], "Did you mean 'median'?"),
    (["run", "--device", "gpu"], "Did you mean 'cpu'?"),
    (["run", "--space", "wid"], "Did you mean 'wide'?"),
    (["run", "--space", "missing.toml"], "missing.toml"),
    (["run", "--space", "."], "."),
    (["run", "--score", "tst"], "Did you mean 'test'?"),
    (["run", "--trials", "0"], "--trials = 0"),
    (["run", "--trials", "-3"], "--trials = -3"),
    (["run", "--trials", "x"], "--trials"),
    (["run", "--trials", "99999999999"], "--trials"),
    (["run", "--epochs", "0"], "--epochs = 0"),
    (["run", "--workers", "0"], "--workers = '0'"),
    (["run", "--workers", "many"], "--workers = 'many'"),
    (["run", "--limit-train", "-1"], "--limit-train = -1"),
    (["run", "--limit-test", "0"], "--limit-test = 0"),
    (["run", "--timeout", "soon"], "30m"),
    (["run", "--timeout", "-5m"], "--timeout"),
    (["run", "--target", "57"], "--target"),
    (["run", "--target", "nan"], "--target"),
    (["run", "--patience", "0"], "--patience = 0"),
    (["run", "--seed", "-1"], "--seed = -1"),
    (["run", ""], "an argument is empty"),
    (["run", "a/b"], "study name 'a/b'"),
    (["run", "x" * 101], "study name"),
    (["run", "--storage", "sqlite://"], "memory"),
    (["resume", "nothing"], "no database"),
    (["space", "wid"], "Did you mean 'wide'?"),
    (["data", "cifar"], "Did you mean 'cifar10'?"),
    (["list", "--format", "xml"], "--format"),
    (["show"], "STUDY"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "")
def test_bad_input_is_refused_before_anything_is_created(arguments: list[str], says: str, capsys, tmp_path: Path) -> None:
    code = main(arguments)
    out, err = capsys.readouterr()
    assert code in (2, 4)
    assert (code == 4) == (arguments[0] == "resume" or "--storage" in arguments)
    assert says in err
    assert err.startswith("error: ")
    assert err.count("\n") <= 2
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("run", "--model", ""), "--model"),
        (("run", "--data="), "--data"),
        (("run", "x", "--weights", "", "--model", "resnet18"), "--weights"),
        (("list", "--storage", ""), "--storage"),
        (("run", "-n", ""), "-n"),
        (("run", ""), "an argument"),
        (("export", "first", ""), "an argument"),
        (("",), "an argument"),
    ],
)
def test_a_word_that_a_shell_made_of_nothing_is_refused_by_name(words, named, in_an_empty_folder, capsys) -> None:
    assert main(list(words)) == 2
    assert f"error: {named} is empty: give it a value, or leave it out." in capsys.readouterr().err
    assert list(in_an_empty_folder.iterdir()) == []


@pytest.mark.parametrize("named", ["model", "weights"])
@pytest.mark.parametrize("given", ["", " "])
def test_from_python_an_empty_name_is_refused_too(named, given, in_an_empty_folder) -> None:
    with pytest.raises(UsageError, match=f"^{named} is empty: name one, or leave it out.$"):
        hpo.run("first", **({"model": "resnet18"} | {named: given}))
    assert list(in_an_empty_folder.iterdir()) == []


def test_a_missing_database_is_an_empty_list_by_default_and_an_error_by_name(capsys) -> None:
    assert main(["list"]) == 0
    assert "no studies yet" in capsys.readouterr().err
    assert main(["list", "--storage", "typo.db"]) == 4
    assert "typo.db" in capsys.readouterr().err


def test_a_missing_study_is_refused_with_the_nearest_name(stored: str, capsys) -> None:
    for command in ("show", "trials", "report", "resume"):
        assert main([command, "frst"]) == 2
        assert f"Did you mean {stored!r}?" in capsys.readouterr().err


def test_list_tells_each_study_in_three_forms(stored: str, capsys) -> None:
    assert main(["list"]) == 0
    assert "75.00%" in capsys.readouterr().out
    assert main(["list", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["study"], row["finished"], row["running"], row["best"]) == (stored, 2, 1, 0.75)
    assert main(["list", "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["complete"] == "1"


def test_show_tells_settings_counts_and_the_winner(stored: str, capsys) -> None:
    assert main(["show", stored]) == 0
    text = capsys.readouterr().out
    assert "best: trial 0, 75.00% on 360 test images" in text
    assert "depth, filters, dropout, lr" in text
    assert main(["show", stored, "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["winner"]["number"] == 0
    assert row["settings"]["epochs"] == 2


def test_trials_are_told_whole_in_json_and_harmlessly_in_csv(stored: str, capsys) -> None:
    assert main(["trials", stored]) == 0
    assert "[red]markup[/red]" in capsys.readouterr().out
    assert main(["trials", stored, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["complete", "pruned", "fail", "running"]
    assert rows[0]["filters"] == OBJECTIVE.space("basic").default["filters"]
    assert main(["trials", stored, "--format", "csv"]) == 0
    row = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))[2]
    assert row["reason"].startswith("'=")


def test_a_printed_space_is_a_file_to_start_from(tmp_path: Path, capsys) -> None:
    assert main(["space", "wide", "--toml"]) == 0
    file = tmp_path / "mine.toml"
    file.write_text(capsys.readouterr().out)
    assert main(["space", str(file)]) == 0
    assert "weight_decay" in capsys.readouterr().out


def test_data_tells_sizes_classes_and_digest_and_draws_a_preview(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["data", "digits", "--preview", "p.png"]) == 0
    out = capsys.readouterr().out
    assert "1,437 images of 32x32" in out
    assert "digest" in out
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_report_writes_a_page_and_prints_its_path(stored: str, capsys) -> None:
    assert main(["report", stored, "--out", "page.html"]) == 0
    assert capsys.readouterr().out.strip() == "page.html"
    assert stored in Path("page.html").read_text()


def processor_seconds(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "hpo", *arguments], check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(("arguments", "limit"), [(("--help",), 0.5), (("list",), 1.5), (("show", "first"), 1.5)])
def test_commands_answer_at_once(stored: str, arguments: tuple[str, ...], limit: float) -> None:
    """Processor time, the best of at most three: what else the machine does must not decide."""
    assert stored == "first"
    assert any(processor_seconds(*arguments) < limit for _ in range(3))


LOADED = """
import sys
from hpo.cli.main import main

for command in ("list", "show first", "trials first", "space", "report first"):
    assert main(command.split()) == 0, command
    assert "torch" not in sys.modules, command
"""


def test_commands_that_only_read_never_load_torch(stored: str) -> None:
    assert stored == "first"
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_command_has_help_with_examples(capsys) -> None:
    for command in ("run", "resume", "list", "show", "trials", "space", "report", "dashboard", "data", "compare"):
        assert main([command, "--help"]) == 0
        assert f"hpo {command}" in capsys.readouterr().out


def test_data_finds_a_pixel_that_changed_in_the_cache(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["data", "digits"]) == 0
    (images,) = tmp_path.glob("cache/digits-*/train-images.npy")
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    assert main(["data", "digits"]) == 3
    assert str(images.parent) in capsys.readouterr().err
