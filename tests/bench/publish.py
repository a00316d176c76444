"""The time to keep the dashboard's notes and figures current, in milliseconds per publication, and its effect on the dashboard.

    python tests/bench/publish.py [SIZE ...]

The studies have 50, 1,000 and 10,000 trials with 8 parameters and 10 epochs, in SQLite on disk. "First" writes a note for each
stopped trial and both figures; "next" is after one more stopped trial (7 times); "winner" is after a new best. "Shown"
is the time of the dashboard's answer to a browser that opens the study, before and after the first publication. Each figure is
wall time and, after the slash, processor time; on a busy machine they differ. The runner itself publishes only at the end of a
run. Before, another process does, which starts and reads the study first: "beside" is its wall time.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import optuna
from optuna_dashboard._app import create_app

from hpo import folders
from hpo.dashboard import beside
from hpo.store.database import locate, open_database
from hpo.store.reading.record import load

sys.path.insert(0, str(Path(__file__).parents[1]))
import made
from report import big

if TYPE_CHECKING:
    from collections.abc import Callable

    from hpo.store.reading.record import StudyRecord


class Times(NamedTuple):
    """Milliseconds on the clock and on the processor."""

    clock: float
    processor: float

    def __str__(self) -> str:
        return f"{self.clock:.0f}/{self.processor:.0f}"


SIZES = (50, 1_000, 10_000)
WINNER = "trial-00001/epoch-0010.ckpt"  # whose results are there


def main() -> None:
    """Print one line per size."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    imports = timed(lambda: __import__("hpo.dashboard.publish"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; imports once {imports} ms")
    headings = ("first", "next, median", "next, longest", "winner", "beside", "shown before", "after")
    print(" trials " + " ".join(f"{heading:>13}" for heading in headings) + "   ms")
    for n in [int(size) for size in sys.argv[1:]] or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{n:>7,} " + measured(n, Path(folder)), flush=True)


def measured(n: int, folder: Path) -> str:
    """Return the times for one size."""
    from hpo.dashboard.publish import publish

    location = locate(str(folder / "hpo.db"))
    open_database(location, create=True)
    big(str(location.url), n)
    record = load("big", location)
    winners = folders.study_folder(location, "big") / "trial-00001"
    winners.mkdir(parents=True)
    made.artifacts(winners)
    add(record, n, "COMPLETE", 0.97, WINNER)
    before = shown(record)
    first = timed(lambda: publish(load("big", location)))
    after = shown(record)
    later = []
    for i in range(7):
        add(record, n + 1 + i, "PRUNED", 0.2, "")
        later.append(timed(lambda: publish(load("big", location))))
    add(record, n + 8, "COMPLETE", 0.98, WINNER)
    winner = timed(lambda: publish(load("big", location)))
    apart = timed(lambda: beside.publish_beside("big", str(location.path)))
    median = Times(*(statistics.median(column) for column in zip(*later, strict=True)))
    return " ".join(f"{times!s:>13}" for times in (first, median, max(later), winner, f"{apart.clock:.0f}", before, after))


def add(record: StudyRecord, number: int, state: str, accuracy: float, checkpoint: str) -> None:
    """Add one more trial."""
    like = record.study.get_trials(deepcopy=False)[0]
    more = {"reason": "stopped by the halving pruner after epoch 10", "checkpoint": checkpoint}
    more |= {"train_loss": [2.0, 1.0], "score_loss": [2.0, 1.0]}
    trial = made.trial(number, state, made.curve(accuracy), like.params, like.distributions, **more)
    record.study.add_trial(trial)


def shown(record: StudyRecord) -> Times:
    """Return the time of the dashboard's second answer."""
    app = create_app(open_database(record.location).storage)
    path = f"/api/studies/{record.study._study_id}"
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "after=0", "wsgi.errors": sys.stderr}

    def ask() -> None:
        answer = b"".join(app(dict(environ), lambda *_: None))
        if len(json.loads(answer)["trials"]) == 0:
            raise AssertionError("the dashboard shows no trials")

    ask()
    return timed(ask)


def timed(do: Callable[[], object]) -> Times:
    """Return the time of a call."""
    began, used = time.perf_counter(), time.process_time()
    do()
    return Times(1000 * (time.perf_counter() - began), 1000 * (time.process_time() - used))


if __name__ == "__main__":
    main()
