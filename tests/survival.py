"""Kill hpo at random moments, or at every failpoint, continue each time, and hold the database against what was acknowledged.

    python tests/survival.py --kills 200 --workers 1 2      the long form; --failpoints 5 for every point five times

The oracle is outside the database: the lines that runs printed. A line about an epoch or a trial is printed after its commit, so
what a line says must be in the database for ever, with that value, once.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
from running import DIGITS, Hpo, Program, left_over

if TYPE_CHECKING:
    from hpo.search.record import StudyRecord

POINTS = (  # of the runner: a worker's would kill each of its successors too, since they inherit the variable
    "study.describing",
    "trial.asked",
    "trial.recorded",
    "job.sent",
    "epoch.reporting",
    "epoch.reported",
    "trial.described",
    "trial.ended",
    "trial.tidying",
    "trial.tidied",
)
TRIALS, EPOCHS = 5, 3
RUN = ("--trials", TRIALS, "--epochs", EPOCHS, "--space", "short.toml", "-v", *DIGITS)

_EPOCH = re.compile(rf"trial (\d+) epoch (\d+)/{EPOCHS}: ([\d.]+)%")
_ENDED = re.compile(r"trial (\d+) (complete|pruned) ([\d.]+)%")


class Outcome(NamedTuple):
    """What a campaign found."""

    kills: int
    runs: int
    violations: list[str]
    record: StudyRecord

    def params(self) -> list[dict[str, object]]:
        return [trial.params for trial in self.record.trials]


def campaign(hpo: Hpo, study: str, *, workers: int, kills: int, seed: int, points: tuple[str, ...] = ()) -> Outcome:
    """Run a study to its end through `kills` random kills of runner or worker, and a kill at each of `points`.

    A study that reaches its total is given more trials, until all kills are spent.
    """
    luck = random.Random(seed)
    said: list[str] = []
    spent, runs, total = 0, 0, TRIALS
    waiting = list(points)
    while True:
        words = ("run", study, "--workers", workers, "--trials", total, *RUN[2:])
        environment = {"HPO_FAILPOINT": f"{waiting.pop(0)}:{luck.randint(1, 3)}:kill"} if waiting else {}
        program = hpo.start(*words, **environment)
        runs += 1
        if not environment and spent < kills:
            spent += _kill_somewhere(program, luck)
        code = program.ended(120)
        said.append(program.err)
        if left_over(psutil.Process().children(recursive=True), 10):
            said.append("orphan")
        if code not in (0, -9):
            return Outcome(spent, runs, [f"exit code {code}: {program.err[-500:]}"], hpo.study(study))
        if code == 0:
            if spent >= kills and not waiting:
                record = hpo.study(study)
                return Outcome(spent + len(points), runs, violations(record, said, total), record)
            total += TRIALS


def _kill_somewhere(program: Program, luck: random.Random) -> int:
    """Kill the runner or a worker at a random moment of the run; return whether there was one to kill."""
    time.sleep(luck.uniform(0, 6))
    with contextlib.suppress(psutil.NoSuchProcess):
        victims = [psutil.Process(program.process.pid), *program.children()]
        luck.choice(victims).kill()
        return 1
    return 0


def violations(record: StudyRecord, said: list[str], total: int) -> list[str]:
    """Return every way in which the database is not what was acknowledged."""
    text = "\n".join(said)
    trials = {trial.number: trial for trial in record.trials}
    found = ["a process was left behind"] if "orphan" in said else []
    ended = {int(n): (state, float(value)) for n, state, value in _ENDED.findall(text)}
    for number, (state, value) in ended.items():
        trial = trials.get(number)
        if trial is None or trial.state.name.lower() != state or abs(100 * (trial.value or 0) - value) > 0.006:
            found.append(f"trial {number} was acknowledged as {state} {value} %, and is {trial}")
    trained = Counter((int(n), int(epoch)) for n, epoch, _ in _EPOCH.findall(text))
    found += [f"epoch {epoch} of trial {n} was trained {times} times" for (n, epoch), times in trained.items() if times > 1]
    for n, epoch, value in _EPOCH.findall(text):
        stored = trials[int(n)].intermediate_values.get(int(epoch)) if int(n) in trials else None
        if stored is None or abs(100 * stored - float(value)) > 0.006:
            found.append(f"epoch {epoch} of trial {n} was acknowledged as {value} %, and is {stored}")
    if sorted(trials) != list(range(len(trials))):
        found.append(f"numbers are {sorted(trials)}")
    if record.n_finished != total:
        found.append(f"{record.n_finished} finished, {total} asked for: {record.counts}")
    if record.counts["running"]:
        found.append(f"left running: {[n for n, t in trials.items() if t.state.name == 'RUNNING']}")
    with contextlib.closing(sqlite3.connect(record.location.path)) as connection:
        found += [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    checkpoint = Path(record.best.user_attrs["checkpoint"])
    if not checkpoint.is_file():
        found.append(f"the best trial's weights are gone: {checkpoint}")
    return found


def main() -> int:
    """Run the long form and print a line a campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all, shared by the numbers of workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--failpoints", type=int, default=0, help="times that each point kills")
    arguments = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        hpo = Hpo(Path(folder), Path(folder) / "cache")
        for workers in arguments.workers:
            began = time.monotonic()
            kills = arguments.kills // len(arguments.workers)
            points = POINTS * arguments.failpoints
            outcome = campaign(hpo, f"w{workers}", workers=workers, kills=kills, seed=workers, points=points)
            bad += len(outcome.violations)
            print(
                f"{workers} workers: {outcome.kills} kills, {outcome.runs} runs, {outcome.record.n_finished} trials, "
                f"{len(outcome.violations)} violations, {time.monotonic() - began:.0f} s",
                *outcome.violations,
                sep="\n  ",
                flush=True,
            )
            if workers == 1 and not outcome.violations:
                hpo("run", "calm", "--workers", 1, "--trials", outcome.record.n_finished, *RUN[2:])
                same = outcome.params() == [trial.params for trial in hpo.study("calm").trials]
                print(f"  parameters equal to an undisturbed run's: {same}")
                bad += not same
        hpo.close()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
