"""Compare how searches spend their training: the real runner, sampler and pruner, on recorded learning curves, in virtual time.

    python tests/bench/replay.py          hpo's defaults beside TPE without a pruner, and TPE with the median pruner, from the
                                          default point alone
    python tests/bench/replay.py default sampler=random REDUCTION=4 STARTUP_TRIALS=5,pruner=hyperband --seeds 50

An argument is an idea: settings of a study, `workers`, and constants of hpo/search/{samplers,halving}.py in capitals, with
dashes between several values (`RUNGS=0.1-0.3`). `pruner=optuna` is Optuna's successive halving, which stops trials for good.
`starts=none` begins with the default point alone, without the other starting points of the space, and `default=bad` with a bad
default point (lr 2.5, 16 filters, dropout 0.35, depth 2). Ideas for halving: `rank=smoothed` and `rank=highest` (trials are
ranked by the mean of their last two epochs, or by their best epoch), `cost=0.01` (to rank equally, a training that takes twice
as long must be a point better), `order=cheapest` (of the trials that may continue, the cheapest first), `spared=compete`
(starting points, which are trained to the end in any case, take places of trials that continue).

The table, tests/data/curves.csv, was written by curves.py. A trial gets the curve of the nearest recorded point (each range
scaled to 1, as in the space) and the seconds of that point: so the comparison is about the order in which epochs are trained,
and their number. Medians over the seeds and their quartiles are printed:

    training   of all workers until a trial is complete that is within half a point of the table's best, in epochs of the default
               point; of seeds that never get there in `--trials` trials, what they trained
    best       accuracy of the best complete trial, in points below the table's best, after 10, 25 and 50 finished trials
    spent      training until 50 trials are finished
    own        share of searches in which a trial that the sampler chose was trained to the end (how many, on average), and in
               which the best is one
    chosen     accuracy, at the end of a training, of the points that trials 10 to 24 try, mean
"""

from __future__ import annotations

import argparse
import csv
import heapq
import itertools
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import optuna

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from instant import new_study, run

from hpo.builtin.convnet import OBJECTIVE
from hpo.messages import Epoch, EpochDone, Job, Ready, Started, TrialDone, TrialFailed
from hpo.parameters import FloatRange
from hpo.pools import Event
from hpo.runner.board import Watcher
from hpo.search import halving, mirror, samplers, study

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hpo.messages import FromWorker, Verdict

TABLE = Path(__file__).parents[1] / "data" / "curves.csv"
NEAR = 0.005  # of the table's best accuracy
MARKS = (10, 25, 50)  # finished trials
CHOSEN = range(10, 25)  # trials
BAD = {"depth": 2, "filters": 16, "dropout": 0.35, "lr": 2.5}
COMPARED = ["default", "pruner=none,starts=none", "pruner=median,starts=none"]


class Table:
    """Recorded learning curves.

    Attributes:
        curves: (n points, n epochs) accuracy; NaN from the epoch in which the loss was not finite.
        seconds: (n points,) of an epoch.
    """

    def __init__(self, path: Path) -> None:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        space = path.with_suffix(".toml")  # that the points were drawn from, if it is another
        self.space = OBJECTIVE.space(str(space) if space.exists() else "basic")
        epochs = [key for key in rows[0] if key[0] == "e" and key[1:].isdigit()]
        self.curves = np.array([[float(row[key] or "nan") for key in epochs] for row in rows])
        self.seconds = np.array([float(row["seconds"]) for row in rows])
        self._points = np.array([self._scaled({name: float(row[name]) for name in self.space.varied}) for row in rows])
        self.best = float(np.nanmax(self.curves[:, -1]))
        self.unit = float(self.seconds[self.nearest(self.space.default)])

    def _scaled(self, point: dict[str, Any]) -> list[float]:
        scaled = []
        for name, parameter in self.space.varied.items():
            low, high, value = parameter.low, parameter.high, point[name]
            if isinstance(parameter, FloatRange) and parameter.log:
                low, high, value = map(math.log, (low, high, value))
            scaled.append((value - low) / (high - low))
        return scaled

    def nearest(self, point: dict[str, Any]) -> int:
        """Return the row of the recorded point that is nearest."""
        return int(((self._points - self._scaled(point)) ** 2).sum(1).argmin())


class ReplayPool:
    """Workers that answer from a table, in virtual time.

    Attributes:
        trained: Seconds of training that the workers have reported.
    """

    def __init__(self, table: Table, size: int) -> None:
        self.size, self.trained = size, 0.0
        self.processes = [range(worker, worker + 1) for worker in range(size)]
        self._table, self._now, self._said = table, 0.0, 0
        self._events: list[tuple[float, int, Event]] = []
        self._jobs: dict[int, Job] = {}  # by worker
        self._done: dict[int, list[Epoch]] = {}  # by trial
        self._rows: dict[int, int] = {}  # of the table, by trial

    def cost(self, trial: int) -> float:
        """Return the time of an epoch of a trial, in epochs of the default point."""
        return float(self._table.seconds[self._rows[trial]]) / self._table.unit

    def start(self) -> None:
        """Make all workers ready at once."""
        for worker in range(self.size):
            self._say(worker, Ready(environment={}))

    def send(self, worker: int, message: Job | Verdict) -> None:
        """Begin, go on or leave."""
        if isinstance(message, Job):
            self._rows[message.trial] = self._table.nearest(message.point)
            self._jobs[worker] = message
            done = self._done.setdefault(message.trial, [])
            self._say(worker, Started(trial=message.trial, epochs=tuple(done)))
            return
        job = self._jobs[worker]
        row = self._rows[job.trial]
        curve, seconds = self._table.curves[row], float(self._table.seconds[row])
        epoch = len(self._done[job.trial]) + 1
        if not message.go_on:
            del self._jobs[worker]
        elif epoch > len(curve):
            self._say(worker, TrialDone(trial=job.trial, checkpoint=job.folder))
        elif math.isnan(curve[epoch - 1]):
            self._say(worker, TrialFailed(trial=job.trial, cause="diverged", reason="as recorded"), seconds)
        else:
            told = Epoch(epoch, float(curve[epoch - 1]), seconds)
            self._say(worker, EpochDone(trial=job.trial, epoch=told), seconds)

    def receive(self, timeout: float) -> Event | None:  # noqa: ARG002
        """Return the next message, and advance the time until then."""
        if not self._events:
            return None
        self._now, _, event = heapq.heappop(self._events)
        if isinstance(event.message, EpochDone):
            self._done[event.message.trial].append(event.message.epoch)
            self.trained += event.message.epoch.seconds
        return event

    def restart(self, worker: int) -> None:
        """No worker dies."""

    def end(self, worker: int) -> None:
        """No worker dies."""

    def close(self) -> None:
        """Nothing to end."""

    def _say(self, worker: int, message: FromWorker, after: float = 0.0) -> None:
        self._said += 1
        heapq.heappush(self._events, (self._now + after, self._said, Event(worker, message)))


class OtherRungs(halving.Rungs):
    """Halving with another ranking.

    Args:
        epochs: Of a whole training.
        ideas: `rank`, `cost`, `order` and their values, as in the module's docstring.
        cost: Of a trial's epoch, in epochs of the default point.
    """

    def __init__(self, epochs: int, ideas: dict[str, str], cost: Callable[[int], float]) -> None:
        super().__init__(epochs)
        self._ideas, self._cost = ideas, cost
        self._before: dict[int, float] = {}  # by trial: accuracy of the epoch before, or the highest

    def note(self, trial: int, epoch: int, accuracy: float, *, competes: bool = True) -> bool:
        """Record an accuracy as the idea ranks it."""
        before = self._before.get(trial, accuracy)
        self._before[trial] = max(before, accuracy) if self._ideas.get("rank") == "highest" else accuracy
        match self._ideas.get("rank"):
            case "smoothed":
                accuracy = (before + accuracy) / 2
            case "highest":
                accuracy = max(before, accuracy)
        price = float(self._ideas.get("cost", "0"))
        competes = competes or self._ideas.get("spared") == "compete"
        return super().note(trial, epoch, accuracy - price * math.log2(self._cost(trial)), competes=competes)

    def next(self, waiting: Collection[int], *, last: bool = False) -> int | None:
        """Return the trials that continue."""
        if self._ideas.get("order") != "cheapest":
            return super().next(waiting, last=last)
        able = (trial for trial in waiting if self.passes(trial, self._level(trial), last=last))
        return min(able, key=lambda trial: (self._cost(trial), trial), default=None)


class Outcome(NamedTuple):
    """The results of one search."""

    training: float  # until near the table's best, in epochs of the default point
    reached: bool
    best: dict[int, float]  # points below the table's best, by finished trials
    spent: float  # until all MARKS
    own: int  # complete trials that the sampler chose
    won: bool  # the best is one
    chosen: float  # accuracy of the points of the CHOSEN trials


class Notes(Watcher):
    """Records the best so far, and the training until then."""

    def __init__(self, table: Table, pool: ReplayPool) -> None:
        self._table, self._pool = table, pool
        self.reached: float | None = None
        self.best: dict[int, float] = {}
        self.spent: dict[int, float] = {}

    def ended(self, board: Any, trial: Any, state: str) -> None:  # noqa: ARG002
        """Update the best."""
        best = board.best[1] if board.best else 0.0
        if self.reached is None and best >= self._table.best - NEAR:
            self.reached = self._pool.trained
        self.best.setdefault(board.n_finished, 100 * (self._table.best - best))
        self.spent.setdefault(board.n_finished, self._pool.trained)


def replay(job: tuple[str, int, Path, int]) -> Outcome:
    """Run one search with an idea and a seed."""
    idea, seed, path, n_trials = job
    warnings.simplefilter("ignore")
    table = Table(path)
    space, settings, n_workers = table.space, {"epochs": table.curves.shape[1], "seed": seed}, 2
    rungs: dict[str, str] = {}
    for word in idea.split(","):
        if word == "default":
            continue
        key, value = word.split("=")
        if key.isupper():
            module = samplers if hasattr(samplers, key) else halving
            before = getattr(module, key)
            setattr(module, key, tuple(map(float, value.split("-"))) if isinstance(before, tuple) else type(before)(value))
        elif value == "optuna":
            settings["pruner"] = "median"
            mirror.make_pruner = lambda *_: optuna.pruners.SuccessiveHalvingPruner(
                min_resource=1, reduction_factor=halving.REDUCTION
            )
        elif key == "workers":
            n_workers = int(value)
        elif key == "starts":
            space = space.model_copy(update={"starts": ()})
        elif key == "default":
            worse = {name: p.model_copy(update={"default": BAD[name]}) for name, p in space.varied.items()}
            space = space.model_copy(update={"parameters": space.parameters | worse})
        elif key in ("rank", "cost", "order", "spared"):
            rungs[key] = value
        else:
            settings[key] = value
    pool = ReplayPool(table, n_workers)
    if rungs:
        study.Rungs = lambda epochs, *_: OtherRungs(epochs, rungs, pool.cost)
    notes = Notes(table, pool)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        writable = new_study(Path(folder, "hpo.db"), space=space, **settings)
        run(writable, n_trials, pool, notes, target=table.best - NEAR if max(MARKS) > n_trials else None)
        complete = {t.number: t.value for t in writable.trials if t.state.name == "COMPLETE"}
        own = complete.keys() - writable._queue.spared
        chosen = [table.curves[table.nearest(writable.trials[n].params), -1] for n in CHOSEN if n < len(writable.trials)]
    spent = notes.spent[max(notes.spent)] if notes.spent else 0.0
    return Outcome(
        (notes.reached if notes.reached is not None else spent) / table.unit,
        notes.reached is not None,
        {mark: notes.best.get(mark, math.nan) for mark in MARKS},
        notes.spent.get(max(MARKS), math.nan) / table.unit,
        len(own),
        bool(complete) and max(complete, key=lambda n: complete[n]) in own,
        float(np.nanmean(chosen)) if chosen else math.nan,
    )


def spread(values: list[float]) -> str:
    """Return median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:6.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ideas", nargs="*", default=COMPARED)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    table = Table(options.table)
    n_points, n_epochs = table.curves.shape
    print(f"{n_points} points of {n_epochs} epochs; best {table.best:.2%}; {options.seeds} seeds; median (quartiles)")
    jobs = [(idea, seed, options.table, options.trials) for idea in options.ideas for seed in range(options.seeds)]
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=1) as pool:
        outcomes = pool.imap(replay, jobs, chunksize=10)
        for idea in options.ideas:
            print(line(idea, list(itertools.islice(outcomes, options.seeds))), flush=True)


def line(idea: str, outcomes: list[Outcome]) -> str:
    """Return an idea's row."""
    marks = "".join(f"  after {mark} {spread([o.best[mark] for o in outcomes])}" for mark in MARKS)
    n_reached = sum(o.reached for o in outcomes)
    return (
        f"{idea:32} training {spread([o.training for o in outcomes])}, {n_reached}/{len(outcomes)} got there; "
        f"spent {spread([o.spent for o in outcomes])};{marks}; "
        f"own {sum(o.own > 0 for o in outcomes) / len(outcomes):.0%} ({statistics.mean(o.own for o in outcomes):.2f}), "
        f"best {sum(o.won for o in outcomes) / len(outcomes):.0%}; chosen {statistics.mean(o.chosen for o in outcomes):.1%}; "
        f"mean shortfall {' '.join(f'{statistics.mean(o.best[mark] for o in outcomes):.2f}' for mark in MARKS)}"
    )


if __name__ == "__main__":
    main()
