"""A value that cannot be right is one sentence that names its study, and the other studies are read."""

import sqlite3
from contextlib import closing

import pytest
from hostile import in_process
from instant import new_study, run

from hpo import api
from hpo.errors import StorageError, UsageError
from hpo.folders import Location
from hpo.store.database import locate, open_database
from hpo.store.definition import stored
from hpo.store.reading.reader import names
from hpo.store.reading.record import load, load_all

ODD = [
    ("studies.study_name", b"\xff\xfe"),
    ("study_directions.direction", "SIDEWAYS"),
    ("study_user_attributes.value_json", "{"),
    ("study_user_attributes.value_json", "9" * 5000),
    ("study_user_attributes.value_json", "[" * 100_000),
    ("study_user_attributes.key", b"x"),
    ("trials.state", "LOST"),
    ("trials.number", "seven"),
    ("trials.number", 1),
    ("trials.datetime_start", "2026-13-45"),
    ("trials.datetime_start", "9999-12-31 23:59:59.999999"),
    ("trials.datetime_complete", 5),
    ("trial_params.param_value", "wide"),
    ("trial_params.param_value", 9e999),
    ("trial_params.distribution_json", '{"name": "NoDistribution"}'),
    ("trial_values.value", b"\0"),
    ("trial_values.value", None),
    ("trial_values.value_type", "INF_POS"),
    ("trial_intermediate_values.step", "last"),
    ("trial_intermediate_values.intermediate_value", "high"),
    ("trial_user_attributes.value_json", "NULL"),
]


SPARING = {"trials", "report", "compare"}  # these do not read every attribute


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A database of two studies; `first` has trials."""
    path = tmp_path_factory.mktemp("two") / "hpo.db"
    run(new_study(path, "first"), 3)
    new_study(path, "second")
    return path.read_bytes()


@pytest.fixture
def edited(two, tmp_path):
    """Return a database whose first study has one value changed."""

    def change(where, value):
        path = tmp_path / "hpo.db"
        path.write_bytes(two)
        table, column = where.split(".")
        with closing(sqlite3.connect(path)) as connection, connection:
            last = connection.execute(f"SELECT max(rowid) FROM {table} WHERE {owned(table)}").fetchone()[0]
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, last))
        return path

    return change


def owned(table):
    return "trial_id IN (SELECT trial_id FROM trials WHERE study_id = 1)" if table.startswith("trial_") else "study_id = 1"


def test_what_hpo_writes_can_be_read(two, tmp_path):
    (tmp_path / "hpo.db").write_bytes(two)
    assert in_process("list", "--storage", tmp_path / "hpo.db")[::2] == (0, "")


@pytest.mark.parametrize(("where", "value"), ODD, ids=[f"{where}-{str(value)[:12]}" for where, value in ODD])
def test_an_odd_value_is_a_sentence_and_the_other_study_is_read(edited, where, value):
    path = edited(where, value)
    before = path.read_bytes()
    code, out, err = in_process("list", "--storage", path)
    assert "second" in out
    noted = where.startswith("trial_user_attributes")  # of which a list needs none, and `show` one trial's
    if not noted:
        assert (code, err.count("\n")) == (4, 1)
        assert "cannot be read" in err
        assert "study 'first'" in err or where == "studies.study_name"
    code, out, err = in_process("doctor", "--json", "--storage", path)
    assert (code, err) == (4, "")
    assert "cannot be read" in out
    assert "study second: " in out
    for words in (("show",), ("trials",), ("report",), ("compare", "second"), ("resume",)):
        code, _, err = in_process(*words, "first", "--storage", path)
        if where == "studies.study_name":
            assert code == 2
        elif code or words[0] not in SPARING | ({"show"} if noted else set()):
            assert (code, err.count("\n")) == (4, 1), err
    assert path.read_bytes() == before


@pytest.mark.parametrize(("where", "value"), [("trial_values.value", "x"), ("study_user_attributes.value_json", "{")])
def test_the_api_raises_what_it_says(edited, where, value):
    with pytest.raises(StorageError, match=r"study 'first' in .* cannot be read"):
        api.load("first", str(edited(where, value)))


def test_a_record_is_of_what_was_read_and_needs_its_database_for_optunas_study_alone(edited, tmp_path):
    path = edited("studies.study_name", "first")
    found = api.load("first", str(path))
    path.write_bytes(b"")
    assert api.write_report(found, tmp_path / "page.html").stat().st_size > 1_000_000
    with pytest.raises(StorageError):
        assert found.study


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE study_user_attributes SET value_json = '7' WHERE key = 'environment'", "environment"),
        ("""UPDATE study_user_attributes SET key = 'options', value_json = '{"trials": "x"}' WHERE key = 'command'""", "trials"),
        ("UPDATE study_user_attributes SET key = 'starts', value_json = '[[1]]' WHERE key = 'command'", "starts"),
        ("""UPDATE study_user_attributes SET key = 'starts', value_json = '[{"lr": 1e9}]' WHERE key = 'command'""", "lr"),
        ("UPDATE trials SET number = 7 WHERE number = 2", "there is no trial 2"),
        (
            "UPDATE trial_intermediate_values SET intermediate_value = NULL, intermediate_value_type = 'NAN'",
            r"accuracy of trial \d .* nan",
        ),
        ("UPDATE trial_intermediate_values SET step = 400 WHERE step = 1", "after epoch 400"),
        ("UPDATE trial_intermediate_values SET intermediate_value = 1e30", r"accuracy of trial \d .* 1e"),
    ],
)
def test_what_hpo_does_not_write_is_not_gone_on_with(edited, statement, why):
    path = edited("studies.study_name", "first")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE trials SET state = 'RUNNING' WHERE number = 2")
        connection.execute(statement)
    location = locate(str(path))
    with pytest.raises(StorageError, match=f"cannot be continued.*{why}"):
        stored(open_database(location), "first")


def test_a_name_that_optuna_cannot_have_given_is_a_sentence_of_ordinary_length(edited):
    path = edited("studies.study_name", "x" * 2_000_000)
    code, out, err = in_process("list", "--storage", path)
    assert (code, err.count("\n")) == (4, 1)
    assert len(out + err) < 2000


def test_a_schema_that_is_no_text_is_a_damaged_database(edited):
    path = edited("studies.study_name", "first")
    content = path.read_bytes()
    at = content.index(b"CREATE TABLE studies")
    path.write_bytes(content[:at] + b"CREATE \xab\xcd\xef" + content[at + 10 :])
    code, _, err = in_process("list", "--storage", path)
    assert (code, err.count("\n")) == (4, 1)
    assert "damaged" in err


def test_a_server_is_read_by_the_same_questions_as_a_file(two, tmp_path):
    path = tmp_path / "hpo.db"
    path.write_bytes(two)
    file, server = locate(str(path)), Location(None, tmp_path, f"sqlite:///{path}")
    for name in ("first", "second"):
        here, there = load(name, file), load(name, server)
        assert (here.trials, here.attributes, here.maximize) == (there.trials, there.attributes, there.maximize)
    assert [record.name for record in load_all(server)] == ["first", "second"]
    with pytest.raises(UsageError, match="Did you mean 'first'"):
        load("firts", server)


def test_a_servers_tables_are_made_where_it_has_none(tmp_path):
    server = Location(None, tmp_path, f"sqlite:///{tmp_path / 'new.db'}")
    assert names(open_database(server, create=True)) == []
    assert load_all(server) == []
