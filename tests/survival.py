"""Kill hpo at random moments, or at every failpoint, continue each time, and hold the database against what was acknowledged.

    python tests/survival.py --kills 200 --workers 1 2      the long form
    python tests/survival.py --failpoints 5                 every point five times

The oracle is outside the database: the lines that runs printed, and the checkpoints that lay on the disk when a run ended. A line
about an epoch or a trial is printed after its commit, so what it says must be in the database for ever, with that value, once;
an epoch that lay on the disk may not be trained again.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from running import DIGITS, Hpo, Program, left_over

from hpo.errors import HpoError, StorageError, UsageError
from hpo.folders import NETWORK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hpo.store.reading.record import StudyRecord

MAKING = (  # points that are passed while a study is made
    "database.made",
    "database.placed",
    "lock.taken",
    "study.created",
    "study.describing",  # four times
    "run.noted",
)
RUNNER = (
    "trial.asked",
    "trial.recorded",
    "trial.open",
    "job.sent",
    "verdict.sent",
    "epoch.reporting",
    "epoch.reported",
    "epoch.judged",
    "trial.described",
    "trial.ended",
    "trial.tidying",
    "trial.tidied",
    "run.stopped",
    "publication.drawn",
    "publication.written",
    "report.written",
)
WORKER = (
    "epoch.trained",
    "file.filled",
    "file.synced",
    "file.renamed",
    "checkpoint.written",
    "epoch.saved",
    "result.scores",
    "result.layers",
)
POINTS = MAKING + RUNNER + WORKER
ELSEWHERE = ("export.placed", "export.proven", "export.whole")  # points of other commands than run, with tests of their own
ASKING = ("trial.suggested", "suggestion.sent")  # points of the runner that an Optuna objective alone passes
OBJECTIVE_POINTS = (
    "trial.asked", "trial.recorded", "job.sent", *ASKING, "epoch.reporting", "epoch.reported", "epoch.judged", "trial.described",
    "trial.ended", "epoch.trained", "epoch.saved",
)  # fmt: skip
ONCE_A_RUN = {*MAKING, *(point for point in RUNNER if point.startswith(("run.", "publication.", "report.")))} - {
    "study.describing"
}

QUICK = """
depth = { type = "int", low = 1, high = 2, default = 1 }
filters = { type = "int", low = 8, high = 16, default = 12 }
lr = { type = "float", low = 0.05, high = 0.5, log = true, default = 0.2 }
dropout = 0.0
stem = "none"
batch_size = 16
"""
OWN = """
import json, pathlib, sys, time

def epochs(lr, n, done, quality):
    for epoch in range(done + 1, n + 1):
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
        quality += (1 - quality) * lr
        yield epoch, quality
"""
TRAIN = f"""{OWN}
import hpo
space = hpo.space(lr=hpo.real(0.1, 0.9, default=0.3))
objective = hpo.maximize("accuracy", share=True)

def train(config, data, resume):
    for epoch, quality in epochs(config.lr, config.epochs, *(resume or (0, 0.1))):
        yield hpo.Epoch(quality, state=(epoch, quality))
"""
OBJECTIVE = f"""{OWN}
import optuna

def objective(trial):
    lr = trial.suggest_float("lr", 0.1, 0.9)
    start = trial.suggest_float("start", 0.0, 0.2) if lr > 0.5 else 0.1 + trial.suggest_int("more", 0, 3) / 10
    for epoch, quality in epochs(lr, 3, 0, start):
        trial.report(quality, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return quality
"""
PROGRAM = f"""{OWN}
kept = pathlib.Path(sys.argv[3], "state")
done, quality = json.loads(kept.read_text()) if kept.exists() else (0, 0.1)
for epoch, quality in epochs(float(sys.argv[1]), int(sys.argv[2]), done, quality):
    kept.with_suffix(".new").write_text(json.dumps([epoch, quality]))
    kept.with_suffix(".new").replace(kept)
    print(json.dumps({{"epoch": epoch, "accuracy": quality}}), flush=True)
"""
IN_LANES = """
import sys
from hpo.__main__ import main
from hpo.pools.devices import Seat
from hpo.runner import session

lanes = int(sys.argv.pop(1))
session.seats = lambda *_, **__: [Seat("cpu", 1, 2**31, lanes)]
sys.exit(main())
"""
WHAT = {
    "built-in": ("--space", "quick.toml", *DIGITS),
    "lanes": ("--space", "lanes.toml", "--sampler", "random", "--pruner", "none", *DIGITS),  # what comes out depends on no order
    "train": ("--train", "own.py:train", "--no-report"),
    "optuna": ("--optuna", "study.py", "--maximize", "accuracy", "--no-report"),
    "command": (
        "--command",
        f"{sys.executable} program.py {{lr}} {{epochs}} {{checkpoint}}",
        "--space",
        "own.toml",
        "--no-report",
    ),
}
EPOCHS, MORE = 3, 5  # of a trial; trials that a study is given on top when it has its total
SPAN = 6  # seconds on the processor that a run with MORE trials to go takes: a busy machine stretches those of the clock

_EPOCH = re.compile(rf"trial (\d+) (?:epoch|step) (\d+)(?:/{EPOCHS})?: ([\d.]+%?)")
_ENDED = re.compile(r"trial (\d+) (complete|pruned) ([\d.]+%?)")


@dataclass
class Campaign:
    """A study that is run again and again, whatever kills it.

    Attributes:
        what: Is trained: the built-in network, a file of one's own, or a program.
        lanes: Trials at once in one process, as on a GPU; 0: each worker has a process.
        said: What each run printed.
        violations: What is not as it must be.
        total: Finished trials that are asked for.
        totals: Those that were asked for before, and that the study had.
        kills: Processes killed.
    """

    hpo: Hpo
    study: str
    workers: int
    storage: str = "studies/hpo.db"
    what: str = "built-in"
    lanes: int = 0
    said: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    total: int = MORE
    totals: list[int] = field(default_factory=list)
    kills: int = 0

    def words(self, *more: object) -> tuple[object, ...]:
        """Return the command line of its runs."""
        where = ("--workers", self.workers, "--storage", self.storage, "--trials", self.total)
        return ("run", self.study, *where, "--epochs", EPOCHS, "-v", *WHAT[self.what], *more)

    def run(self, disturb: Callable[[Program], None] = lambda _: None, *, page: bool = False, **environment: str) -> int:
        """Run once, let `disturb` do its worst, and note what an oracle must know; return the exit code."""
        saved = self._saved()
        words = [word for word in self.words() if not (page and word == "--no-report")]
        in_lanes = ("-c", IN_LANES, self.lanes) if self.lanes else ("-m", "hpo")
        others = {*psutil.Process().children(recursive=True)}  # of tests before this one
        program = self.hpo.start_python(*in_lanes, *words, **environment)
        disturb(program)
        code = program.ended(3600)
        self.said.append(program.err)
        if left_over([*{*psutil.Process().children(recursive=True)} - others], 10):
            self.violations.append("a process was left behind")
        for n, epoch, _ in _EPOCH.findall(program.err):
            if int(epoch) <= saved.get(int(n), 0):
                self.violations.append(f"epoch {epoch} of trial {n} was trained again; its checkpoint was there")
        if code not in (0, -9):
            self.violations.append(f"exit code {code}: {program.err[-500:]}")
        return code

    @property
    def record(self) -> StudyRecord:
        """The study as it is stored."""
        return self.hpo.study(self.study, self.storage)

    @property
    def results(self) -> list[tuple[object, ...]]:
        """What of each trial does not depend on the clock."""
        return [(t.number, t.state.name, t.params, t.value, t.intermediate_values) for t in self.record.trials]

    def undisturbed(self) -> Campaign:
        """Return the same study, asked for the same totals, each run in one go, without lanes."""
        calm = Campaign(self.hpo, f"{self.study}-calm", self.workers, self.storage, self.what)
        for calm.total in (*self.totals, self.total):
            calm.run()
        return calm

    def extend(self) -> None:
        """Ask for more trials, if the study has as many as were asked for."""
        with contextlib.suppress(StorageError, UsageError):  # killed before there was one
            if self.record.n_finished >= self.total:
                self.totals.append(self.total)
                self.total += MORE

    def finish(self) -> Campaign:
        """Run to the total and compare."""
        self.run()
        self.violations += compare(self.record, "\n".join(self.said), self.total)
        return self

    def _saved(self) -> dict[int, int]:
        """Return the newest epoch on the disk by trial."""
        folder = (self.hpo.folder / self.storage).with_suffix("") / self.study
        found: dict[int, int] = {}
        for path in folder.glob("trial-*/epoch-*.ckpt"):
            n, epoch = int(path.parent.name[6:]), int(path.stem[6:])
            found[n] = max(epoch, found.get(n, 0))
        done = {int(path.parent.name[6:]): EPOCHS for path in folder.glob(f"trial-*/{NETWORK}")}
        return found | done


def random_kills(campaign: Campaign, kills: int, seed: int) -> Campaign:
    """Kill runner or worker at random moments, `kills` times; a study that reaches its total gets more trials."""
    luck = random.Random(seed)

    def disturb(program: Program) -> None:
        for _ in range(3):  # a trial may fail after its third death; so the last one is the runner's
            if campaign.kills == kills or not uses(program, luck.uniform(0, SPAN)):
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                runner = psutil.Process(program.process.pid)
                victim = luck.choice([runner, *runner.children()])
                victim.kill()
                campaign.kills += 1
                if victim == runner:
                    return
        runner.kill()
        campaign.kills += 1

    while campaign.kills < kills:
        campaign.run(disturb)
        campaign.extend()
    return campaign.finish()


def uses(program: Program, seconds: float) -> bool:
    """Wait until a program and its workers have used so many seconds of CPU from now; return whether it still runs."""
    start = _used(program)
    while program.process.poll() is None:
        if _used(program) - start >= seconds:
            return True
        time.sleep(0.05)
    return False


def _used(program: Program) -> float:
    used = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        times = psutil.Process(program.process.pid).cpu_times()
        used = times.user + times.system + times.children_user + times.children_system
        for child in program.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                used += sum(child.cpu_times()[:2])
    return used


def failpoints(campaign: Campaign, points: Sequence[str], seed: int) -> Campaign:
    """Kill a new study's processes once at each point: a run has a point of the runner and one of the workers."""
    luck = random.Random(seed)
    making = [point for point in MAKING if point in points]
    later = [point for point in points if point in RUNNER + ASKING]
    workers = deque(point for point in points if point in WORKER)
    luck.shuffle(later)
    waiting, tries = deque(making + later), Counter[str]()
    fired = campaign.hpo.folder / f"fired-{campaign.study}"
    fired.mkdir()
    while waiting or workers:
        armed = [waiting.popleft()] if waiting else []
        if not set(armed) & set(MAKING):
            armed += [workers.popleft()] if workers else []
            campaign.extend()
        nth = {point: 1 if point in ONCE_A_RUN or tries[point] else luck.randint(1, 2) for point in armed}
        arming = ",".join(f"{point}:{n}:kill" for point, n in nth.items())
        code = campaign.run(page="report.written" in armed, HPO_FAILPOINT=arming, HPO_FAILPOINT_ONCE=str(fired))
        for point in armed:
            tries[point] += code == 0  # else the other point ended the run
            if (fired / point).exists():
                campaign.kills += 1
            elif tries[point] < 3:
                (workers if point in WORKER else waiting).appendleft(point)
            else:
                campaign.violations.append(f"point {point} was never reached")
    shutil.rmtree(fired)
    return campaign.finish()


def compare(record: StudyRecord, text: str, total: int) -> list[str]:
    """Return every way in which the database is not what was acknowledged."""
    found = _unlike(record, text)
    ends, epochs = Counter(n for n, _, _ in _ENDED.findall(text)), Counter((n, e) for n, e, _ in _EPOCH.findall(text))
    found += [f"trial {n} ended {times} times" for n, times in ends.items() if times > 1]
    again = {} if record.objective.kind == "optuna" else epochs  # which keeps nothing to go on from
    found += [f"epoch {epoch} of trial {n} was trained {times} times" for (n, epoch), times in again.items() if times > 1]
    numbers = [trial.number for trial in record.trials]
    if numbers != list(range(total)) or record.n_finished != total:
        found.append(f"{record.n_finished} finished, {total} asked for: {record.counts}, numbers {numbers}")
    for trial in record.trials:
        if trial.state.name == "COMPLETE" and sorted(trial.intermediate_values) != list(range(1, EPOCHS + 1)):
            found.append(f"trial {trial.number} is complete with the epochs {sorted(trial.intermediate_values)}")
    with contextlib.closing(sqlite3.connect(record.location.path)) as connection:
        found += [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    return found + _lost_weights(record)


def _unlike(record: StudyRecord, text: str) -> list[str]:
    """Return what was acknowledged and is not stored, or with another value."""
    trials = {str(trial.number): trial for trial in record.trials}
    found = []
    for n, state, value in _ENDED.findall(text):
        trial = trials.get(n)
        if trial is None or trial.state.name.lower() != state or not is_shown(trial.value or 0, value):
            found.append(f"trial {n} was acknowledged as {state} {value}, and is {trial}")
    for n, epoch, value in _EPOCH.findall(text):
        stored = trials[n].intermediate_values.get(int(epoch)) if n in trials else None
        if stored is None or not is_shown(stored, value):
            found.append(f"epoch {epoch} of trial {n} was acknowledged as {value}, and is {stored}")
    return found


def is_shown(value: float, text: str) -> bool:
    """Whether a text is what a person reads of a value."""
    return text in (f"{value:.2%}", f"{value:.4g}")


def _lost_weights(record: StudyRecord) -> list[str]:
    if record.objective.kind == "optuna":  # keeps none
        return []
    if record.objective.kind:  # somebody's own state
        return [] if record.checkpoint and record.checkpoint.exists() else ["what the best trial goes on from is gone"]
    try:
        epochs = len(record.network().description.history)
    except HpoError as error:
        return [f"the best trial's weights are gone: {error}"]
    return [] if epochs == EPOCHS else [f"the best trial's weights are of epoch {epochs}"]


def new_hpo(folder: Path, cache: Path) -> Hpo:
    """Return a program in a folder that has the space of these campaigns."""
    hpo = Hpo(folder, cache)
    (folder / "quick.toml").write_text(QUICK)
    (folder / "lanes.toml").write_text(QUICK.replace("dropout = 0.0", "dropout = 0.2"))
    (folder / "own.py").write_text(TRAIN)
    (folder / "study.py").write_text(OBJECTIVE)
    (folder / "program.py").write_text(PROGRAM)
    (folder / "own.toml").write_text("lr = { type = 'float', low = 0.1, high = 0.9, default = 0.3 }\n")
    return hpo


def main() -> int:
    """Run the long form and print a line a campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="at random moments, in all, shared by the numbers of workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--failpoints", type=int, default=0, help="times that each point kills")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=["built-in"], help="what random kills strike")
    parser.add_argument("--lanes", type=int, default=3, help="trials at once in the process of `lanes`")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        hpo = new_hpo(Path(folder), Path(folder) / "cache")
        for workers, what in itertools.product(arguments.workers if arguments.kills else (), arguments.what):
            lanes = arguments.lanes if what == "lanes" else 0
            campaign = Campaign(hpo, f"{what}-{workers}", workers, what=what, lanes=lanes)
            share = arguments.kills // len(arguments.workers)
            bad += told(f"{what}, {workers} workers", lambda c=campaign, n=share: random_kills(c, n, arguments.seed))
        for repetition in range(arguments.failpoints):
            campaign = Campaign(hpo, f"points{repetition}", arguments.workers[repetition % len(arguments.workers)])
            campaign.storage = f"studies/points{repetition}.db"
            seed = arguments.seed + repetition
            bad += told(f"points, round {repetition + 1}", lambda c=campaign, s=seed: failpoints(c, POINTS, s))
        hpo.close()
    return 1 if bad else 0


def told(name: str, play: Callable[[], Campaign]) -> int:
    """Play a campaign and print how it went; return the number of violations."""
    began = time.monotonic()
    campaign = play()
    comparable = campaign.workers == 1 or campaign.what == "lanes"
    if comparable:
        calm = campaign.undisturbed()
        pairs = zip(campaign.results, calm.results, strict=True)
        campaign.violations += [f"undisturbed, trial {a[0]} would be {b}, and is {a}" for a, b in pairs if a != b]
    print(
        f"{name}: {campaign.workers} workers, {campaign.kills} kills, {len(campaign.said)} runs, {campaign.total} trials, "
        f"{len(_EPOCH.findall(''.join(campaign.said)))} epochs acknowledged, {len(campaign.violations)} violations"
        f"{', equal to an undisturbed run' if comparable and not campaign.violations else ''}, "
        f"{time.monotonic() - began:.0f} s",
        *campaign.violations,
        sep="\n  ",
        flush=True,
    )
    return len(campaign.violations)


if __name__ == "__main__":
    sys.exit(main())
