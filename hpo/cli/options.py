"""Options: those that several commands share, declared for Typer, and those that are made from the fields of a model.

Typer reads annotations at run time, so `Optional[str]` stays where `str | None` would do elsewhere.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Optional, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Function = TypeVar("Function", bound="Callable[..., int]")


def option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002, ANN401  # Typer's own names and types
    """Declare an option."""
    return typer.Option(*names, help=help, **more)


class Format(StrEnum):
    """How data is printed."""

    table = "table"
    json = "json"
    csv = "csv"


class State(StrEnum):
    """State of a trial."""

    complete = "complete"
    pruned = "pruned"
    fail = "fail"
    running = "running"
    waiting = "waiting"
    foreign = "foreign"


Text = Optional[str]  # noqa: UP045
Whole = Optional[int]  # noqa: UP045
File = Optional[Path]  # noqa: UP045
Flag = Optional[bool]  # noqa: UP045
States = Optional[list[State]]  # noqa: UP045

Study = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study.")]
Storage = Annotated[
    Text, option("--storage", metavar="URL|PATH", help="Database. Default: $HPO_STORAGE, $OPTUNA_STORAGE, studies/hpo.db.")
]
Form = Annotated[Format, option("--format", help="How to print.")]


def command(app: typer.Typer, *, epilog: str, after: Mapping[str, str] = MappingProxyType({})) -> Callable[[Function], Function]:
    """Register a function as a command, whose parameters may be models of hpo/settings.py or dataclasses of options.

    Their fields become the command's options, and the function gets the models. The options are made when the command is
    used: models need pydantic, and `hpo --help` does not wait for it.

    Args:
        app: Where the command belongs.
        epilog: Its examples.
        after: Options of the function's own that stand behind an option of a model.
    """

    def registered(function: Function) -> Function:
        class Command(TyperCommand):
            def get_params(self, ctx: Any) -> Any:  # noqa: ANN401  # click's, wherever this Typer keeps it
                if not self.params:
                    made = typer.main.get_command(_app_of(function, after))
                    self.params, self.callback = made.params, made.callback
                return super().get_params(ctx)

        app.command(function.__name__, cls=Command, help=function.__doc__, epilog=epilog)(lambda: None)
        return function

    return registered


def _app_of(function: Callable[..., int], after: Mapping[str, str]) -> typer.Typer:
    """Return an app of one command, which has all options of a function."""
    from hpo import settings

    parameters = inspect.signature(function, eval_str=True, locals=vars(settings)).parameters.values()
    parts = {parameter.name: _part(parameter) for parameter in parameters}
    options = {option.name: option for part in parts.values() for option in part.options}
    order = list(options)
    for name, before in after.items():
        order.remove(name)
        order.insert(order.index(before) + 1, name)

    def called(**given: Any) -> int:  # noqa: ANN401  # what Typer has read
        return function(**{name: part.make(**{o.name: given[o.name] for o in part.options}) for name, part in parts.items()})

    called.__signature__ = inspect.Signature([options[name] for name in order])  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(called)
    return app


class _Part(NamedTuple):
    """A parameter of a command: the options that it is made from, and what makes it."""

    options: list[inspect.Parameter]
    make: Callable[..., Any]


def _part(parameter: inspect.Parameter) -> _Part:
    from hpo.settings import Given

    kind = parameter.annotation
    if isinstance(kind, type) and issubclass(kind, Given):
        types = get_type_hints(kind)
        return _Part([_option_of(name, types[name], field) for name, field in kind.model_fields.items()], kind.of)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _Part(list(inspect.signature(kind, eval_str=True).parameters.values()), kind)
    return _Part([parameter], lambda **given: given[parameter.name])


def _option_of(name: str, kind: Any, field: FieldInfo) -> inspect.Parameter:  # noqa: ANN401  # a type, or several
    """Return a field as a parameter for Typer. It is None where it is not given: the default is the model's."""
    from hpo.settings import Option

    said = Option.of(field)
    default = field.default if said.default is None else said.default
    names = [f"--{name.replace('_', '-')}", *([said.short] if said.short else [])]
    shown = option(*names, metavar=said.metavar, help=said.help if default is None else f"{said.help} Default: {default}.")
    kinds = {*(get_args(kind) or (kind,))} - {NoneType}
    read = next(
        (read for only, read in ((int, Whole), (Path, File), (bool, Flag)) if kinds == {only}), Text
    )  # the model reads text
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[read, shown])
