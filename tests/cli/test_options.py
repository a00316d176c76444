"""A field of a model is an option: its name, type, help, metavar and default come from one place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from hpo import settings
from hpo.cli import main, options
from hpo.cli.options import option
from hpo.errors import UsageError
from hpo.settings import Option, RunOptions, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def params(command: str) -> Mapping[str, Any]:
    """The parameters of a command of hpo, by name."""
    made = typer.main.get_command(main.app).commands[command]  # type: ignore[attr-defined]
    return {parameter.name: parameter for parameter in made.get_params(typer.Context(made))}


@pytest.mark.parametrize(("command", "model"), [("run", Settings), ("run", RunOptions), ("resume", RunOptions)])
def test_each_field_is_an_option_with_its_help_and_its_default(command, model):
    found = params(command)
    for name, field in model.model_fields.items():
        assert f"--{name.replace('_', '-')}" in found[name].opts
        assert Option.of(field).help in found[name].help
        if field.default is not None:
            assert f"Default: {field.default}." in found[name].help


def test_settings_are_no_options_of_a_study_that_has_them():
    assert not params("resume").keys() & Settings.model_fields.keys()


def test_options_are_shown_in_the_order_of_the_fields_and_a_space_beside_the_epochs():
    shown = list(params("run"))
    own = [name for name in shown if name in {**Settings.model_fields, **RunOptions.model_fields}]
    assert own == [*Settings.model_fields, *RunOptions.model_fields]
    assert shown[shown.index("epochs") + 1] == "space"
    assert shown[0] == "study"
    assert shown[-5:] == ["no_report", "storage", "quiet", "verbose", "help"]


def test_options_end_in_one_way_to_say_what_holds_without_them():
    for name, parameter in params("run").items():
        if getattr(parameter, "help", None):
            assert parameter.help.endswith(".")
            assert not parameter.show_default or parameter.default in (None, False), name


class Oven(settings.Given):
    """What an oven needs to know."""

    minutes: Annotated[int, Field(ge=1), Option("How long.", short="-m", metavar="N")] = 30
    tray: Annotated[Path | None, Option("Which one.")] = None
    heat: Annotated[float, Field(gt=0), Option("How hot.", default="what the oven does")] = 180.0


@pytest.fixture
def oven(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr(settings, "Oven", Oven, raising=False)
    app, given = typer.Typer(rich_markup_mode=None), []

    @options.command(app, epilog="Example:  bake", after={"cake": "minutes"})
    def bake(*, oven: Oven, cake: Annotated[str, option("--cake", help="What.")] = "plum") -> None:
        """Bake a cake."""
        given.append((oven, cake))

    @app.command()
    def eat() -> None:
        """Eat it."""

    def called(*arguments: str) -> Any:
        ended = CliRunner().invoke(app, list(arguments))
        if isinstance(ended.exception, UsageError):
            raise ended.exception
        return given.pop() if given else ended.output

    return called


def test_a_command_gets_a_model_of_what_was_typed(oven):
    made, cake = oven("bake", "-m", "5", "--tray", "top", "--cake", "apple")
    assert made == Oven(minutes=5, tray=Path("top"))
    assert made.model_fields_set == {"minutes", "tray"}
    assert cake == "apple"


def test_a_bad_value_is_refused_by_the_model(oven):
    with pytest.raises(
        UsageError, match=r"--minutes = 0: should be greater than or equal to 1; --heat = '-1': should be greater"
    ):
        oven("bake", "--minutes", "0", "--heat", "-1")


def test_help_tells_what_the_fields_tell(oven):
    text = " ".join(oven("bake", "--help").split())
    assert "-m, --minutes N How long. Default: 30. --cake <str> What. [default: plum] --tray <path> Which one." in text
    assert "--heat <str> How hot. Default: what the oven does." in text
    assert "Bake a cake." in text
    assert "Example: bake" in text
    assert "Bake a cake." in oven("--help")
