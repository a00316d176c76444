"""Search spaces: which parameters a study varies, in which ranges, and the point that it starts from.

A `Config` describes a network and its training completely: all of hpo's parameters, with their hard bounds. A `SearchSpace`
says for each parameter whether it is varied (a range or choices) or fixed. It is flat, since Optuna's joint TPE drops
conditional parameters. Every space has a default point, which trial 0 tries, so that a report can say what tuning gained.
"""

from __future__ import annotations

import codecs
import json
import os
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpo.errors import SpaceError, nearest
from hpo.explain import explain
from hpo.files import expanded
from hpo.parameters import Choices, Fixed, FloatRange, IntRange, Parameter, Value

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_FILE = 1_000_000  # bytes


class Config(BaseModel):
    """One point of a space: a network and how to train it. The defaults are the fixed recipe of `basic`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The four parameters that the project is about.
    depth: int = Field(3, ge=1, le=8, description="blocks of two convolutions")
    filters: int = Field(32, ge=1, le=2048, description="filters of the first block")
    dropout: float = Field(0.05, ge=0, le=0.95, description="rate before the last layer; inside the blocks 0.6 of it")
    lr: float = Field(0.2, gt=0, le=100, description="peak learning rate per batch; adamw uses a hundredth")
    # The network.
    growth: float = Field(2.0, ge=0.25, le=8, description="filters of a block relative to the block before")
    kernel: Literal[1, 3, 5, 7] = Field(3, description="kernel size of the blocks' convolutions, pixels")
    stem: Literal["none", "whiten"] = Field("whiten", description="frozen 2x2 layer that whitens patches of the training images")
    norm: Literal["none", "batch", "group"] = Field("batch", description="normalization after each convolution")
    activation: Literal["relu", "gelu", "silu"] = "relu"
    pool: Literal["early", "late"] = Field("early", description="2x2 max pooling after a block's first or last convolution")
    hidden: int = Field(0, ge=0, le=8192, description="units of a hidden layer on the flattened image; 0: global max pooling")
    # The training.
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(5e-4, ge=0, le=1, description="of convolutions and linear layers; adamw uses 1,000 times it")
    batch_size: int = Field(128, ge=1, le=65536, description="images per step")
    schedule: Literal["constant", "one-cycle"] = Field("one-cycle", description="course of the learning rate")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    averaging: float = Field(0.1, ge=0, le=1, description="of the scored weights, over this share of the training; 0: none")
    # The images.
    tta: bool = Field(default=True, description="score images together with their mirror images (test-time augmentation)")
    standardize: bool = Field(default=True, description="zero mean and unit variance per channel; else values 0 to 1")
    flip: bool = Field(default=True, description="mirror half of the training images")
    shift: int = Field(2, ge=0, le=16, description="move training images by up to this many pixels")
    cutout: int = Field(0, ge=0, le=32, description="edge of a square blanked in each training image, pixels")


class SearchSpace(BaseModel):
    """A named set of parameters, one for every field of `Config`.

    Attributes:
        name: The name that the study stores and shows.
        parameters: For every field of Config a range, choices or a fixed value. Fields not given are fixed at their defaults.
        starts: Points that are tried after the default point and trained to the end. Values not given take their defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    parameters: dict[str, Parameter]
    starts: tuple[dict[str, Value], ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        defaults = Config().model_dump()
        for name in self.parameters:
            if name not in defaults:
                raise ValueError(f"there is no parameter {name!r}.{nearest(name, defaults)}")
        given = {name: p for name in defaults if (p := self.parameters.get(name)) is not None}
        fixed = {name: Fixed(value=value) for name, value in defaults.items() if name not in given}
        object.__setattr__(self, "parameters", {name: given.get(name) or fixed[name] for name in defaults})
        for name, parameter in given.items():
            for value in parameter.ends():
                self._check_bounds(name, value)
        for name, value in (pair for start in self.starts for pair in start.items()):
            if name not in self.varied or not self.varied[name].holds(value):
                raise ValueError(f"starts: {name} = {value!r} is not a value of a varied parameter")
        return self

    @staticmethod
    def _check_bounds(name: str, value: Value) -> None:
        try:
            config = Config.model_validate({name: value}, strict=True)
        except ValidationError as error:
            raise ValueError("; ".join(explain(error))) from None
        if isinstance(getattr(config, name), int) and type(getattr(config, name)) is not type(value):
            raise ValueError(f"{name} = {value!r}: should be a whole number")  # pydantic takes 3.0 for Literal[3]

    @property
    def varied(self) -> dict[str, IntRange | FloatRange | Choices]:
        """The parameters that the sampler chooses, in Config's order."""
        return {name: p for name, p in self.parameters.items() if not isinstance(p, Fixed)}

    @property
    def default(self) -> dict[str, Value]:
        """The default point, varied parameters only."""
        return {name: p.default for name, p in self.varied.items()}

    @property
    def first(self) -> list[dict[str, Value]]:
        """The points that are tried first: the default point, then `starts`."""
        return [self.default | start for start in ({}, *self.starts)]

    def config(self, point: dict[str, Value] | None = None) -> Config:
        """Return the full configuration of a point; values not given take their defaults.

        Raises:
            SpaceError: The point has an unknown parameter or one outside its range.
        """
        point = point or {}
        for name, value in point.items():
            if name not in self.parameters:
                raise SpaceError(f"space {self.name!r} has no parameter {name!r}.{nearest(name, self.parameters)}")
            if not self.parameters[name].holds(value):
                raise SpaceError(f"{name} = {value!r} is outside its range in space {self.name!r}.")
        return Config(**{name: point.get(name, p.default) for name, p in self.parameters.items()})

    @classmethod
    def named(cls, name: str) -> Self:
        """Return a preset by its name, or the space in a TOML file by its path.

        Raises:
            SpaceError: No such preset or file, or the file breaks a rule.
        """
        if name in PRESETS:
            return cls.of(name, PRESETS[name], STARTS.get(name, ()))
        path = expanded(name)
        if path.suffix == ".toml" or "/" in name or os.path.exists(path):  # noqa: PTH110  # Path.exists raises where a name is too long
            return cls.from_toml(path)
        raise SpaceError(f"there is no space {name!r}.{nearest(name, PRESETS)} The name of a space file ends in .toml.")

    @classmethod
    def of(cls, name: str, parameters: dict[str, Any], starts: Any = ()) -> Self:  # noqa: ANN401  # what a file holds
        """Return the space of `parameters`: a dict for each, or a plain value for a fixed one.

        Raises:
            SpaceError: A parameter breaks a rule; names key, value and bound.
        """
        expanded = {key: _expand(value) for key, value in parameters.items()}
        try:
            return cls(name=name, parameters=expanded, starts=starts)
        except ValidationError as error:
            raise SpaceError(f"space {name!r}: " + "; ".join(explain(error))) from None

    @classmethod
    def from_toml(cls, path: Path) -> Self:
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
        starts = table.pop("starts", ())
        if not table:
            raise SpaceError(f"space file {path} names no parameter. For an example, see: hpo space --toml")
        try:
            return cls.of(name, table, starts)
        except SpaceError as error:
            raise SpaceError(f"{path}: {error}") from None

    def to_toml(self) -> str:
        """Return the space as a file that `from_toml` reads back."""
        lines = [f"name = {_toml(self.name)}", *([f"starts = {_toml(self.starts)}"] if self.starts else []), ""]
        described = {key: field.description for key, field in Config.model_fields.items()}
        for key, parameter in self.parameters.items():
            comment = f"  # {described[key]}" if described[key] else ""
            if isinstance(parameter, Fixed):
                lines.append(f"{key} = {_toml(parameter.value)}{comment}")
            else:
                fields = parameter.model_dump(exclude_defaults=True)
                lines.append(f"{key} = {_toml(fields)}{comment}")
        return "\n".join(lines) + "\n"


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


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's escapes are JSON's, but for DEL
    return repr(value)


def _float(low: float, high: float, default: float, *, log: bool = False) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, "log": log, "default": default}


def _int(low: int, high: int, default: int, *, log: bool = False, step: int | None = None) -> dict[str, Any]:
    return {"type": "int", "low": low, "high": high, "log": log, "step": step, "default": default}


def _choices(*choices: Value, default: Value) -> dict[str, Any]:
    return {"type": "categorical", "choices": choices, "default": default}


_BASIC = {
    "depth": _int(2, 4, 3),
    "filters": _int(16, 64, 32, step=8),
    "dropout": _float(0.0, 0.4, 0.05),
    "lr": _float(0.03, 3.0, 0.2, log=True),
}

_LARGE: dict[str, Value] = {"filters": 64, "lr": 0.1}  # the largest of `basic`: accurate but slow (tests/bench/recipe.md)
STARTS: dict[str, tuple[dict[str, Value], ...]] = {"basic": (_LARGE,), "wide": (_LARGE,)}

PRESETS: dict[str, dict[str, Any]] = {
    "basic": _BASIC,
    "wide": {
        **_BASIC,
        "growth": _float(1.0, 2.5, 2.0),
        "kernel": _choices(3, 5, default=3),
        "norm": _choices("batch", "group", default="batch"),
        "activation": _choices("relu", "gelu", "silu", default="relu"),
        "pool": _choices("early", "late", default="early"),
        "optimizer": _choices("sgd", "adamw", default="sgd"),
        "momentum": _float(0.7, 0.97, 0.9),
        "weight_decay": _float(1e-5, 1e-2, 5e-4, log=True),
        "batch_size": _int(32, 512, 128, log=True),
        "label_smoothing": _float(0.0, 0.3, 0.1),
        "shift": _int(0, 4, 2),
        "cutout": _int(0, 16, 0, step=4),
    },
    "tutorial": {
        "depth": _int(1, 3, 1),
        "filters": _int(16, 64, 32, step=8),
        "dropout": _float(0.0, 0.7, 0.5),
        "lr": _float(1e-4, 1e-1, 1e-3, log=True),
        # The recipe of the tutorial that hpo starts from; its default point is that network, exactly.
        "stem": "none",
        "norm": "none",
        "pool": "late",
        "hidden": 512,
        "nesterov": False,
        "weight_decay": 0.0,
        "batch_size": 32,
        "schedule": "constant",
        "label_smoothing": 0.0,
        "averaging": 0.0,
        "tta": False,
        "standardize": False,
        "flip": False,
        "shift": 0,
        "growth": 1.0,
    },
}
