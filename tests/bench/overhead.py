"""What the runner itself costs: milliseconds a trial, with a pool that answers at once.

    python tests/bench/overhead.py                      at 50 and at 1,000 trials in the study
    python tests/bench/overhead.py --trials 50 --plain  beside plain Optuna, on the same machine, in turns

A trial has 4 parameters and 10 epochs, TPE and successive halving, SQLite on disk. Measured are the 50 trials around each size,
in blocks of 10; the study before them is filled in memory and written at once. "Plain" is what a tutorial writes: ask, suggest,
report, should_prune, tell on RDBStorage, with the same sampler, pruner and accuracies; it stores no attributes of trials, where
hpo stores eight. Wall time has the disk's share in it and that of whatever else runs; time on the processor has not.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import optuna
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "search"))

from instant import InstantPool, curve, new_study, reopen, run

from hpo.search.samplers import distributions, make_pruner, make_sampler
from hpo.search.study import experimental

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.trial import FrozenTrial

    from hpo.search.study import WritableStudy

EPOCHS = 10
MEASURED, BLOCK = 50, 10  # trials


class Cost(NamedTuple):
    """Of a trial, milliseconds."""

    wall: float
    processor: float


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 1000], help="sizes of the study")
    parser.add_argument("--plain", action="store_true", help="measure plain Optuna too")
    parser.add_argument("--folder", type=Path, help="where the databases go; a disk, not memory")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{psutil.cpu_count(logical=False)} cores, {platform.platform()}, Optuna {optuna.__version__}")
    print(f"load {psutil.getloadavg()[0]:.1f} before; ms a trial: median of blocks of {BLOCK} trials (least to most)")
    for size in options.trials:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            report(size, *measure(size, Path(folder), plain=options.plain))


def measure(size: int, folder: Path, *, plain: bool) -> tuple[list[Cost], list[Cost]]:
    """Return what a trial cost in each block: the runner's and plain Optuna's, taken in turns."""
    before = max(0, size - MEASURED // 2) if size > MEASURED else 0
    study = new_study(folder / "hpo.db", epochs=EPOCHS)
    for trial in made_up(study, before):
        study._record.create_new_trial(study._study_id, template_trial=trial)
    shutil.copy(folder / "hpo.db", folder / "plain.db")
    study = reopen(study)
    mine, others = [], []
    for done in range(before, before + MEASURED, BLOCK):
        mine.append(cost(run, study, done + BLOCK, InstantPool(epochs=EPOCHS, checkpoints=False)))
        if plain:
            others.append(cost(run_plain, study, folder / "plain.db"))
    return mine, others


def made_up(study: WritableStudy, n: int) -> list[FrozenTrial]:
    """Return a history: what the same search leaves, made in memory."""
    if not n:
        return []
    with experimental():
        memory = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=make_pruner(study.settings)
        )
    memory.optimize(lambda trial: train(trial, study), n_trials=n)
    return memory.trials


def train(trial: optuna.Trial, study: WritableStudy) -> float:
    """Train nothing: suggest, and report the made-up accuracies."""
    point = {name: trial._suggest(name, one) for name, one in distributions(study.space).items()}
    config = study.space.config(point)
    for epoch in range(1, EPOCHS + 1):
        trial.report(curve(config, epoch), epoch)
        if epoch < EPOCHS and trial.should_prune():
            raise optuna.TrialPruned
    return curve(config, EPOCHS)


def run_plain(study: WritableStudy, path: Path) -> None:
    """Run a block as a tutorial would, on the database itself."""
    with experimental():
        plain = optuna.load_study(
            study_name=study.name,
            storage=f"sqlite:///{path}",
            sampler=make_sampler(study.settings, 0),
            pruner=make_pruner(study.settings),
        )
    plain.optimize(lambda trial: train(trial, study), n_trials=BLOCK)


def cost(call: Callable[..., object], *arguments: object) -> Cost:
    """Return what a block of trials took, a trial."""
    wall, processor = time.perf_counter(), time.process_time()
    call(*arguments)
    return Cost(1000 * (time.perf_counter() - wall) / BLOCK, 1000 * (time.process_time() - processor) / BLOCK)


def report(size: int, mine: list[Cost], others: list[Cost]) -> None:
    for kind in Cost._fields:
        ours, theirs = ([getattr(block, kind) for block in blocks] for blocks in (mine, others))
        line = f"{size:>6,} trials  {kind:9}  hpo {spread(ours)}"
        if theirs:
            line += f"  plain {spread(theirs)}  plain / hpo {statistics.median(theirs) / statistics.median(ours):.1f}"
        print(line, flush=True)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):7.1f} ({min(values):.1f} to {max(values):.1f}, n {len(values)})"


if __name__ == "__main__":
    main()
