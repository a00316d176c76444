"""The runner's own time: milliseconds per trial, with a pool that answers at once.

    python tests/bench/overhead.py                       at 50, 1,000 and 10,000 trials in the study
    python tests/bench/overhead.py --trials 50 --plain   beside plain Optuna, on the same machine, in turns
    python tests/bench/overhead.py --parameters 4 12     with 4 and with 12 parameters

A trial has 10 epochs, with TPE and successive halving, in SQLite on disk; every epoch is on disk before the next begins. The
50 trials around each size are measured, in blocks of 10; the history before them is invented and written at once. "Plain" is
the code of a tutorial: ask, suggest, report, should_prune, tell on RDBStorage, with the same sampler and accuracies and with
Optuna's halving. It stores no attributes of trials, while hpo stores eight. Opening the study and starting a run are not
measured. Wall time includes waiting for the disk and for other programs, processor time does not; each commit waits for the
disk.
"""

from __future__ import annotations

import argparse
import functools
import platform
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple, Self

import optuna
import psutil
import sqlalchemy as sa
from optuna.trial import TrialState

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from instant import InstantPool, curve, new_study, reopen, runner_of

from hpo.builtin.convnet import OBJECTIVE
from hpo.search.halving import REDUCTION
from hpo.search.memory import FOR_PRUNERS, Memory
from hpo.search.samplers import STARTUP_TRIALS
from hpo.search_space import SearchSpace
from hpo.store.ledger import Ledger
from hpo.store.schema import distributions, experimental

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.trial import FrozenTrial
    from sqlalchemy.engine import Engine

    from hpo.runner.loop import Runner
    from hpo.search.study import WritableStudy

EPOCHS = 10
MORE = {  # beside the four of `basic`
    "growth": {"type": "float", "low": 1.0, "high": 2.5, "default": 2.0},
    "weight_decay": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True, "default": 1e-3},
    "momentum": {"type": "float", "low": 0.5, "high": 0.99, "default": 0.9},
    "label_smoothing": {"type": "float", "low": 0.0, "high": 0.3, "default": 0.1},
    "batch_size": {"type": "int", "low": 64, "high": 1024, "step": 64, "default": 256},
    "norm": {"type": "categorical", "choices": ["batch", "group", "none"], "default": "batch"},
    "activation": {"type": "categorical", "choices": ["relu", "gelu", "silu"], "default": "relu"},
    "shift": {"type": "int", "low": 0, "high": 4, "default": 2},
}


class Cost(NamedTuple):
    """The time of one trial."""

    wall: float  # milliseconds
    processor: float  # milliseconds
    commits: float


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 1000, 10_000], help="sizes of the study")
    parser.add_argument("--parameters", type=int, nargs="+", choices=(4, 12), default=[4])
    parser.add_argument("--plain", action="store_true", help="measure plain Optuna too")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--block", type=int, default=10, help="trials in each")
    parser.add_argument("--folder", type=Path, help="where the databases go; a disk, not memory")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{psutil.cpu_count(logical=False)} cores, {platform.platform()}, Optuna {optuna.__version__}")
    print(f"load {psutil.getloadavg()[0]:.1f} before; ms a trial: median of blocks of {options.block} trials (least to most)")
    for n_parameters in options.parameters:
        for size in options.trials:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                bench = Bench(Path(folder), n_parameters, size, options.blocks, options.block, plain=options.plain)
                report(f"{size:>6,} trials, {n_parameters:>2} parameters", *bench.measure())
    print(f"load {psutil.getloadavg()[0]:.1f} after")


class Bench:
    """A study of a given size, for the runner and for plain Optuna."""

    def __init__(self, folder: Path, n_parameters: int, size: int, blocks: int, block: int, *, plain: bool) -> None:
        space = OBJECTIVE.space("basic")
        if n_parameters == 12:
            four = {name: one.model_dump() for name, one in space.varied.items()}
            space = SearchSpace.of("twelve", four | MORE)
        study = new_study(folder / "hpo.db", epochs=EPOCHS, space=space)
        fill(study, made_up(study, max(1, size - blocks * block // 2)))
        shutil.copy(folder / "hpo.db", folder / "plain.db")
        self.study = reopen(study)
        self.blocks, self.block = blocks, block
        self.pool = InstantPool(epochs=EPOCHS, checkpoints=False)
        self.plain = self._open_plain(folder / "plain.db") if plain else None

    def _open_plain(self, path: Path) -> optuna.Study:
        with experimental():
            return optuna.load_study(
                study_name=self.study.name,
                storage=f"sqlite:///{path}",
                sampler=optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=0),
                pruner=halving(),
            )

    def measure(self) -> tuple[list[Cost], list[Cost]]:
        """Return the time per trial in each block, for the runner and for plain Optuna in alternation."""
        self.runner(1).run()
        self.run_plain(1)
        mine, others = [], []
        for _ in range(self.blocks):
            mine.append(cost(self.runner(self.block).run, self.block, self.study.database.storage.engine))
            if self.plain:
                run_plain = functools.partial(self.run_plain, self.block)
                others.append(cost(run_plain, self.block, self.plain._storage._backend.engine))
        return mine, others

    def runner(self, n: int) -> Runner:
        """Return a function that runs a number of trials as `hpo run` does."""
        self.pool.start()
        return runner_of(self.study, self.pool, trials=self.study.n_finished + n)

    def run_plain(self, n: int) -> None:
        """Run a number of trials as a tutorial would, directly on the database."""
        if self.plain:
            self.plain.optimize(lambda trial: train(trial, self.study), n_trials=n)


def train(trial: optuna.Trial, study: WritableStudy) -> float:
    """Suggest, and report invented accuracies, without training."""
    point = {name: trial._suggest(name, one) for name, one in distributions(study.space).items()}
    point = study.space.point(point)
    for epoch in range(1, EPOCHS + 1):
        trial.report(curve(point, epoch), epoch)
        if epoch < EPOCHS and trial.should_prune():
            raise optuna.TrialPruned
    return curve(point, EPOCHS)


def made_up(study: WritableStudy, n: int) -> list[FrozenTrial]:
    """Return a history of a random search, made in memory."""
    memory = Memory()
    with experimental(), memory.showing(FOR_PRUNERS):
        made = optuna.create_study(
            storage=memory,
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=halving(),
        )
        made.optimize(lambda trial: train(trial, study), n_trials=n)
    return made.get_trials(deepcopy=False)


def halving() -> optuna.pruners.BasePruner:
    """Return Optuna's pruner of that name, while hpo's lets losers wait."""
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)


def fill(study: WritableStudy, trials: list[FrozenTrial]) -> None:
    """Write a history in one transaction, which waits for the disk once."""
    with study.database.storage.engine.begin() as connection:
        engine = SimpleNamespace(begin=lambda: nullcontext(connection))
        database = SimpleNamespace(storage=SimpleNamespace(engine=engine), location=study.location)
        ledger = Ledger(database, study._study_id, study.name)
        for trial in trials:
            rungs = {key: value for key, value in trial.system_attrs.items() if key.startswith("completed_rung")}
            trial_id = ledger.begin(trial.number, trial.params, trial.distributions, {}, seed=0)
            ledger.report(trial_id, trial.intermediate_values, rungs)
            attributes = {
                "n_parameters": 1000,
                "macs": 2000,
                "worker": 0,
                "train_loss": [1.0],
                "score_loss": [1.0],
                "seconds": 1.0,
            }
            ledger.end(trial_id, TrialState(trial.state), trial.value, attributes, {})


def cost(call: Callable[[], object], n: int, engine: Engine) -> Cost:
    """Return the time per trial of a block."""
    with Commits(engine) as commits:
        wall, processor = time.perf_counter(), time.process_time()
        call()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Cost(1000 * wall / n, 1000 * processor / n, commits.number / n)


class Commits:
    """Counts transactions that wrote something: each waits for the disk."""

    def __init__(self, engine: Engine) -> None:
        self.number, self._wrote = 0, False
        self._listeners = [(engine, "before_cursor_execute", self._execute), (engine, "commit", self._commit)]

    def __enter__(self) -> Self:
        for listener in self._listeners:
            sa.event.listen(*listener)
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            sa.event.remove(*listener)

    def _execute(self, _connection, _cursor, statement, *_: object) -> None:
        self._wrote |= statement.startswith(("INSERT", "UPDATE", "DELETE"))

    def _commit(self, _connection) -> None:
        self.number += self._wrote
        self._wrote = False


def report(what: str, mine: list[Cost], others: list[Cost]) -> None:
    for kind in Cost._fields:
        ours, theirs = ([getattr(block, kind) for block in blocks] for blocks in (mine, others))
        line = f"{what}  {kind:9}  hpo {spread(ours)}"
        if theirs:
            line += f"  plain {spread(theirs)}  plain / hpo {statistics.median(theirs) / statistics.median(ours):.1f}"
        print(line, flush=True)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):7.1f} ({min(values):.1f} to {max(values):.1f}, n {len(values)})"


if __name__ == "__main__":
    main()
