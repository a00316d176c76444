"""What workers load of a file with an Optuna objective, and the trial that it is given.

The objective runs as it is. What it asks its trial for, a parameter or whether to stop, this asks the runner, where Optuna's
samplers and pruners are. A worker imports no Optuna by itself; a file that does finds this trial to be an `optuna.Trial`.
"""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import json
import math
import os
import platform
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hpo.messages import CannotWork, Epoch, EpochDone, Suggest, Suggested, TrialDone, TrialFailed, TrialPruned, Verdict
from hpo.objective import TrialError
from hpo.own import describe, optuna_file, train
from hpo.own.log import logged
from hpo.system.failpoints import reach

if TYPE_CHECKING:
    from hpo.messages import FromWorker, Setup, ToWorker
    from hpo.objective import Begin, Telling
    from hpo.parameters import Value

    Ask = Callable[[FromWorker], ToWorker]

_KNOWN = (*train.KNOWN, "optuna")  # whose versions are noted if a file uses them


def prepare(setup: Setup, tell: Telling) -> tuple[dict[str, Any], Begin]:
    """Import the file; return the environment that all trials of this worker share, and what begins one.

    Raises:
        UsageError: The file is not as it was described.
    """
    path, _, name = setup.source.rpartition(":")
    file = Path(path)
    _show_device(setup.device)
    tell(f"importing {file.name}", 0, 0)
    objective = optuna_file.function(train.imported(file), name)
    if optuna := sys.modules.get("optuna"):
        optuna.trial.Trial.register(Trial)  # for a file that checks what it is given

    def begin(_point: Mapping[str, Value], seed: int, folder: Path) -> Held:
        return Held(objective, file, name, seed, folder, maximize=setup.maximize)

    environment = {
        "file": str(file),
        "file_digest": hashlib.sha256(file.read_bytes()).hexdigest(),
        "device": setup.device,
        "python": platform.python_version(),
    }
    return environment | train.versions(_KNOWN), begin


def _show_device(device: str) -> None:
    """Let the file see this worker's device alone: an objective names none, or `cuda`."""
    kind, _, index = device.partition(":")
    seen = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    number = int(index or 0)
    os.environ["CUDA_VISIBLE_DEVICES"] = "" if kind == "cpu" else seen[number] if number < len(seen) else str(number)


class LeftError(BaseException):
    """The run ends: nobody wants to know how this trial goes on. No `except Exception` of an objective catches it."""


class Held:
    """One run of an objective, from a trial to a message that says how it ended.

    Args:
        objective: To be called with a trial.
        file: Where it is.
        name: What it is called there.
        seed: Of the modules' random numbers.
        folder: The trial's.
        maximize: The direction of the study.
    """

    def __init__(self, objective: Callable[..., Any], file: Path, name: str, seed: int, folder: Path, *, maximize: bool) -> None:
        self._objective, self._file, self._name, self._seed, self._folder = objective, file, name, seed, folder
        self._maximize = maximize

    def hold(self, number: int, ask: Ask) -> FromWorker | None:
        """Let the objective run, with its trial asking the runner; return how it ended, None where it was left."""
        trial = Trial(number, ask, Study(self._folder.parent.name, maximize=self._maximize))
        end: FromWorker | None
        with logged(self._folder):
            train.seed_all(self._seed)
            try:
                value = self._objective(trial)
            except (Exception, SystemExit, LeftError) as error:  # noqa: BLE001  # whatever the code raises is the trial's end
                end = self._raised(trial, error)
            else:
                end = self._returned(trial, value)
        return None if trial.is_left else end

    def _raised(self, trial: Trial, error: BaseException) -> FromWorker | None:
        if isinstance(error, LeftError):
            return None
        pruned = getattr(sys.modules.get("optuna"), "TrialPruned", None)
        if pruned is not None and isinstance(error, pruned):
            return TrialPruned(trial=trial.number, seconds=trial.passed(), notes=trial.user_attrs)
        traceback.print_exception(error)
        reason = describe.said(error, self._file)
        return TrialFailed(trial=trial.number, cause=type(error).__name__, reason=reason, notes=trial.user_attrs)

    def _returned(self, trial: Trial, given: object) -> FromWorker:
        several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        if len(several) != 1:
            reason = f"{self._name} returned {len(several)} values, and hpo optimizes one. Let it return one number."
            return CannotWork(error="UsageError", message=f"--optuna {self._file.name}: {reason}")
        try:
            value = _number(several[0], self._name)
        except TrialError as error:
            return TrialFailed(trial=trial.number, cause=error.cause, reason=str(error), notes=trial.user_attrs)
        seconds, notes = trial.passed(), trial.user_attrs
        return TrialDone(trial=trial.number, checkpoint=None, value=value, seconds=seconds, notes=notes)


def _number(given: Any, name: str) -> float:  # noqa: ANN401  # whatever it returned
    try:
        value = float(given)
    except (TypeError, ValueError):
        raise TrialError("no number", f"{name} returned {given!r:.100}: it should return a number.") from None
    if not math.isfinite(value):
        raise TrialError("diverged", f"{name} returned {value}.")
    return value


class Direction(IntEnum):
    """As `optuna.study.StudyDirection`, for a file that does not import Optuna."""

    MINIMIZE = 1
    MAXIMIZE = 2


class Study:
    """What an objective can know of its study.

    Attributes:
        study_name: Its name.
        direction: MINIMIZE or MAXIMIZE.
    """

    def __init__(self, name: str, *, maximize: bool) -> None:
        word = "MAXIMIZE" if maximize else "MINIMIZE"
        optuna = sys.modules.get("optuna")
        self.study_name = name
        self.direction: Any = (optuna.study.StudyDirection if optuna else Direction)[word]

    @property
    def directions(self) -> list[Any]:
        """The one direction."""
        return [self.direction]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # never there
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"trial.study.{name}: under hpo an objective knows of its study its direction and its name alone.")


class Trial:
    """The trial that an objective is given, with what Optuna's has for objectives.

    Attributes:
        number: From 0.
        study: What can be known of the study.
        datetime_start: When this run of the objective began.
        is_left: Whether the runner wants no more of it.
    """

    def __init__(self, number: int, ask: Ask, study: Study) -> None:
        self.number, self.study = number, study
        self.datetime_start = dt.datetime.now()  # noqa: DTZ005  # as Optuna has it
        self.is_left = False
        self._ask, self._stop, self._since = ask, False, time.perf_counter()
        self._params: dict[str, Any] = {}
        self._distributions: dict[str, str] = {}
        self._noted: dict[str, Any] = {}
        self._steps: set[int] = set()

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> float:
        """Return a number from a range."""
        step = None if step is None else float(step)
        return float(self._suggest(name, "FloatDistribution", low=float(low), high=float(high), log=bool(log), step=step))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Return a whole number from a range."""
        return int(self._suggest(name, "IntDistribution", low=int(low), high=int(high), log=bool(log), step=int(step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:  # noqa: ANN401  # whatever they are
        """Return one of several values."""
        known = list(choices)
        plain = [one.tolist() if hasattr(one, "tolist") else one for one in known]  # numpy's
        place = self._suggest(name, "CategoricalDistribution", choices=plain)
        self._params[name] = known[int(place)]
        return self._params[name]

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        """As `suggest_float`; deprecated by Optuna."""
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        """As `suggest_float` with `log`; deprecated by Optuna."""
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        """As `suggest_float` with `step`; deprecated by Optuna."""
        return self.suggest_float(name, low, high, step=q)

    def report(self, value: float, step: int) -> None:
        """Report a score; the first one of a step counts."""
        value, step = float(value), int(step)
        if step < 0:
            raise ValueError(f"report: step = {step} should not be negative.")
        if step in self._steps:
            warnings.warn(f"step {step} was reported already: the first value counts.", stacklevel=2)
            return
        self._steps.add(step)
        reach("epoch.trained")
        done = EpochDone(trial=self.number, epoch=Epoch(step, value, self.passed()), kept=False, asks=True)
        verdict = self._answer(done)
        reach("epoch.saved")
        if not (isinstance(verdict, Verdict) and verdict.go_on):
            self.is_left = True
            raise LeftError
        self._stop = verdict.stop
        self._since = time.perf_counter()

    def should_prune(self) -> bool:
        """Whether the study's pruner would have it stop after what was reported last."""
        return self._stop

    def set_user_attr(self, key: str, value: Any) -> None:  # noqa: ANN401  # JSON
        """Note something of the trial, which is stored with it."""
        json.dumps(value)  # a TypeError says what it cannot be
        self._noted[key] = value

    @property
    def params(self) -> dict[str, Any]:
        """The values that were suggested, by name."""
        return copy.deepcopy(self._params)

    @property
    def distributions(self) -> dict[str, Any]:
        """What they were drawn from, by name."""
        from_json = sys.modules["optuna"].distributions.json_to_distribution if "optuna" in sys.modules else json.loads
        return {name: from_json(text) for name, text in self._distributions.items()}

    @property
    def user_attrs(self) -> dict[str, Any]:
        """What was noted."""
        return copy.deepcopy(self._noted)

    def passed(self) -> float:
        """Return the seconds since the last report, or since the beginning."""
        return time.perf_counter() - self._since

    def _suggest(self, name: str, kind: str, **attributes: Any) -> Any:  # noqa: ANN401  # a number, or a place
        try:
            text = json.dumps({"name": kind, "attributes": attributes})
        except TypeError:
            raise TypeError(f"suggest_categorical({name!r}): choices should be numbers, text, True, False or None.") from None
        answer = cast("Suggested", self._answer(Suggest(trial=self.number, name=name, distribution=text)))
        if answer.warning:
            warnings.warn(answer.warning, RuntimeWarning, stacklevel=3)
        if answer.error:
            raise ValueError(answer.error)
        self._distributions.setdefault(name, text)
        self._params[name] = int(answer.value) if kind == "IntDistribution" else answer.value
        return self._params[name]

    def _answer(self, message: FromWorker) -> ToWorker:
        if self.is_left:  # and the code has caught that
            raise LeftError
        return self._ask(message)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # never there
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"trial.{name}: hpo's trials have no such thing.")
