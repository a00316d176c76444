"""Whatever is typed and whatever a space file holds: no traceback, no hang, and no exit code but the contract's.

2,000 command lines and 2,000 files: pytest tests/test_any_input.py --hypothesis-profile=long --hypothesis-show-statistics
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from hostile import in_process
from hypothesis import event, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from instant import InstantPool, curve, new_study, run

from hpo.builtin.convnet import OBJECTIVE, PRESETS, Config
from hpo.cli.main import app
from hpo.dashboard import server
from hpo.messages import CannotWork
from hpo.runner import session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hpo.parameters import Value

pytestmark = pytest.mark.timeout(7200)
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
CODES = {0, 2, 3, 4, 5}
examples = hypothesis_settings(max_examples=max(100, hypothesis_settings().max_examples))

# -- command lines -------------------------------------------------------------------------------------------------------

GOOD = {
    "--trials": ("1", "2", "3", "1000000"),
    "--timeout": ("90s", "1h30m", "0.001"),
    "--target": ("0.1", "93%"),
    "--patience": ("1", "5"),
    "--workers": ("1", "3", "auto"),
    "--device": ("cpu", "auto", "cuda", "cuda:0,cuda:7"),
    "--trial-timeout": ("10m",),
    "--keep-checkpoints": ("1", "3"),
    "--dataset": ("digits", "cifar10"),
    "--epochs": ("1", "2", "10000"),
    "--space": ("basic", "wide", "tutorial", "good.toml", "bad.toml", "pipe.toml", "/dev/zero", "."),
    "--score": ("test", "validation"),
    "--sampler": ("tpe", "random", "qmc"),
    "--pruner": ("halving", "median", "hyperband", "none"),
    "--seed": ("0", "9223372036854775807"),
    "--limit-train": ("100",),
    "--limit-test": ("50",),
    "--format": ("table", "json", "csv"),
    "--out": ("page.html", "folder/page.html", "folder", "pipe.toml", "no/such/place.html"),
    "--preview": ("p.png", "folder", "pipe.toml", "no/such/p.png"),
    "--port": ("0", "65536"),
    "--title": ("A title",),
    "--storage": (
        "hpo.db",
        "new.db",
        "other.db",
        "folder",
        "gone/hpo.db",
        ".",
        "sqlite://",
        "sqlite:///hpo.db",
        "mysql://a:b@c/d",
    ),
    "--data-dir": ("data", "hpo.db"),
}
ODD = (
    *("", " ", "-1", "0", "1e999", "nan", "inf", "-inf", "9" * 30, "1" * 5000, "0x10", "١٢", "1_0", "½", "1.5", "true", "None"),
    *(
        "~",
        "*",
        "%s%n",
        "{}",
        "{0.__class__}",
        "'; DROP TABLE studies; --",
        "\x1b[31m",
        "\u202e",
        "💥",
        "a" * 300,
        "--",
        "-",
        "\n",
    ),
    *("\t", "é", "e\u0301", "\udcff", "[red]x[/red]", "$HOME", "`id`", "con", "first", "digits", "10\n"),
)
NAMES = ("first", "second", "frst", "a.b", "..", "a/b", "digits", "basic", "cifar10")
texts = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), max_size=20
)  # no path leads out of the folder


@st.composite
def options(draw: st.DrawFn, command: str) -> list[str]:
    """An option of a command, or one that it does not have, with a value of some kind."""
    parameters = COMMANDS[command].get_params(typer.Context(COMMANDS[command]))
    known = [parameter for parameter in parameters if parameter.opts[0].startswith("-") and parameter.name != "help"]
    if not known or draw(st.integers(0, 19)) == 0:
        return [draw(st.sampled_from(("--no-such", "-x", "--trails=3", "--help", "--debug", "---")))]
    parameter = draw(st.sampled_from(known))
    name = draw(st.sampled_from(parameter.opts))
    if getattr(parameter, "is_flag", False) and draw(st.integers(0, 9)):
        return [name]
    good = st.sampled_from(GOOD.get(parameter.opts[0], ("1",)))
    value = draw(good if draw(st.integers(0, 4)) else st.sampled_from(ODD) | texts)
    return [f"{name}={value}"] if draw(st.booleans()) else [name, value]


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with some arguments and options; now and then no command at all."""
    if draw(st.integers(0, 29)) == 0:
        return draw(st.lists(texts | st.sampled_from(ODD), max_size=4))
    command = draw(st.sampled_from(sorted(COMMANDS)))
    usual = st.just("digits" if command == "data" else "wide" if command == "space" else "first")
    odd = st.sampled_from(NAMES) | texts | st.sampled_from(ODD)
    n_usual = 0 if command in ("list", "dashboard") else 2 if command == "compare" else 1
    words = draw(st.lists(usual, min_size=n_usual, max_size=n_usual) if draw(st.integers(0, 3)) else st.lists(odd, max_size=2))
    for option in draw(st.lists(options(command), max_size=4)):
        words += option
    return [command, *words]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with files of every kind that a command line may name; we are in another one.

    There are no workers, no network, no browser, and the dashboard is asked nothing.
    """
    folder = tmp_path_factory.mktemp("prepared")
    run(new_study(folder / "hpo.db"), 3)
    (folder / "other.db").write_bytes(b"dear diary")
    (folder / "good.toml").write_text(OBJECTIVE.space("wide").to_toml())
    (folder / "bad.toml").write_text("lr = { type = 'float', low = 9, high = 1")
    (folder / "folder").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        patch.setattr(
            session, "LocalPool", lambda seats, settings, *_: InstantPool(len(seats), settings.epochs, curve=answer, fate=fate)
        )
        patch.setattr(server._Threaded, "serve_forever", lambda _: None)
        patch.setattr(typer, "launch", lambda _: 0)
        patch.setenv("https_proxy", "http://127.0.0.1:9")
        patch.setenv("HPO_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield folder


def answer(point: Mapping[str, Value], epoch: int) -> float:
    """An accuracy, of other networks than the built-in one too."""
    return curve(point, epoch) if "filters" in point else 0.5


def fate(trial: int, epoch: int) -> CannotWork | None:
    """End what would go on for a million trials or ten thousand epochs."""
    return CannotWork(error="DeviceError", message="tired") if trial > 3 or epoch > 3 else None


def laid_out(prepared: Path) -> None:
    """Fill the current folder with the prepared files."""
    here = Path.cwd()
    for path in here.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.copytree(prepared, here, dirs_exist_ok=True)
    os.mkfifo(here / "pipe.toml")


def answered(*words: str) -> tuple[int, str, str]:
    code, out, err = in_process(*words)
    assert code in CODES, f"{code}: {err}"
    assert "Traceback" not in err or "--debug" in words
    assert "bug in hpo" not in err
    if code in (2, 3, 4):
        assert "error: " in err or words[0] == "doctor"
    return code, out, err


@examples
@given(words=command_lines())
def test_any_command_line_ends_with_a_code_of_the_contract(prepared, words):
    laid_out(prepared)
    event(f"exit code {answered(*words)[0]}")


# -- space files ---------------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-3, 70), st.floats(allow_nan=True), st.floats(0, 4), st.integers(), st.sampled_from((0, 1, 1e-9, 2**53, 10**400))
)
values = st.one_of(numbers, st.booleans(), texts, st.sampled_from(("sgd", "adamw", "batch", "relu", "none", "early")), st.none())
KEYS = ("type", "low", "high", "log", "step", "default", "choices", "value", "x")


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, Any]:
    """A range in order, whose numbers may be anything."""
    low, default, high = sorted(draw(st.lists(st.integers(-1, 64) | st.floats(0, 3), min_size=3, max_size=3)))
    kind = draw(st.sampled_from(("int", "float")))
    made = {"type": kind, "low": low, "high": high, "default": default}
    if kind == "int":
        made |= {key: int(made[key]) for key in ("low", "high", "default")}
    return made | draw(st.sampled_from(({}, {}, {"log": True}, {"step": 1}, {"step": 0.1}, {"step": -1}, {"high": None})))


SOUND = {name: given for name, given in {**PRESETS["tutorial"], **PRESETS["wide"]}.items() if name != "starts"}
parameters = st.one_of(
    values,
    ranges(),
    ranges(),
    st.builds(lambda c: {"choices": c, "default": c[0] if c else 1}, st.lists(values, max_size=4)),
    st.dictionaries(st.sampled_from(KEYS), values | st.lists(values, max_size=3), max_size=6),
)


def toml(value: Any) -> str:
    """Write a value as TOML, or as near to it as there is."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items() if item is not None) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


@st.composite
def space_files(draw: st.DrawFn) -> bytes:
    """A file of parameters, known ones mostly; now and then cut, or noise."""
    names = st.sampled_from(sorted(Config.model_fields)) | st.sampled_from(sorted(Config.model_fields)) | texts
    table = draw(st.dictionaries(names, parameters, max_size=2) if draw(st.booleans()) else st.just({}))
    for name in draw(st.sets(st.sampled_from(sorted(SOUND)), max_size=4)):
        table.setdefault(name, SOUND[name])
    lines = [f"{key if key.isidentifier() else toml(key)} = {toml(value)}" for key, value in table.items()]
    content = "\n".join(lines).encode()
    match draw(st.integers(0, 9)):
        case 0:
            return content[: draw(st.integers(0, len(content)))]
        case 1:
            return draw(st.binary(max_size=100))
        case 2:
            return content + b"\n" + content
    return content


@examples
@given(content=space_files(), trains=st.integers(0, 4).map(lambda n: n == 0))
def test_any_space_file_is_shown_or_refused(prepared, content, trains):
    Path("some.toml").write_bytes(content)
    code, out, err = answered("space", "some.toml", "--toml")
    event(f"exit code {code}")
    assert code in (0, 2)
    if code == 2:
        assert "some.toml" in err
        assert answered("run", "--dataset", "digits", "--space", "some.toml")[0] == 2
        return
    Path("again.toml").write_text(out)
    assert answered("space", "again.toml", "--toml") == (0, out, "")
    assert answered("space", "some.toml")[0] == 0
    if trains:
        shutil.copy(prepared / "hpo.db", "hpo.db")
        words = ("run", "any", "--dataset", "digits", "--space", "some.toml", "--trials", "2", "--epochs", "1", "--no-report")
        assert answered(*words, "--storage", "hpo.db")[0] == 0, err


def test_a_space_file_is_a_file_of_reasonable_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.toml")
    Path("huge.toml").write_bytes(b"# comment\n" * 200_000)
    for name, says in (("pipe.toml", "is not a file"), ("/dev/zero", "is not a file"), ("huge.toml", "2,000,000 bytes")):
        code, _, err = answered("space", name)
        assert code == 2
        assert says in err
