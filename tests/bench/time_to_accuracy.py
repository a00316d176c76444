"""How soon a search has a good network: a plain Optuna script on the tutorial's loop (plain.py) against `hpo run`, same clock.

    python tests/bench/time_to_accuracy.py --data-dir DIR --minutes 25

One after the other, in alternating order, each in a fresh folder, on whole CIFAR-10 decoded before. hpo runs as a person would
type it, `hpo run --timeout 25m`, on its default space and settings; after the first round with another --seed. The clock starts
with the process. A trial counts from the moment at which it is COMPLETE, trained to its last epoch, with that epoch's accuracy;
the best so far is the best of those. What a pruned or running trial had reached in between does not count, nor does a trial that
ends after the clock: there the plain script is ended, and hpo begins no epoch. Both score on the test set: these are numbers to
compare, not to expect on new images.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.trial import TrialState
from throughput import machine

from hpo.training.data import load, verify

SHARES = (0.1, 0.25, 0.5, 1.0)  # of the clock
LATE = 900  # seconds that hpo gets for its last epochs and its report


class Search(NamedTuple):
    """What a search brought within the clock.

    Attributes:
        clock: Seconds.
        finished: (seconds since the process began, accuracy) of each trial that was trained to the end, in order.
        n_pruned: Trials that were stopped before.
    """

    clock: float
    finished: list[tuple[float, float]]
    n_pruned: int

    def best(self, share: float = 1.0) -> float | None:
        """Return the best accuracy after a share of the clock."""
        return max((accuracy for at, accuracy in self.finished if at <= share * self.clock), default=None)

    def reached(self, accuracy: float) -> float | None:
        """Return the seconds after which a trial was as good."""
        return next((at for at, mine in self.finished if mine >= accuracy), None)


def read(storage: str, name: str, began: float, clock: float) -> Search:
    """Return what a study had, `clock` seconds after `began` (seconds of time.time())."""
    trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    ended = [(t.datetime_complete.timestamp() - began, t) for t in trials if t.datetime_complete]
    within = sorted(((at, t) for at, t in ended if at <= clock), key=lambda pair: pair[0])
    finished = [(at, t.value) for at, t in within if t.state == TrialState.COMPLETE and t.value is not None]
    return Search(clock, finished, sum(t.state == TrialState.PRUNED for _, t in within))


def search(name: str, number: int, folder: Path, options: argparse.Namespace) -> Search:
    """Run a search in an empty folder until the clock ends, and read what it brought."""
    folder.mkdir(parents=True)
    here = Path(__file__).resolve().parent
    if name == "plain":
        words, late = [str(here / "plain.py"), "--storage", "sqlite:///plain.db", "--minutes", f"{options.minutes}"], 0
    else:
        words, late = ["-m", "hpo", "run", "--timeout", f"{options.minutes}m", "--storage", "hpo.db"], LATE
        words += ["--seed", str(number)] if number else []
    words += ["--data-dir", str(options.data_dir.absolute())]
    for option, value in (("--limit-train", options.limit_train), ("--limit-test", options.limit_test)):
        words += [option, str(value)] if value else []
    clock, began = 60 * options.minutes, time.time()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=log, stderr=log)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(clock + late)
        finally:
            process.kill()
            process.wait()
    if process.returncode > 0:
        raise SystemExit(f"{name} ended with exit code {process.returncode}:\n{(folder / 'log').read_text()[-2000:]}")
    print(f"{name} ended after {(time.time() - began) / 60:.2f} min", flush=True)
    return read(f"sqlite:///{folder}/{name}.db", "plain" if name == "plain" else "cifar10", began, clock)


def report(plain: Search, hpo: Search) -> float | None:
    """Print a round; return the share of the clock after which hpo had the plain script's best."""
    print(f"{'':24} {'plain Optuna':>14} {'hpo':>14}")
    print(f"{'trained to the end':24} {len(plain.finished):14} {len(hpo.finished):14}")
    print(f"{'pruned':24} {plain.n_pruned:14} {hpo.n_pruned:14}")
    for share in SHARES:
        at = f"best after {share * plain.clock / 60:.3g} min ({percent(share, 0)})"
        print(f"{at:24} {percent(plain.best(share)):>14} {percent(hpo.best(share)):>14}")
    best = plain.best()
    reached = hpo.reached(best) if best is not None else None
    if best is None or reached is None:
        print("hpo did not reach the plain script's best" if best is not None else "the plain script finished no trial")
        return None
    share, theirs = reached / hpo.clock, plain.reached(best) or hpo.clock
    print(
        f"hpo had the plain script's best, {percent(best)}, after {reached / 60:.1f} min: {percent(share, 0)} of the clock, "
        f"{percent(reached / theirs, 0)} of the {theirs / 60:.1f} min that it took the plain script"
    )
    return share


def percent(share: float | None, digits: int = 2) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("HPO_DATA_DIR", "data")))
    parser.add_argument("--minutes", type=float, default=25, help="for each of the two")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit-train", type=int, help="train on so many images only, for a first look")
    parser.add_argument("--limit-test", type=int, help="score on so many images only")
    parser.add_argument("--folder", type=Path, help="keep databases, logs and reports here; a new one")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    verify(load("cifar10", options.data_dir))  # decoded, and in memory
    print(f"{machine()}, load {os.getloadavg()[0]:.1f} before", flush=True)
    rounds: list[dict[str, Search]] = []
    shares = []
    with tempfile.TemporaryDirectory() as aside:
        for number in range(options.rounds):
            order = ("plain", "hpo") if number % 2 == 0 else ("hpo", "plain")
            folder = (options.folder or Path(aside)).absolute() / f"round-{number + 1}"
            rounds.append({name: search(name, number, folder / name, options) for name in order})
            print(f"\nround {number + 1}: {order[0]} first")
            shares.append(report(**rounds[-1]))
    if options.rounds > 1:
        print(f"\nmedian (least to most) of {options.rounds} rounds")
        for name in ("plain", "hpo"):
            bests = [one[name].best() or 0.0 for one in rounds]
            print(f"{name:6} best {percent(statistics.median(bests))} ({percent(min(bests))} to {percent(max(bests))})")
        print("hpo had the plain script's best after, of the clock: " + ", ".join(percent(share, 0) for share in shares))


if __name__ == "__main__":
    main()
