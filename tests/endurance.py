"""What must hold many times over, or for long: one runner a study, no orphans, a locked database, a thousand trials.

python tests/endurance.py --runners 20      a second runner of a study is refused, each time, and the first is undisturbed
python tests/endurance.py --orphans 20      after kill -9 of a runner with two workers no process is left in ten seconds
python tests/endurance.py --reader 30       a reader locks the database for so many seconds in the middle of a run
python tests/endurance.py --trials 1000     memory and file descriptors of a runner with two workers stay flat
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from running import DIGITS, Hpo, Program, left_over
from survival import Campaign, new_hpo

WORDS = ("--epochs", 1, "--space", "quick.toml", "-v", *DIGITS)
ENDLESS = ("--trials", 1_000_000, *WORDS)
PATIENCE = 600  # seconds for what takes a few on an idle machine
LEFT_BY_A_TRIAL, ALLOCATOR = 5 * 2**10, 2 * 2**20  # bytes; see `flat`


def runners(hpo: Hpo, times: int) -> list[str]:
    """Start a second runner of a study that is being run, again and again; return what went wrong."""
    first = hpo.start("run", "one", "--workers", 1, *ENDLESS).says("trial 0 complete", PATIENCE)
    found = []
    for _ in range(times):
        second = hpo.start("run", "one", "--workers", 1, *ENDLESS)
        if second.ended(PATIENCE) != 4 or f"is being run by process {first.process.pid} on" not in second.err:
            found.append(f"exit code {second.ended()}: {second.err}")
    ended = len(hpo.study("one").trials)
    if not first.says(f"trial {ended + 1} ", PATIENCE):  # it goes on
        found.append(first.err)
    first.process.kill()
    first.ended()
    other = hpo("run", "two", "--workers", 1, "--trials", 1, *WORDS)
    return found + ([] if other.ended() == 0 else [f"another study: {other.err}"])


def orphans(hpo: Hpo, times: int) -> tuple[list[str], list[float]]:
    """Kill a runner with two workers, again and again, ever later; return what went wrong, and the seconds to the last end."""
    found, seconds = [], []
    for number in range(times):
        program = hpo.start("run", "left", "--workers", 2, *ENDLESS)
        if number % 4:  # else while the workers start
            program.says("trial ", PATIENCE)
        while len(processes := psutil.Process(program.process.pid).children(recursive=True)) < 2:
            time.sleep(0.01)
        time.sleep(number * 0.05)
        program.process.kill()
        began = time.monotonic()
        program.ended()
        living = left_over(processes, 10)
        seconds.append(time.monotonic() - began)
        found += [f"{process} lives" for process in living]
    return found, seconds


def reader(hpo: Hpo, seconds: float) -> tuple[list[str], float]:
    """Hold a reader's lock while a run goes on; return what went wrong, and after how long the run said that it waits."""
    campaign = Campaign(hpo, "locked", workers=2, storage="studies/locked.db", total=6)
    said_after = float("nan")

    def disturb(program: Program) -> None:
        nonlocal said_after
        program.says("trial 0 epoch 1", PATIENCE)
        with contextlib.closing(sqlite3.connect(hpo.folder / campaign.storage)) as connection:
            rows = connection.execute("SELECT * FROM trials, studies, sqlite_master")
            rows.fetchone()
            began = time.monotonic()
            program.says("locked.db is locked by another program (a dashboard, a backup?).", seconds)
            said_after = time.monotonic() - began
            time.sleep(max(0, seconds - said_after))
            rows.close()

    code = campaign.run(disturb)
    if code != 0:
        campaign.violations.append(f"exit code {code}")
    return campaign.finish().violations, said_after


class Sample(NamedTuple):
    """What a runner holds after a number of trials."""

    trials: int
    memory: int  # bytes of its own, shared pages left out
    descriptors: int
    threads: int


def long_run(hpo: Hpo, trials: int, name: str = "long") -> list[Sample]:
    """Run so many trials of one epoch on two workers; return a sample every few trials."""
    program = hpo.start("run", name, "--workers", 2, "--trials", trials, "--pruner", "none", *WORDS)
    process, samples = psutil.Process(program.process.pid), []
    while program.process.poll() is None:
        with contextlib.suppress(psutil.Error):
            with process.oneshot():
                now = (process.memory_full_info().uss, process.num_fds(), process.num_threads())
            done = program.err.count(" complete ")
            if not samples or done > samples[-1].trials:
                samples.append(Sample(done, *now))
        time.sleep(0.2)
    assert program.ended() == 0, program.err[-1000:]
    record = hpo.study(name)
    assert len(record.trials) == record.n_finished == trials, record.counts
    return samples


def flat(samples: list[Sample], trials: int) -> tuple[list[str], str]:
    """Compare the first hundred trials with the last hundred; return what grew too much, and a line about both.

    Descriptors may not grow at all, threads by the one that waits for publications; of both the least in a hundred counts, since
    a commit opens the database's journal and folder, and a publication some pipes. Memory, the median, may grow by what a trial
    leaves behind on purpose (the mirror keeps its parameters, epochs and attributes for the sampler: LEFT_BY_A_TRIAL) and by
    ALLOCATOR in all: a leaked checkpoint, message queue or connection a trial is more.
    """
    part = min(100, trials // 2)
    first = [s for s in samples if 0 < s.trials <= part]
    last = [s for s in samples if trials - part <= s.trials < trials]  # at the very end the page is written
    a, b = (_of(rows) for rows in (first, last))
    grown, allowed = b.memory - a.memory, ALLOCATOR + LEFT_BY_A_TRIAL * (b.trials - a.trials)
    found = [
        f"{name} grew from {x} to {y}"
        for name, x, y in (("descriptors", a.descriptors, b.descriptors), ("threads", a.threads + 1, b.threads))
        if y > x
    ]
    if grown > allowed:
        found.append(
            f"memory grew by {grown / 2**20:,.1f} MiB over {b.trials - a.trials:.0f} trials; {allowed / 2**20:.1f} are all right"
        )
    line = (
        f"memory {a.memory / 2**20:.1f} MiB, then {b.memory / 2**20:.1f} MiB; "
        f"descriptors {a.descriptors:.0f}, then {b.descriptors:.0f}; threads {a.threads:.0f}, then {b.threads:.0f}"
    )
    return found, line


def _of(samples: list[Sample]) -> Sample:
    trials, memory, descriptors, threads = zip(*samples, strict=True)
    return Sample(statistics.median(trials), statistics.median(memory), min(descriptors), min(threads))


def main() -> int:
    """Run what was asked for and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, kind in (("runners", int), ("orphans", int), ("reader", float), ("trials", int)):
        parser.add_argument(f"--{name}", type=kind, default=0)
    arguments = parser.parse_args()
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        hpo = new_hpo(Path(folder), Path(folder) / "cache")
        if arguments.runners:
            found += told(f"{arguments.runners} second runners refused", runners(hpo, arguments.runners))
        if arguments.orphans:
            bad, seconds = orphans(hpo, arguments.orphans)
            shown = f"{len(seconds)} runners killed; the last process ended after {statistics.median(seconds):.2f} s (median)"
            found += told(f"{shown}, {max(seconds):.2f} s (longest)", bad)
        if arguments.reader:
            bad, seconds = reader(hpo, arguments.reader)
            found += told(f"a reader's lock of {arguments.reader:.0f} s; the run said so after {seconds:.1f} s", bad)
        if arguments.trials:
            bad, line = flat(long_run(hpo, arguments.trials), arguments.trials)
            found += told(f"{arguments.trials} trials: {line}", bad)
        hpo.close()
    return 1 if found else 0


def told(line: str, found: list[str]) -> list[str]:
    """Print how it went."""
    print(f"{line}; {len(found)} violations", *found, sep="\n  ", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
