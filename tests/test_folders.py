"""Names and paths out of a database are data: they become paths in the study's folder, or none."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from hostile import in_process
from hypothesis import given
from hypothesis import strategies as st
from instant import new_study, run

from hpo import folders
from hpo.dashboard import publish
from hpo.settings import is_study_name
from hpo.store.database import locate, open_database
from hpo.store.reading.record import load

ODD = [
    "../..",
    "..",
    ".",
    "",
    "a/../../guard",
    "/",
    "a\\..\\b",
    "a\0b",
    "\x1b[31m",
    "x" * 300,
    "\ud800",
    "C:\\x",
    "~",
    " a",
    "ä\n",
]


@pytest.fixture
def guard(tmp_path):
    """A folder of somebody else's, in which nothing changes."""
    folder = tmp_path / "guard"
    for name in ("victim", "lock", "trial-00099/epoch-0001.ckpt", ".x.999999-01234567.tmp", "deep/.x.999999-01234567.tmp"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    before = listing(folder)
    yield folder
    assert listing(folder) == before


def listing(folder):
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def finished(tmp_path):
    """A study of four trials."""
    (tmp_path / "work").mkdir()
    study = new_study(tmp_path / "work" / "hpo.db")
    run(study, 4)
    return study


def change(study, statement, *values):
    with closing(sqlite3.connect(study.location.path)) as connection, connection:
        connection.execute(statement, values)


@given(st.text(), st.text())
def test_any_name_is_one_part_of_a_path_and_no_two_share_one(one, other):
    for name in (one, other):
        part = folders.file_name(name)
        assert Path("folder", part).parts == ("folder", part)
        assert part not in (".", "..")
        assert len(part.encode()) <= 100
        assert part.isascii()
    assert (folders.file_name(one) == folders.file_name(other)) == (one == other)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_is_no_name_that_run_takes(name):
    assert not is_study_name(folders.file_name(name))


@pytest.mark.parametrize("name", ["first", "a.b", "cifar10-wide", ".hidden", "A_1"])
def test_a_name_that_run_takes_is_its_own_file_name(name):
    assert folders.file_name(name) == name


@pytest.mark.parametrize("name", ["{guard}", "../../guard", "../guard", "..", "{guard}/trial-00099"])
def test_whatever_a_study_is_called_nothing_outside_its_folder_is_touched(finished, guard, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path / "work")
    name = name.format(guard=guard)
    change(finished, "UPDATE studies SET study_name = ?", name)
    outside = set(tmp_path.iterdir())
    for words in (["list"], ["show", name], ["trials", name], ["doctor", "--repair"], ["doctor", name, "--repair"]):
        code, _, err = in_process(*words, "--storage", finished.location.path)
        assert code == (4 if "doctor" in words else 0), err  # the winner's weights are where the name was another
    code, out, err = in_process("report", name, "--storage", finished.location.path)
    assert code == 0, err
    assert [page.parent.name for page in tmp_path.rglob("*.html")] == ["reports"]
    assert out.strip() == f"reports/{folders.file_name(name)}.html"
    assert set(tmp_path.iterdir()) == outside


@pytest.mark.parametrize(
    "stored", ["{guard}/victim", "../../guard/victim", "{guard}/trial-00099/epoch-0001.ckpt", "x\0y", 7, None, {}]
)
def test_a_stored_checkpoint_is_looked_for_in_the_studys_folder_alone(finished, guard, stored):
    stored = stored.format(guard=guard) if isinstance(stored, str) else stored
    path = folders.checkpoint(finished.location, "first", stored)
    assert path is None or path.is_relative_to(finished.folder)


@pytest.mark.parametrize(
    "stored",
    [
        "/old/place/hpo/first/trial-00007/epoch-0010.ckpt",
        "trial-00007/epoch-0010.ckpt",
        r"C:\x\first\trial-00007\epoch-0010.ckpt",
    ],
)
def test_a_moved_study_has_its_own_checkpoints(stored):
    location = locate("new/hpo.db")
    assert folders.checkpoint(location, "first", stored) == Path("new/hpo/first/trial-00007/epoch-0010.ckpt")


@pytest.mark.parametrize("key", ["{guard}/victim", "../../../guard/victim", "../first/lock"])
def test_publishing_removes_no_file_that_an_attribute_names(finished, guard, key):
    entry = {"artifact_id": "x", "filename": "trial-1-learning.png", "mimetype": "image/png", "encoding": None, "by": "hpo"}
    record = load("first", finished.location)
    publish.publish(record)
    record.study._storage.set_study_system_attr(1, f"artifacts:{key.format(guard=guard)}", json.dumps(json.dumps(entry)))
    change(
        finished,
        "INSERT INTO study_system_attributes (study_id, key, value_json) VALUES (1, ?, ?)",
        f"artifacts:{key.format(guard=guard)}2",
        json.dumps(json.dumps(entry)),
    )
    (finished.folder / "lock").touch()
    publish.publish(record)
    assert (finished.folder / "lock").exists()


def test_links_in_a_studys_folder_lead_to_nothing_that_repair_removes(finished, guard, tmp_path):
    (finished.folder / "trial-00098").symlink_to(guard)
    (finished.folder / "linked").symlink_to(guard)
    assert in_process("doctor", "--repair", "--storage", finished.location.path)[0] == 0
    shutil.move(finished.folder, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "trial-00099").mkdir()
    finished.folder.symlink_to(tmp_path / "elsewhere")
    assert in_process("doctor", "--repair", "--storage", finished.location.path)[0] == 0
    assert (tmp_path / "elsewhere" / "trial-00099").exists()


def test_a_study_that_hpo_did_not_make_has_no_folder_that_repair_tidies(tmp_path):
    location = locate(str(tmp_path / "plain.db"))
    optuna.create_study(study_name="projects", storage=open_database(location, create=True).storage)
    theirs = location.folder / "projects" / "trial-00001"
    theirs.mkdir(parents=True)
    assert in_process("doctor", "--repair", "--storage", location.path)[0] == 0
    assert theirs.exists()


def test_a_run_stores_where_a_checkpoint_is_in_the_databases_folder(tmp_path):
    study = new_study(tmp_path / "studies" / "hpo.db", sampler="random")
    run(study, 3)
    found = load("first", study.location)
    assert found.best.user_attrs["checkpoint"].startswith(f"first/trial-{found.best.number:05d}/")
    assert not any(str(tmp_path) in str(trial.user_attrs) for trial in found.trials)


def test_moved_or_copied_a_study_has_its_own_winner(tmp_path):
    study = new_study(tmp_path / "studies" / "hpo.db", sampler="random")
    run(study, 3)
    shutil.copytree(tmp_path / "studies", tmp_path / "copy")
    copied = load("first", locate(str(tmp_path / "copy" / "hpo.db")))
    assert copied.checkpoint.is_file()
    assert copied.checkpoint.is_relative_to(tmp_path / "copy")
    shutil.move(tmp_path / "studies", tmp_path / "moved")
    moved = load("first", locate(str(tmp_path / "moved" / "hpo.db")))
    assert moved.checkpoint.is_file()
    shutil.copy(tmp_path / "moved" / "hpo.db", tmp_path / "moved" / "alone.db")
    alone = load("first", locate(str(tmp_path / "moved" / "alone.db")))
    assert not alone.checkpoint.exists()  # the folder was not copied, and the original's is another study's
