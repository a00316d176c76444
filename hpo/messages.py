"""Messages between runner and worker: one JSON object per line, over a pipe here, or over any other stream.

    runner -> worker     Setup, then for each trial a Job, then a Verdict after Started and after each EpochDone
    worker -> runner     Progress*, Ready | CannotWork, then for each trial Started, (Tick* EpochDone)*, TrialDone | TrialFailed

A worker with several lanes is given a Job while others train. All messages about a trial name it.

A trial whose code asks (an Optuna objective) sends (Suggest | EpochDone)* instead, gets a Suggested for each Suggest, and may end
as TrialPruned.

A worker ends when its input ends, so that it never outlives its runner.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from hpo import errors
from hpo.errors import HpoError
from hpo.parameters import Value
from hpo.settings import Settings

DEVICE_LOST = 70  # the exit code of a worker whose device computes nothing any more


def _sayable(text: object) -> object:
    """Escape what UTF-8 does not have: bytes of a file's name that are none, or half of a character."""
    return text.encode(errors="backslashreplace").decode() if isinstance(text, str) else text


Sentence = Annotated[str, BeforeValidator(_sayable)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")  # else an infinite loss becomes null

    def line(self) -> bytes:
        """Return the message as one line of JSON."""
        return self.model_dump_json().encode() + b"\n"


class Setup(_Message):
    """The first message to a worker: what all of its trials share."""

    kind: Literal["setup"] = "setup"
    settings: Settings
    objective: str  # the module that the worker loads, which knows how to train
    source: str = ""  # a model's name, or where somebody's own code is
    weights: str = ""  # that a model begins with
    with_data: bool = True  # whether the settings name a data set
    score: str = "score"  # what the study is judged by
    maximize: bool = True
    recipe: int  # version of what a training does beyond its point
    data_dir: Path
    device: str  # "cpu" or "cuda:N"
    memory: int  # bytes that this worker may use on its device
    lanes: int = 1  # trials that it may be given at once


class Job(_Message):
    """Train this point, continuing from the newest intact checkpoint in `folder` if there is one."""

    kind: Literal["job"] = "job"
    trial: int
    point: dict[str, Value]  # a value for every parameter
    folder: Path  # the trial's own, for checkpoints and results
    seed: int


class Verdict(_Message):
    """What to do after an epoch: continue, or leave the trial (pruned, or to be continued by a later run)."""

    kind: Literal["verdict"] = "verdict"
    trial: int
    go_on: bool
    stop: bool = False  # what code that asks whether to stop is told


class Suggested(_Message):
    """The answer to Suggest."""

    kind: Literal["suggested"] = "suggested"
    trial: int
    value: float = 0.0  # of a choice its place among the choices
    error: str = ""  # why there is no value
    warning: str = ""


class Progress(_Message):
    """Progress of a long step of the set-up (download, decoding)."""

    kind: Literal["progress"] = "progress"
    what: Sentence
    done: int
    total: int  # 0: unknown


class Ready(_Message):
    """The worker can take jobs."""

    kind: Literal["ready"] = "ready"
    environment: dict[str, Any]  # data digest and sizes, versions, device, precision: JSON values


class CannotWork(_Message):
    """The worker cannot do any job: data, device or disk is at fault. A later run continues a trial in training."""

    kind: Literal["cannot-work"] = "cannot-work"
    error: str  # class name in hpo.errors
    message: Sentence

    def as_error(self) -> HpoError:
        """Return an error of the class that the worker raised."""
        kind = getattr(errors, self.error, HpoError)
        error: HpoError = kind(self.message)
        return error


class Epoch(NamedTuple):
    """What an epoch brought: the same value from training to the database.

    Attributes:
        number: From 1.
        score: What the trial is judged by.
        seconds: Training and scoring.
        images_per_second: Training alone; 0 where nobody counts images.
        metrics: What else was measured, by the name that is stored.
    """

    number: int
    score: float
    seconds: float
    images_per_second: float = 0.0
    metrics: dict[str, float] = {}  # noqa: RUF012  # nobody changes it


class Memory(NamedTuple):
    """Bytes of a device.

    Attributes:
        peak: The most that this process has held at once.
        limit: That it could hold now: what is free, and what it has.
    """

    peak: int
    limit: int


class EpochDone(_Message):
    """An epoch was trained, scored and put into a checkpoint; or there is none, and a trial that is left begins again."""

    kind: Literal["epoch-done"] = "epoch-done"
    trial: int
    epoch: Epoch
    kept: bool = True
    asks: bool = False  # whether its code asks whether to stop, and ends by itself
    said: tuple[Sentence, ...] = ()  # since the epoch before, for somebody who wants to know more
    memory: Memory | None = None  # where it is known: of a GPU


class Suggest(_Message):
    """A trial's code asks for a parameter. What it asked for before, it is given again: also after a kill."""

    kind: Literal["suggest"] = "suggest"
    trial: int
    name: Sentence
    distribution: str  # as Optuna stores it


class Started(_Message):
    """A trial is ready to train; `epochs` are those restored from a checkpoint.

    Attributes:
        measured: What is known before the first epoch, by the name that is stored; of a network its parameters and multiply-adds.
        passed_over: For each checkpoint that was not used, a sentence that says why.
    """

    kind: Literal["started"] = "started"
    trial: int
    measured: dict[str, int | float] = {}
    epochs: tuple[Epoch, ...] = ()
    passed_over: tuple[Sentence, ...] = ()


class Tick(_Message):
    """A sign of life within an epoch."""

    kind: Literal["tick"] = "tick"
    trial: int
    epoch: int
    fraction: float  # of the epoch's images, 0 to 1
    images_per_second: float


class TrialDone(_Message):
    """All epochs are done, and the results lie beside the last checkpoint, if there is one."""

    kind: Literal["trial-done"] = "trial-done"
    trial: int
    checkpoint: Path | None
    value: float | None = None  # its result; None: the last epoch's score
    seconds: float = 0.0  # since the last epoch
    notes: dict[str, Any] = {}  # what its code has noted: JSON values


class TrialPruned(_Message):
    """A trial's code has ended early, as it was told to or of its own accord."""

    kind: Literal["trial-pruned"] = "trial-pruned"
    trial: int
    seconds: float = 0.0  # since the last epoch
    notes: dict[str, Any] = {}


class TrialFailed(_Message):
    """This trial cannot be finished; the worker can train others."""

    kind: Literal["trial-failed"] = "trial-failed"
    trial: int
    cause: str  # one word, the same for the same kind of failure
    reason: Sentence
    notes: dict[str, Any] = {}
    crowded: bool = False  # memory ran out beside other trials; for this one alone it may suffice


class DeviceLost(_Message):
    """The device computes nothing any more for this process, which ends: what it met in this trial, or at least then."""

    kind: Literal["device-lost"] = "device-lost"
    trial: int
    reason: Sentence


Answer = Verdict | Suggested
ToWorker = Annotated[Setup | Job | Verdict | Suggested, Field(discriminator="kind")]
FromWorker = Annotated[
    Progress | Ready | CannotWork | Started | Tick | EpochDone | Suggest | TrialDone | TrialPruned | TrialFailed | DeviceLost,
    Field(discriminator="kind"),
]

_to_worker: TypeAdapter[ToWorker] = TypeAdapter(ToWorker)
_from_worker: TypeAdapter[FromWorker] = TypeAdapter(FromWorker)


def read_job_side(line: bytes) -> ToWorker:
    """Parse a line that a runner wrote."""
    return _to_worker.validate_json(line)


def read_worker_side(line: bytes) -> FromWorker:
    """Parse a line that a worker wrote."""
    return _from_worker.validate_json(line)
