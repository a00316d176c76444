"""Search spaces: which parameters a study varies, in which ranges, and the point that it starts from.

What can be varied are the knobs of an objective: a model with hard bounds and a default for each. A `SearchSpace` over them says
for each knob whether it is varied (a range or choices) or fixed. It is flat, since Optuna's joint TPE drops conditional
parameters. Every space has a default point, which trial 0 tries, so that a report can say what tuning gained.
"""

from __future__ import annotations

import codecs
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpo.errors import SpaceError, explain, nearest
from hpo.parameters import Choices, Fixed, FloatRange, IntRange, Parameter, Value

Knobs = type[BaseModel]  # what can be set: a field each, with its default, bounds and description

LARGEST_FILE = 1_000_000  # bytes


class SearchSpace(BaseModel):
    """A named set of parameters.

    Attributes:
        name: The name that the study stores and shows.
        parameters: Ranges, choices and fixed values, by name. A space that is searched has one for every knob (see `over`);
            one that has none is defined by run: each trial says what it varies while it runs (an Optuna objective).
        starts: Points that are tried after the default point and trained to the end. Values not given take their defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    parameters: dict[str, Parameter]
    starts: tuple[dict[str, Value], ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name, value in (pair for start in self.starts for pair in start.items()):
            if name not in self.varied or not self.varied[name].holds(value):
                raise ValueError(f"starts: {name} = {value!r} is not a value of a varied parameter")
        return self

    def over(self, knobs: Knobs) -> Self:
        """Return the space with a parameter for every knob, in the knobs' order: what is not given is fixed at its default.

        Raises:
            SpaceError: There is no such knob, or a value breaks its bound.
        """
        defaults = knobs().model_dump()
        for name, parameter in self.parameters.items():
            if name not in defaults:
                raise SpaceError(f"space {self.name!r}: there is no parameter {name!r}.{nearest(name, defaults)}")
            broken = (_broken_bound(knobs, name, value) for value in parameter.ends())
            if why := next(filter(None, broken), ""):
                raise SpaceError(f"space {self.name!r}: {why}")
        whole = {name: self.parameters.get(name) or Fixed(value=value) for name, value in defaults.items()}
        return self.model_copy(update={"parameters": whole})

    @property
    def by_run(self) -> bool:
        """Whether trials themselves say what they vary. Nothing is known before: there is no default point."""
        return not self.parameters

    @property
    def varied(self) -> dict[str, IntRange | FloatRange | Choices]:
        """The parameters that the sampler chooses."""
        return {name: p for name, p in self.parameters.items() if not isinstance(p, Fixed)}

    @property
    def default(self) -> dict[str, Value]:
        """The default point, varied parameters only."""
        return {name: p.default for name, p in self.varied.items()}

    @property
    def first(self) -> list[dict[str, Value]]:
        """The points that are tried first: the default point, then `starts`; none where a space is defined by run."""
        return [] if self.by_run else [self.default | start for start in ({}, *self.starts)]

    def point(self, given: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """Return a value for every parameter; those that are not given have their defaults.

        Raises:
            SpaceError: There is no such parameter, or a value is outside its range.
        """
        given = given or {}
        if self.by_run:
            return dict(given)
        for name, value in given.items():
            if name not in self.parameters:
                raise SpaceError(f"space {self.name!r} has no parameter {name!r}.{nearest(name, self.parameters)}")
            if not self.parameters[name].holds(value):
                raise SpaceError(f"{name} = {value!r} is outside its range in space {self.name!r}.")
        return {name: given.get(name, p.default) for name, p in self.parameters.items()}

    @classmethod
    def of(cls, name: str, table: Mapping[str, Any], knobs: Knobs | None = None) -> Self:
        """Return the space of a file's table: `starts`, and for each parameter a dict, or a plain value for a fixed one.

        Raises:
            SpaceError: A parameter breaks a rule; names key, value and bound.
        """
        parameters = {key: _expand(value) for key, value in table.items() if key != "starts"}
        try:
            space = cls(name=name, parameters=parameters, starts=table.get("starts", ()))
        except ValidationError as error:
            raise SpaceError(f"space {name!r}: " + "; ".join(explain(error))) from None
        return space.over(knobs) if knobs else space

    @classmethod
    def from_toml(cls, path: Path, knobs: Knobs | None = None) -> Self:
        """Read a space file.

        Raises:
            SpaceError: The file is missing, not a file, too large or not TOML, or a parameter breaks a rule.
        """
        try:
            if path.exists() and not path.is_file():
                raise SpaceError(f"space file {path} is not a file.")
            if (size := path.stat().st_size) > LARGEST_FILE:
                raise SpaceError(f"space file {path} has {size:,} bytes; the limit is {LARGEST_FILE:,}.")
            table = tomllib.loads(_text(path.read_bytes()))
        except FileNotFoundError:
            raise SpaceError(f"there is no space file {path}. To write one: hpo space --toml > {path.name}") from None
        except OSError as error:
            raise SpaceError(f"space file {path} cannot be read: {error.strerror}.") from None
        except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number of thousands of digits
            raise SpaceError(f"space file {path} is not TOML: {error}") from None
        name = table.pop("name", path.stem)
        if not isinstance(name, str):
            raise SpaceError(f"space file {path}: name = {name!r} must be a string.")
        if not table.keys() - {"starts"}:
            raise SpaceError(f"space file {path} names no parameter. For an example, see: hpo space --toml")
        try:
            return cls.of(name, table, knobs)
        except SpaceError as error:
            raise SpaceError(f"{path}: {error}") from None

    def to_toml(self, described: Mapping[str, str] | None = None) -> str:
        """Return the space as a file that `from_toml` reads back, with a comment for each parameter that is described."""
        lines = [f"name = {toml(self.name)}", *([f"starts = {toml(self.starts)}"] if self.starts else []), ""]
        for key, parameter in self.parameters.items():
            value = toml(parameter.value if isinstance(parameter, Fixed) else parameter.model_dump(exclude_defaults=True))
            said = (described or {}).get(key)
            lines.append(f"{key} = {value}" + (f"  # {said}" if said else ""))
        return "\n".join(lines) + "\n"


def _broken_bound(knobs: Knobs, name: str, value: Value) -> str:
    """Return which bound of a knob a value breaks; empty if none."""
    try:
        checked = getattr(knobs.model_validate({name: value}, strict=True), name)
    except ValidationError as error:
        return "; ".join(explain(error))
    if isinstance(checked, int) and type(checked) is not type(value):
        return f"{name} = {value!r}: should be a whole number"  # pydantic takes 3.0 for Literal[3]
    return ""


def _text(content: bytes) -> str:
    """Decode UTF-8, or what Windows tools write: UTF-8 or UTF-16 with a byte order mark (PowerShell's `>`, Notepad)."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not {'UTF-16' if utf16 else 'UTF-8'}; save the file as UTF-8") from None


def _expand(value: object) -> object:
    """Accept `lr = 0.1` for a fixed value, and ranges and choices without `type` where the keys imply it."""
    if not isinstance(value, dict):
        return {"type": "fixed", "value": value}
    if "type" not in value and "choices" in value:
        return {"type": "categorical", **value}
    if "type" not in value and "value" in value:
        return {"type": "fixed", **value}
    return value


def toml(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's escapes are JSON's, but for DEL
        return text.encode(errors="backslashreplace").decode()  # half of a character, which no file can hold
    return repr(value)
