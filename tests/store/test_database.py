"""A database is opened safely: made whole, recognized before it is touched, and what is not ours stays as it is."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instant import new_study, run

from hpo.errors import StorageError
from hpo.search.study import WritableStudy
from hpo.store.database import exists, locate, open_database
from hpo.store.definition import stored
from hpo.store.reading import record


def race(path: Path) -> list[str]:
    """Make a database, whoever else does, and return the names of its studies."""
    open_database(locate(str(path)), create=True)
    return [study.name for study in record.load_all(locate(str(path)))]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> bytes:
    """The bytes of a database with a study of five trials."""
    path = tmp_path_factory.mktemp("sound") / "hpo.db"
    run(new_study(path, sampler="random"), 5)
    return path.read_bytes()


def test_a_new_database_and_its_folder_are_made(tmp_path):
    location = locate(str(tmp_path / "new" / "hpo.db"))
    assert not exists(location)
    open_database(location, create=True)
    assert record.load_all(location) == []
    assert [p.name for p in location.path.parent.iterdir()] == ["hpo.db"]
    assert location.path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_missing_database_is_refused_and_not_made_by_those_who_only_read(tmp_path):
    with pytest.raises(StorageError, match=r"there is no database .*hpo\.db yet\. Create one with hpo run"):
        open_database(locate(str(tmp_path / "hpo.db")))
    assert list(tmp_path.iterdir()) == []


def test_an_odd_name_is_the_new_files_name(tmp_path):
    name = "a b%20?#{x}☃'\"&=\n.db"
    open_database(locate(str(tmp_path / name)), create=True)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_another_name_is_another_database(tmp_path):
    for name in ("a", "a.db", "a.b"):
        new_study(tmp_path / name, name)
        assert [study.name for study in record.load_all(locate(str(tmp_path / name)))] == [name]


@pytest.mark.parametrize("variable", ["HPO_STORAGE", "OPTUNA_STORAGE"])
def test_the_environment_names_the_database_where_nothing_is_given(monkeypatch, variable):
    assert locate().path == Path("studies/hpo.db")
    monkeypatch.setenv(variable, "sqlite:///elsewhere.db")
    assert locate().path == Path("elsewhere.db")
    assert locate("given.db").path == Path("given.db")
    monkeypatch.setenv("HPO_STORAGE", "first.db")
    assert locate().path == Path("first.db")


def test_checkpoints_lie_beside_the_database():
    assert locate("a/hpo.db").folder == Path("a/hpo")
    assert locate("a/hpo").folder == Path("a/hpo.files")
    assert locate("postgresql://me:secret@host/night").folder == Path("studies/host-night")


@pytest.mark.parametrize("text", [".", "..", "/", "sqlite:///.", "sqlite:////"])
def test_a_path_without_a_name_is_a_folder(text):
    with pytest.raises(StorageError, match=r"is a folder, not a database"):
        open_database(locate(text), create=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x" * 300, "cannot be made: .*File name too long"),
        ("x" * 300 + "/a.db", "cannot be made: .*File name too long"),
        ("file/hpo.db", "cannot be made: .*File exists"),
    ],
    ids=["name", "folder", "below a file"],
)
def test_a_file_that_cannot_be_made_is_refused_in_a_sentence(tmp_path, text, says):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=says):
        open_database(locate(str(tmp_path / text)), create=True)


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_study_in_memory_is_refused(text):
    with pytest.raises(StorageError, match="would be lost with the process"):
        locate(text)


def test_a_study_that_another_program_removes_while_it_is_run_is_told_so(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    study.ask()
    optuna.delete_study(study_name="first", storage=f"sqlite:///{tmp_path / 'hpo.db'}")
    with pytest.raises(StorageError, match="another program has removed"):
        study.ask()


def test_a_trial_that_another_program_ends_while_it_is_trained_is_told_so(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    trial = study.ask()
    optuna.load_study(study_name="first", storage=f"sqlite:///{tmp_path / 'hpo.db'}").tell(0, state=optuna.trial.TrialState.FAIL)
    with pytest.raises(StorageError, match="another program has ended a trial"):
        study.report(trial, 1, 0.5)


def test_a_database_that_optuna_made_itself_is_ours_too(tmp_path):
    path = tmp_path / "theirs.db"
    optuna.create_study(storage=f"sqlite:///{path}", study_name="theirs")
    assert [study.name for study in record.load_all(locate(str(path)))] == ["theirs"]


@given(st.integers(0, 2000).map(lambda permille: permille / 2000))
@settings(max_examples=25)
def test_a_truncated_database_is_read_or_refused_in_a_sentence(tmp_path_factory, sound, share):
    _read_or_refuse(tmp_path_factory, sound[: int(len(sound) * share)])


@given(st.data())
@settings(max_examples=25)
def test_a_damaged_database_is_read_or_refused_in_a_sentence(tmp_path_factory, sound, data):
    damaged = bytearray(sound)
    place = data.draw(st.integers(0, len(sound) - 100))
    damaged[place : place + 100] = data.draw(st.binary(min_size=100, max_size=100))
    _read_or_refuse(tmp_path_factory, bytes(damaged))


def _read_or_refuse(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("damaged") / "hpo.db"
    path.write_bytes(content)
    try:
        for study in record.load_all(locate(str(path))):
            assert study.attributes is not None
            assert all(study.row(trial) for trial in study.trials)
    except StorageError as error:
        assert "hpo.db" in str(error)  # noqa: PT017  # either way is right


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:S3cret@localhost:1/night",
        "postgresql://localhost:1/night?user=me&password=S3cret",
        "mysql://me:S3cret@localhost:1/night",
        "nosuch://me:S3cret@localhost/night",
        "postgresql://me:S3cret@localhost:port/night",
        "postgresql://me:p@ss/S3cret@localhost/night",
        "postgresql://me:p/S3cret@localhost/night",
        "mysql+pymysql://me:S3cret@localhost:1/night",
        "mysql+pymysql://me:S3cret@nowhere.invalid/night",
        "redis://me:S3cret@localhost",
        "postgresql+asyncpg://me:S3cret@localhost/night",
        "://me:S3cret@localhost",
    ],
)
def test_a_password_is_shown_in_no_message(url):
    with pytest.raises(StorageError) as caught:
        open_database(locate(url), create=True)
    assert "S3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_several_processes_make_the_same_database_at_once(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hpo.store.reading.record"])
    with context.Pool(8) as processes:
        for attempt in range(2):
            assert processes.map(race, [tmp_path / f"new-{attempt}.db"] * 8, chunksize=1) == [[]] * 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new-0.db", "new-1.db"]


def test_a_writer_waits_for_a_reader_that_holds_the_file(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    reader = sqlite3.connect(study.location.path, check_same_thread=False)
    reader.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.3, reader.rollback).start()
    assert study.ask().number == 0
    reader.close()


def test_optuna_says_nothing_of_its_own_when_a_study_is_continued(tmp_path, capfd):
    location = new_study(tmp_path / "hpo.db").location
    optuna.logging.set_verbosity(optuna.logging.INFO)
    database = open_database(location)
    assert WritableStudy(database, stored(database, "first")).ask().number == 0
    assert capfd.readouterr().err == ""


def test_every_commit_is_synchronous(tmp_path):
    storage = open_database(locate(str(tmp_path / "hpo.db")), create=True).storage
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"


@pytest.mark.parametrize("variable", ["", "HPO_STORAGE", "OPTUNA_STORAGE"])
@pytest.mark.parametrize("scheme", ["", "sqlite:///"])
def test_a_tilde_in_a_database_s_name_is_the_home_folder(monkeypatch, tmp_path, variable, scheme):
    monkeypatch.setenv("HOME", str(tmp_path))
    text = f"{scheme}~/sweeps/hpo.db"
    if variable:
        monkeypatch.setenv(variable, text)
    location = locate(None if variable else text)
    assert (location.path, location.folder) == (tmp_path / "sweeps/hpo.db", tmp_path / "sweeps/hpo")


def test_a_current_folder_that_is_gone_is_a_sentence(monkeypatch, tmp_path):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StorageError, match="the current folder no longer exists"):
        locate("hpo.db")
    assert locate(f"{tmp_path}/hpo.db").path == tmp_path / "hpo.db"
