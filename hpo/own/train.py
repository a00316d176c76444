"""What workers load of a file of one's own: its generator function, a trial of which is paused and continued by its states."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import platform
import random
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hpo.data import datasets, sampling
from hpo.data.arrays import Split
from hpo.errors import StorageError, UsageError
from hpo.messages import Epoch
from hpo.objective import TrialError
from hpo.own import declare, describe, state
from hpo.own.log import logged
from hpo.system import checkpoints
from hpo.system.failpoints import reach

if TYPE_CHECKING:
    from hpo.data.arrays import DataSet
    from hpo.messages import Setup
    from hpo.objective import Begin, Telling
    from hpo.parameters import Value
    from hpo.settings import Settings

_UNKEPT = "The state that is yielded may hold tensors, numpy arrays, numbers, text, and lists and dicts of these"
KNOWN = ("torch", "numpy", "sklearn", "lightning")  # whose versions are noted if a file uses them


class Config(Mapping[str, Any]):
    """What a trial is trained with: its parameters, `epochs`, `seed` and `device`, as `config.lr` or `config["lr"]`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # of any kind
        return self.__dict__[name]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # never there: the type checker's question alone
        raise AttributeError(f"the configuration has no {name!r}; it has {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{key}={value!r}' for key, value in self.items())})"


def prepare(setup: Setup, tell: Telling) -> tuple[dict[str, Any], Begin]:
    """Import the file; return the environment that all trials of this worker share, and what begins one.

    Raises:
        UsageError: The file is not as it was described.
    """
    path, _, name = setup.source.rpartition(":")
    file = Path(path)
    tell(f"importing {file.name}", 0, 0)
    train = describe.function(imported(file), name)
    given = {"epochs": setup.settings.epochs, "device": setup.device}
    data = datasets.of(setup.settings, setup.data_dir, progress=tell) if setup.with_data else None
    chosen = data and _chosen(data, setup.settings)

    def begin(point: Mapping[str, Value], seed: int, folder: Path) -> Trial:
        return Trial(partial(train, data=chosen), file, Config({**point, **given, "seed": seed}), folder)

    environment: dict[str, Any] = {
        "file": str(file),
        "file_digest": hashlib.sha256(file.read_bytes()).hexdigest(),
        "device": setup.device,
    }
    if data and chosen:
        environment |= {"data": data.source, "data_digest": data.digest, "classes": list(data.classes)}
        environment |= {"n_train": len(chosen.train.labels), "n_scored": len(chosen.test.labels)}
    return environment | {"python": platform.python_version()} | versions(KNOWN), begin


def _chosen(data: DataSet, settings: Settings) -> DataSet:
    """Return a data set of the images that are trained on, and of those that are scored, as arrays."""
    trained, score, scored = sampling.chosen(data, settings)
    train = Split(data.train.images[trained], data.train.labels[trained])
    return dataclasses.replace(data, train=train, test=Split(score.images[scored], score.labels[scored]))


def versions(modules: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those modules that this process has loaded."""
    return {module: metadata.version(module) for module in modules if module in sys.modules and _is_installed(module)}


def imported(file: Path) -> ModuleType:
    """Import a file of one's own.

    Raises:
        UsageError: It cannot be imported.
    """
    try:
        return describe.imported(file)
    except describe.ImportedError as error:
        raise UsageError(f"{file.name} cannot be imported: {describe.said(error.args[0], file)}") from None


class Trial:
    """One configuration on its way through the generator of a file.

    Attributes:
        measured: Nothing.
        history: Finished epochs, including those restored from a checkpoint.
        passed_over: For each checkpoint that was not used, a sentence that says why.
    """

    def __init__(self, train: Callable[..., Generator[Any, None, None]], file: Path, config: Config, folder: Path) -> None:
        self._train, self._file, self._config, self._folder = train, file, config, folder
        self._name = getattr(train, "func", train).__name__
        self.measured: Mapping[str, int | float] = {}
        self.history: list[Epoch] = []
        self.passed_over: list[str] = []
        self._identity = {**config, "device": None}  # a state trains on anywhere
        self._last: Path | None = None
        self._resume: Any = None
        for path in checkpoints.newest_first(folder):
            try:
                self.history, self._resume = state.load(path, self._identity)
                self._last = path
                break
            except StorageError as error:
                self.passed_over.append(str(error))

    def epochs(self, tick: Callable[[int, float, float], None]) -> Iterator[Epoch]:
        """Let the generator train on, yielding after each epoch once its state is on disk.

        Raises:
            TrialError: The code raised an error, or yielded what is no epoch.
            StorageError: The checkpoint cannot be written.
        """
        del tick
        with logged(self._folder) as log:
            seed_all(self._config.seed + len(self.history))
            with contextlib.closing(self._begun()) as generator:
                while len(self.history) < self._config.epochs:
                    began = time.perf_counter()
                    given = self._next(generator)
                    if given is None:
                        break
                    epoch = self._checked(given, time.perf_counter() - began)
                    self.history.append(epoch)
                    reach("epoch.trained")
                    self._save(given)
                    reach("epoch.saved")
                    log.flush()
                    with log.paused():
                        yield epoch
        if not self.history:
            raise TrialError("empty", f"{self._name} ended without an epoch: it should yield hpo.Epoch(score).")

    @property
    def is_kept(self) -> bool:
        """Whether the latest epoch's state was yielded."""
        return self._last is not None and self._last.stem == f"epoch-{len(self.history):04d}"

    def finish(self) -> Path | None:
        """Return the path of the last checkpoint; None where no state was yielded."""
        return self._last

    def _begun(self) -> Generator[Any, None, None]:
        return self._train(config=self._config, resume=self._resume)

    def _next(self, generator: Generator[Any, None, None]) -> declare.Epoch | None:
        """Return what is yielded next; None at the end."""
        try:
            given = next(generator, None)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the code raises is the trial's end
            traceback.print_exc()
            raise TrialError(type(error).__name__, describe.said(error, self._file)) from None
        if given is None or isinstance(given, declare.Epoch):
            return given
        name = type(given).__name__
        raise TrialError("no epoch", f"{self._name} yielded a {name}: it should yield hpo.Epoch(score, state=…).")

    def _checked(self, given: declare.Epoch, seconds: float) -> Epoch:
        try:
            score = float(given.score)
            metrics = {str(name): float(value) for name, value in given.metrics.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise TrialError("no number", f"an epoch's score and metrics should be numbers: {error}") from None
        number = len(self.history) + 1
        if not math.isfinite(score):
            raise TrialError("diverged", f"the score of epoch {number} is {score}.")
        return Epoch(number, score, seconds, metrics=metrics)

    def _save(self, given: declare.Epoch) -> None:
        if given.state is None:
            return
        try:
            self._last = state.save(self._folder, self._identity, self.history, given.state, check=self._last is None)
        except state.UnkeptError as error:
            raise TrialError("state", f"{_UNKEPT}: {error}") from None


def seed_all(seed: int) -> None:
    """Seed the random numbers of the modules that a file uses, so that a trial depends on its configuration and seed alone."""
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed % 2**32)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def _is_installed(module: str) -> bool:
    try:
        metadata.version(module)
    except metadata.PackageNotFoundError:
        return False
    return True
