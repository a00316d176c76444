"""A password in a URL, given in the right place or the wrong one, is nowhere in what a command says or leaves behind."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hostile import in_process
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

URLS = (
    "postgresql://me:S3cret@localhost:1/night",
    "postgresql+psycopg2://me:S3cret@/night?host=/nowhere",
    "postgresql://localhost:1/night?user=me&password=S3cret",
    "postgresql://me:S3cret@localhost:port/night",
    "postgresql://me:un@S3cret@localhost/night",
    "postgresql://me:un/S3cret@localhost/night",
    "postgresql+asyncpg://me:S3cret@localhost/night",
    "mysql://me:S3cret@localhost:1/night",
    "mysql+pymysql://me:S3cret@localhost:1/night",
    "mysql+pymysql://me:S3cret@nowhere.invalid/night",
    "redis://me:S3cret@localhost",
    "://me:S3cret@localhost",
)
COMMANDS = (
    *("list", "show first", "trials first", "report first", "compare a b", "doctor", "doctor --json", "dashboard"),
    *("run first --dataset digits", "resume first"),
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def everything_in(folder: Path) -> str:
    return "".join(f"{path}{path.read_bytes()!r}" for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("url", URLS)
def test_a_storage_that_cannot_be_used_is_told_without_its_password(url, tmp_path):
    for command in COMMANDS:
        code, out, err = in_process(*command.split(), "--storage", url)
        assert code == 4, (command, out, err)
        assert "S3cret" not in out + err
        assert "Traceback" not in err
        assert err.count("\n") <= 1
    assert "S3cret" not in everything_in(tmp_path)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("variable", ["HPO_STORAGE", "OPTUNA_STORAGE"])
def test_nor_where_the_environment_names_it(url, variable, monkeypatch):
    monkeypatch.setenv(variable, url)
    for command in ("list", "doctor", "run first --dataset digits"):
        code, out, err = in_process(*command.split())
        assert code == 4
        assert "S3cret" not in out + err


@pytest.mark.parametrize("url", URLS)
def test_nor_in_a_traceback(url):
    for command in ("list", "doctor", "run first --dataset digits", "show"):
        _, out, err = in_process(*command.split(), "--debug", "--storage", url)
        assert "S3cret" not in out + err
        assert command == "show" or "Traceback" in err or out


@pytest.mark.parametrize(
    "words",
    [
        ("run", "URL"),
        ("show", "URL"),
        ("URL",),
        ("run", "--space", "URL"),
        ("run", "--trials", "URL"),
        ("run", "--dataset", "URL"),
        ("run", "--device", "URL"),
        ("run", "--timeout", "URL"),
        ("run", "first", "URL"),
        ("run", "--storag=URL"),
        ("list", "--format", "URL"),
        ("report", "--out", "URL"),
        ("data", "URL"),
        ("space", "URL"),
        ("resume", "URL"),
    ],
    ids=" ".join,
)
def test_nor_where_a_url_was_typed_in_the_wrong_place(words, tmp_path):
    """With --debug, which says what is said without, and more."""
    for url in URLS:
        code, out, err = in_process(*(word.replace("URL", url) for word in words), "--debug")
        assert code in (2, 4)
        assert "S3cret" not in out + err
    assert "S3cret" not in everything_in(tmp_path)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=6, max_size=40), st.booleans())
def test_nor_whatever_the_password(password, quoted):
    secret = quote(password, safe="") if quoted else password
    _, out, err = in_process("list", f"--storage=postgresql://me:{secret}@localhost:1/night")
    for written in {secret, password}:
        assert written not in out + err


def test_nor_in_the_traceback_of_a_real_process():
    command = [sys.executable, "-m", "hpo", "list", "--debug", "--storage", URLS[0]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 4
    assert "Traceback" in done.stderr
    assert "S3cret" not in done.stdout + done.stderr
