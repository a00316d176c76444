"""A run that has nothing to do changes nothing; what a run was told stays with the study for the next one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import in_process
from instant import new_study, run

import hpo
from hpo.errors import UsageError
from hpo.runner import session
from hpo.settings import RunOptions
from hpo.store import definition
from hpo.store.database import open_database
from hpo.store.reading import record


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A study of ten, asked for ten, and its folder."""
    monkeypatch.chdir(tmp_path)
    study = new_study(tmp_path / "studies" / "hpo.db", sampler="random", space="wide")
    run(study, 10)
    study.note("options", {"trials": 10, "data_dir": str(tmp_path)})
    study.note("stopped", {"reason": "total", "at": "2026-01-01T00:00:00+00:00"})
    return study


def digests(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "first"), "10 of 10 trials"),
        (("run", "first", "--trials", "3"), "10 trials are finished and 3 were requested"),
        (("resume", "first"), "10 of 10 trials"),
        (("resume", "first", "--trials", "50", "--target", "0.1"), "target: trial"),
    ],
)
@pytest.mark.usefixtures("finished")
def test_a_run_that_has_nothing_to_do_changes_nothing_and_says_so(words, says):
    before = digests(Path("studies"))
    code, _, err = in_process(*words, "--no-report")
    assert code == 0
    assert "nothing to do" in err
    assert says in err
    assert digests(Path("studies")) == before


def test_what_a_run_was_told_is_remembered_unless_it_is_told_anew(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_DATA_DIR", "/elsewhere")
    made = definition.stored(open_database(finished.location), "first")
    before = replace(made, options={"trials": 7, "data_dir": str(tmp_path), "keep_checkpoints": 3})
    again = session._remembered(RunOptions(), before)
    assert (again.trials, again.data_dir, again.keep_checkpoints) == (7, tmp_path, 3)
    told = session._remembered(RunOptions(trials=9, data_dir=Path("here"), keep_checkpoints=1), before)
    assert (told.trials, told.data_dir, told.keep_checkpoints) == (9, Path("here"), 1)
    older = session._remembered(RunOptions(), replace(made, options={}))
    assert (older.trials, older.data_dir, older.keep_checkpoints) == (None, Path("/elsewhere"), None)
    assert record.load("first", finished.location).n_finished == 10


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"settings": {"epochs": 3}}, "settings should be an hpo.Settings, such as hpo.Settings(epochs=5), but is a dict."),
        ({"options": {"trials": 3}}, "options should be an hpo.RunOptions, such as hpo.RunOptions(trials=10), but is a dict."),
        ({"space": {"lr": 0.1}}, "space should be a preset's name, a TOML file's path or an hpo.SearchSpace, but is a dict."),
    ],
)
def test_from_python_a_plain_dict_is_refused_with_what_to_write(wrong, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        hpo.run("first", **wrong)
    assert str(caught.value) == says
    assert list(tmp_path.iterdir()) == []
