"""Settings of a study and options of a run.

`Settings` is the same for all trials of a study, is stored with it, and cannot change afterwards: scores under different
settings are not comparable. `RunOptions` applies to one run: how long, how many workers, on which device.
"""

from __future__ import annotations

import os
import re
from pathlib import Path  # pydantic reads the annotation at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hpo.errors import UsageError, nearest
from hpo.files import expanded

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DATASETS = ("cifar10", "digits")
SAMPLERS = ("tpe", "gp", "random", "qmc")
PRUNERS = ("halving", "median", "hyperband", "none")
SCORES = ("test", "validation")
DEFAULT_TRIALS = 50
DATA_DIR = "data"
N_VALIDATION = 5_000  # images held out of CIFAR-10's training set by --score validation; a tenth of smaller sets

Model = TypeVar("Model", bound=BaseModel)

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
_DEVICE = re.compile(r"auto|cpu|cuda|cuda:\d+(,cuda:\d+)*")
_TAGS = ("parameters", "fixed", "int", "float", "categorical")  # parts of pydantic's paths that mean nothing to a user
_STUDY_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


def duration(text: str | float) -> float:
    """Return seconds for `90`, `90s`, `30m`, `1h30m`, `2d`.

    Raises:
        ValueError: The text is not a positive duration of at most a year.
    """
    if isinstance(text, str):
        match = _DURATION.fullmatch(text.strip())
        if not text.strip() or match is None:
            raise ValueError("is not a duration; write 90s, 30m, 1h30m or 2d")
        seconds = sum(float(n) * u for n, u in zip(match.groups(), (86400, 3600, 60, 1), strict=True) if n)
    else:
        seconds = float(text) if isinstance(text, (int, float)) else 0.0
    if not 0 < seconds <= 366 * 86400:
        raise ValueError("is not a duration between 0 and a year; write 90s, 30m, 1h30m or 2d")
    return seconds


def study_name(name: str) -> str:
    """Return `name` if it is a valid name of a study.

    Raises:
        UsageError: The name is empty, has over 100 characters, or has characters that do not belong in a file name.
    """
    if not is_study_name(name):
        shown = name if len(name) <= 40 else name[:40] + "…"
        raise UsageError(f"study name {shown!r}: use 1 to 100 letters, digits, '.', '_' or '-'.")
    return name


def is_study_name(name: str) -> bool:
    """Whether a name is valid for a study: it must also be a safe name of a folder."""
    return bool(_STUDY_NAME.fullmatch(name)) and not set(name) <= {"."}


def data_folder(given: Path | None = None, remembered: Path | None = None) -> Path:
    """Return the folder for data sets.

    The folder given for this run; else the study's previous folder, if it still exists; else $HPO_DATA_DIR; else `data`.
    """
    if given is None and remembered is not None and remembered.is_dir():
        return remembered
    return expanded(given or os.environ.get("HPO_DATA_DIR") or DATA_DIR)


def _one_of(*known: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"there is no {value!r}.{nearest(value, known)}")
        return value

    return AfterValidator(check)


def _device(text: str) -> str:
    if not _DEVICE.fullmatch(text):
        known = ("auto", "cpu", "cuda", "cuda:0")
        raise ValueError(f"there is no device {text!r}.{nearest(text, known)}")
    return text


def _workers(value: str | int) -> str | int:
    if value == "auto":
        return value
    if not str(value).isdecimal() or len(str(value)) > 4 or not 1 <= int(value) <= 1024:
        raise ValueError("should be 'auto' or a number from 1 to 1024")
    return int(value)


def _at_most_1(value: float) -> float:
    if value > 1:
        raise ValueError("an accuracy is at most 1" + (f"; write {value / 100:g} or {value:g}%" if value <= 100 else ""))
    return value


Duration = Annotated[float, BeforeValidator(duration)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Given(BaseModel):
    """Values given by a user: invalid ones raise a UsageError with one sentence per value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    if not TYPE_CHECKING:  # a type checker sees the fields instead

        def __init__(self, **values: Any) -> None:  # noqa: ANN401  # whatever was given
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise UsageError(f"{type(self).__name__}: " + "; ".join(explain(error))) from None

        __init__.__pydantic_base_init__ = True  # or pydantic calls it for stored values too, as in `model_validate`

    @classmethod
    def of(cls, **values: Any) -> Self:  # noqa: ANN401  # whatever a user typed; pydantic says what is wrong with it
        """Return validated values of a command line's options; None means "not given".

        Raises:
            UsageError: A value is unknown or out of bounds; names option, value and bound.
        """
        try:
            return cls.model_validate({key: value for key, value in values.items() if value is not None})
        except ValidationError as error:
            raise UsageError("; ".join(explain(error, "--"))) from None


class Settings(_Given):
    """Settings that all trials of a study share.

    Attributes:
        dataset: `cifar10` or `digits`.
        epochs: Training epochs of a trial that is not stopped early.
        score: Images that a trial's accuracy is measured on: the `test` set, or a `validation` part held out of the training set.
        sampler: Optuna sampler that proposes configurations.
        pruner: What stops trials early: hpo's halving (search/halving.py), or a pruner of Optuna's.
        seed: Seed from which all random numbers of the study are derived.
        warm_start: Another study in the same database, whose best configurations are tried first.
        limit_train: Train on a stratified subset of this many images; None: all.
        limit_test: Score on a stratified subset of this many images; None: all.
    """

    dataset: Annotated[str, _one_of(*DATASETS)] = "cifar10"
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    score: Annotated[str, _one_of(*SCORES)] = "test"
    sampler: Annotated[str, _one_of(*SAMPLERS)] = "tpe"
    pruner: Annotated[str, _one_of(*PRUNERS)] = "halving"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    warm_start: Annotated[str, AfterValidator(study_name)] | None = None
    limit_train: Count | None = None
    limit_test: Count | None = None


class RunOptions(_Given):
    """Options that each run can choose.

    Attributes:
        trials: Total number of finished trials (complete and pruned) to reach; None: the number that the study's last run
            was given, or `DEFAULT_TRIALS`.
        timeout: Seconds after which no new epoch is started.
        target: Accuracy, 0 to 1, that ends the run once a finished trial reaches it.
        patience: Trials in a row without a new best, counted once there is a best, that end the run.
        workers: Processes, or `auto`: one per core, or four per GPU; fewer if cores or memory do not suffice.
        device: `auto`, `cpu`, `cuda`, or a list such as `cuda:0,cuda:1`.
        data_dir: Folder for data sets; None: see `data_folder`.
        trial_timeout: Seconds of silence after which a worker is replaced.
        grace: Most seconds that a stopping run waits for epochs in training; None: until they are done.
        keep_checkpoints: Keep the weights of this many best trials (the best trial's are always kept); None: as many as the
            study's last run kept, or one.
    """

    trials: Count | None = None
    timeout: Duration | None = None
    target: Annotated[float, Field(gt=0), AfterValidator(_at_most_1)] | None = None
    patience: Count | None = None
    workers: Annotated[Literal["auto"] | int, BeforeValidator(_workers)] = "auto"
    device: Annotated[str, AfterValidator(_device)] = "auto"
    data_dir: Path | None = None
    trial_timeout: Duration | None = None
    grace: Duration | None = None
    keep_checkpoints: Count | None = None


def explain(error: ValidationError, prefix: str = "") -> list[str]:
    """Return one sentence per problem, with key, value and bound."""
    return [_sentence(problem, prefix) for problem in error.errors()]


def _sentence(problem: ErrorDetails, prefix: str) -> str:
    parts = [str(part) for part in problem["loc"] if part not in _TAGS]
    key = prefix + ".".join(parts).replace("_", "-" if prefix else "_")
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key"
        case "missing":
            return f"{key} is missing"
        case "union_tag_not_found" | "union_tag_invalid":
            return f'{key}: needs type = "int", "float" or "categorical", or a value'
        case "value_error" if not prefix:  # our own checks name what they are about
            return f"{key}: {message}" if key else message
        case _:
            return f"{key} = {_shown(problem['input'])}: {message}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python's limit
        return "a number with thousands of digits"
    return text if len(text) <= 60 else text[:60] + "…"
