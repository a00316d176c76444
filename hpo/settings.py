"""Settings of a study and options of a run.

`Settings` is the same for all trials of a study, is stored with it, and cannot change afterwards: scores under different
settings are not comparable. `RunOptions` applies to one run: how long, how many workers, on which device. A field of these is
declared once: the command line's options are made from it (cli/options.py).
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import KW_ONLY, dataclass
from pathlib import Path  # pydantic reads the annotation at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hpo.errors import UsageError, explain, nearest
from hpo.system.files import expanded

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

DATASETS = ("cifar10", "cifar100", "mnist", "fashion-mnist", "kmnist", "svhn", "stl10", "digits")
SAMPLERS = ("tpe", "gp", "random", "qmc")
PRUNERS = ("halving", "median", "hyperband", "none")
SCORES = ("test", "validation")
METRICS = ("accuracy", "balanced-accuracy", "macro-f1")
FITS = ("crop", "pad", "stretch")
PICTURES = ("data", "image_size", "fit", "skip_broken")  # settings of a person's own pictures, where there are some
PLACES = ("data",)  # settings that say where something lies: it may be moved, as long as it is the same
DEFAULT_TRIALS = 50
DATA_DIR = "data"
N_VALIDATION = 5_000  # images held out of CIFAR-10's training set by --score validation; a tenth of smaller sets

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
_DEVICE = re.compile(r"auto|cpu|cuda|cuda:\d+(,cuda:\d+)*")
_STUDY_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


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


def derived_seed(seed: int, purpose: str, number: int) -> int:
    """Return a seed, 0 to 2**32 - 1, that is a function of these three alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose} {number}".encode()).digest()[:4], "big")


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


def metric_of(stored: object) -> str:
    """Return the metric in the settings of a study; those of an older hpo name none, and mean the accuracy."""
    found = stored.get("metric") if isinstance(stored, dict) else None
    return found if found in METRICS else METRICS[0]


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


def _image_size(value: str | int) -> str | int:
    if value == "auto":
        return value
    if not str(value).isdecimal() or len(str(value)) > 4 or not 8 <= int(value) <= 512:
        raise ValueError("should be 'auto' or a number of pixels from 8 to 512")
    return int(value)


def _folder(value: Path) -> Path:
    return Path(os.path.abspath(expanded(value)))  # noqa: PTH100  # a study is continued from anywhere; links stay


def _share(given: float | str) -> float | str:
    """Read `0.93` and `93%`; pydantic refuses any other text."""
    number = given.removesuffix("%") if isinstance(given, str) else given
    try:
        return float(number) / (1 if number is given else 100)
    except (TypeError, ValueError):
        return given


Duration = Annotated[float, BeforeValidator(duration)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True)
class Option:
    """How a field is shown as an option of the command line. Its name, type, bound and default are the field's own.

    Attributes:
        help: What it is, in a sentence.
        metavar: What stands for a value; None: its type.
        short: A name of one letter.
        default: What holds where it is not given; None: the field's default.
    """

    help: str
    _: KW_ONLY
    metavar: str | None = None
    short: str | None = None
    default: str | None = None

    @classmethod
    def of(cls, field: FieldInfo) -> Self:
        """Return the option that a field was declared with."""
        return next(part for part in field.metadata if isinstance(part, cls))


class Given(BaseModel):
    """Values given by a user: invalid ones raise a UsageError with one sentence per value. Each field has an `Option`."""

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


class ImageSettings(Given):
    """Which images a study's trials are trained and scored on. Code of somebody's own may have none of these."""

    dataset: Annotated[str, _one_of(*DATASETS), Option("Images to train on.", metavar="|".join(DATASETS))] = "cifar10"
    data: Annotated[
        Annotated[Path, AfterValidator(_folder)] | None,
        Option("Your own pictures: a folder per class, {train,test}/CLASS/*, or a table path,label.", metavar="DIR"),
    ] = None  # instead of a data set by its name
    image_size: Annotated[
        Literal["auto"] | int,
        BeforeValidator(_image_size),
        Option("Edge of your pictures in training, pixels; auto: from their sizes and number.", metavar="auto|N"),
    ] = "auto"
    fit: Annotated[str, _one_of(*FITS), Option("How your pictures become squares.", metavar="|".join(FITS))] = "crop"
    skip_broken: Annotated[bool, Option("Go on without pictures that cannot be read.")] = False
    score: Annotated[str, _one_of(*SCORES), Option("Images that trials are scored on.", metavar="|".join(SCORES))] = "test"
    metric: Annotated[
        str, _one_of(*METRICS), Option("What counts on them; balanced and macro: each class as much.", metavar="|".join(METRICS))
    ] = "accuracy"
    limit_train: Annotated[Count | None, Option("Train on N images only.", metavar="N")] = None  # as many of each class
    limit_test: Annotated[Count | None, Option("Score on N images only.", metavar="N")] = None  # likewise

    @property
    def images(self) -> str:
        """The name of what is trained on, as a study's name: the data set's, or the folder's."""
        if self.data is None:
            return self.dataset
        name = self.data.stem if self.data.suffix.lower() in (".csv", ".tsv") else self.data.name
        return _NOT_IN_NAMES.sub("-", name).strip("-.")[:100] or "pictures"

    def unused(self) -> set[str]:
        """Return the settings that say nothing: of pictures where a data set is named, and its name where there are pictures."""
        return {"dataset"} if self.data else {*PICTURES}

    def check_given(self) -> None:
        """Refuse settings of a new study that would say nothing.

        Raises:
            UsageError: Names them, and what to do.
        """
        if odd := sorted(self.unused() & self.model_fields_set - {"data"}):
            option = "--" + odd[0].replace("_", "-")
            raise UsageError(
                f"{option} and --data name two sources of images. Leave one out."
                if self.data
                else f"{option} is for your own pictures. Name their folder: --data DIR"
            )


class SearchSettings(Given):
    """How a study searches."""

    epochs: Annotated[int, Field(ge=1, le=10_000), Option("Epochs per trial (unless stopped early).")] = 10
    sampler: Annotated[str, _one_of(*SAMPLERS), Option("How configurations are chosen.", metavar="|".join(SAMPLERS))] = "tpe"
    pruner: Annotated[str, _one_of(*PRUNERS), Option("How poor trials are stopped.", metavar="|".join(PRUNERS))] = "halving"
    seed: Annotated[int, Field(ge=0, lt=2**63), Option("Seed of all random numbers.")] = 0
    warm_start: Annotated[
        Annotated[str, AfterValidator(study_name)] | None, Option("Start with the best trials of that study.", metavar="STUDY")
    ] = None  # in the same database


class Settings(SearchSettings, ImageSettings):
    """What all trials of a study share. It is stored with the study."""


TASK = tuple(ImageSettings.model_fields)  # an objective says whether it has them
IMAGES = tuple(name for name in TASK if name != "metric")  # those of code that says itself what counts


class RunOptions(Given):
    """What each run of a study can choose: how long, how many workers, on which device, what is kept.

    Where `trials`, `keep_checkpoints` or `data_dir` is None, what the study's last run was given holds.
    """

    trials: Annotated[Count | None, Option("Total number of finished trials.", short="-n", default=str(DEFAULT_TRIALS))] = None
    timeout: Annotated[Duration | None, Option("Start no epoch after this time: 90s, 30m, 1h30m.", metavar="TIME")] = None
    target: Annotated[
        Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_share)] | None,
        Option("Stop once a trial reaches it: 0.93 or 93%.", metavar="SCORE"),
    ] = None
    patience: Annotated[Count | None, Option("Stop after N trials without a new best.", metavar="N")] = None
    workers: Annotated[
        Literal["auto"] | int,
        BeforeValidator(_workers),
        Option("Trials at once; auto: one per core, or as many per GPU as pay.", metavar="auto|N", short="-j"),
    ] = "auto"  # fewer where cores or memory do not suffice
    device: Annotated[str, AfterValidator(_device), Option("Where to train.", metavar="auto|cpu|cuda|cuda:0,cuda:1")] = "auto"
    trial_timeout: Annotated[Duration | None, Option("Replace a worker that is silent for this long.", metavar="TIME")] = None
    grace: Annotated[
        Duration | None, Option("When stopping, wait at most this long for epochs.", metavar="TIME", default="no limit")
    ] = None
    keep_checkpoints: Annotated[Count | None, Option("Keep the weights of the N best trials.", metavar="N", default="1")] = (
        None  # those of the best trial are kept in any case
    )
    data_dir: Annotated[
        Path | None, Option("Folder for data sets.", metavar="DIR", default="the study's, $HPO_DATA_DIR, data")
    ] = None  # see `data_folder`
