"""How soon a search has a good network: `hpo run` compared with a plain Optuna script on the tutorial's loop (plain.py).

    python tests/bench/time_to_accuracy.py --data-dir DIR --minutes 25

The two run one after the other, in alternating order, each in a new folder, on all of CIFAR-10, decoded before. hpo runs as a
person would start it, `hpo run --timeout 25m`, with its default space and settings and another --seed in every round. The time
starts with the process. At its end the plain script is stopped, and hpo begins no further epoch. Two results are printed for
each. First, the best network trained to the end: a trial counts from the moment at which it is COMPLETE, with the accuracy of
its last epoch; pruned and running trials do not count. Second, the best accuracy after any epoch of any trial, by the times in
hpo's log: from then on such a network exists, in a checkpoint. Both score on the test set, so the numbers can be compared, but
not expected on new images.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
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

from hpo.data.datasets import load, verify

EPOCH = re.compile(r"(?m)^(\d\d):(\d\d):(\d\d)  trial \d+ epoch \d+/\d+: ([\d.]+)%")
SHARES = (0.1, 0.25, 0.5, 1.0)  # of the time
LATE = 900  # seconds that hpo has for its last epochs and its report


class Search(NamedTuple):
    """The results of a search within the time.

    Attributes:
        clock: Seconds.
        finished: (seconds since the process began, accuracy) of each trial that was trained to the end, in order.
        n_pruned: Trials that were stopped before.
        highest: The highest accuracy after any epoch; None without one.
    """

    clock: float
    finished: list[tuple[float, float]]
    n_pruned: int
    highest: float | None = None

    def best(self, share: float = 1.0) -> float | None:
        """Return the best accuracy after a share of the time."""
        return max((accuracy for at, accuracy in self.finished if at <= share * self.clock), default=None)

    def reached(self, accuracy: float) -> float | None:
        """Return the seconds after which a trial reached an accuracy."""
        return next((at for at, mine in self.finished if mine >= accuracy), None)


def read(storage: str, name: str, began: float, clock: float) -> Search:
    """Return the results of a study, `clock` seconds after `began` (seconds of time.time())."""
    trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    ended = [(t.datetime_complete.timestamp() - began, t) for t in trials if t.datetime_complete]
    within = sorted(((at, t) for at, t in ended if at <= clock), key=lambda pair: pair[0])
    finished = [(at, t.value) for at, t in within if t.state == TrialState.COMPLETE and t.value is not None]
    highest = max((accuracy for t in trials for accuracy in t.intermediate_values.values()), default=None)
    return Search(clock, finished, sum(t.state == TrialState.PRUNED for _, t in within), highest)


def measured(log: str, began: float) -> list[tuple[float, float]]:
    """Return (seconds after `began`, accuracy) of every epoch in the lines that `hpo run` prints, in order."""
    day = 24 * 3600
    now = time.localtime(began)
    first = 3600 * now.tm_hour + 60 * now.tm_min + now.tm_sec
    found = [(3600 * int(h) + 60 * int(m) + int(s), float(per_cent) / 100) for h, m, s, per_cent in EPOCH.findall(log)]
    return [((at - first) % day, accuracy) for at, accuracy in found]


def search(name: str, number: int, folder: Path, options: argparse.Namespace) -> tuple[Search, list[tuple[float, float]]]:
    """Run a search in an empty folder until the time is over; return its results and, for hpo, the accuracies by time."""
    folder.mkdir(parents=True)
    here = Path(__file__).resolve().parent
    if name == "plain":
        words, late = [str(here / "plain.py"), "--storage", "sqlite:///plain.db", "--minutes", f"{options.minutes}"], 0
    else:
        words, late = ["-m", "hpo", "run", "--timeout", f"{options.minutes}m", "--storage", "hpo.db"], LATE
        words += ["--seed", str(options.seed + number)]
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
    found = read(f"sqlite:///{folder}/{name}.db", "plain" if name == "plain" else "cifar10", began, clock)
    return found, measured((folder / "log").read_text(), began)


def report(plain: Search, hpo: Search, epochs: list[tuple[float, float]]) -> float | None:
    """Print a round; return the share of the time after which hpo had reached the plain script's best."""
    print(f"{'':24} {'plain Optuna':>14} {'hpo':>14}")
    print(f"{'trained to the end':24} {len(plain.finished):14} {len(hpo.finished):14}")
    print(f"{'pruned':24} {plain.n_pruned:14} {hpo.n_pruned:14}")
    for share in SHARES:
        at = f"best after {share * plain.clock / 60:.3g} min ({percent(share, 0)})"
        print(f"{at:24} {percent(plain.best(share)):>14} {percent(hpo.best(share)):>14}")
    print(f"{'after any epoch':24} {percent(plain.highest):>14} {percent(hpo.highest):>14}")
    best = plain.best()
    at = hpo.reached(best) if best is not None else None
    if at is not None:
        theirs = plain.reached(best) or plain.clock
        print(
            f"hpo had trained a network to the end that is as good as the plain script's best, {percent(best)}, after "
            f"{at / 60:.1f} min: {percent(at / hpo.clock, 0)} of the clock, {percent(at / theirs, 0)} of the plain script's time"
        )
    first = next((at for at, accuracy in epochs if plain.highest is not None and accuracy >= plain.highest), None)
    if first is None:
        print("hpo never measured what the plain script had at its best")
        return None
    print(
        f"hpo first measured as much as the plain script ever did, {percent(plain.highest)}, after {first / 60:.1f} min: "
        f"{percent(first / hpo.clock, 0)} of the clock"
    )
    return first / hpo.clock


def percent(share: float | None, digits: int = 2) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("HPO_DATA_DIR", "data")))
    parser.add_argument("--minutes", type=float, default=25, help="for each of the two")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="hpo's in the first round; one more in each that follows")
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
            found = {name: search(name, number, folder / name, options) for name in order}
            rounds.append({name: one for name, (one, _) in found.items()})
            print(f"\nround {number + 1}: {order[0]} first")
            shares.append(report(**rounds[-1], epochs=found["hpo"][1]))
    if options.rounds > 1:
        print(f"\nmedian (least to most) of {options.rounds} rounds")
        for name in ("plain", "hpo"):
            bests = [one[name].best() or 0.0 for one in rounds]
            print(f"{name:6} best {percent(statistics.median(bests))} ({percent(min(bests))} to {percent(max(bests))})")
        print(
            "hpo first measured the plain script's best after, of the clock: " + ", ".join(percent(share, 0) for share in shares)
        )


if __name__ == "__main__":
    main()
