"""Fill a small disk in the middle of runs, make space, go on, and hold the database against what was acknowledged.

python tests/disk.py        ten fill levels, as root (it mounts a tmpfs)
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from running import DIGITS
from survival import EPOCHS, compare, new_hpo

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 256 * 2**20  # bytes; a run wants 200 MB free before it begins
LEVELS = (0, 4096, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288, 2**20, 2**22)  # bytes left to a run
TRIALS = 10
RUN = ("--epochs", EPOCHS, "--space", "quick.toml", "-v", *DIGITS)


class RefusedError(Exception):
    """This system lets us mount nothing."""


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a tmpfs for as long as it is needed.

    Raises:
        RefusedError: Not root, or a container without the right to mount.
    """
    with tempfile.TemporaryDirectory() as place:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], capture_output=True, text=True)
        if mounted.returncode != 0:
            raise RefusedError(mounted.stderr.strip())
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, left: int) -> Path:
    """Leave so many bytes free, by a file that is returned; runs that go on writing get what is left."""
    filler = disk / f"filler-{left}"
    with filler.open("wb") as file:
        while (free := shutil.disk_usage(disk).free - left) >= 4096:
            with contextlib.suppress(OSError):  # the run was quicker
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)
    return filler


def campaign(disk: Path, logs: Path, levels: tuple[int, ...], seed: int = 0) -> list[tuple[int, int, str, list[str]]]:
    """Return for each level: bytes left, exit code on the full disk, what was said of it, violations after the continuation."""
    luck = random.Random(seed)
    hpo = new_hpo(logs, logs / "cache")
    outcomes = []
    try:
        hpo("run", "warm", *RUN, "--trials", 1, "--workers", 1)  # decodes the data
        for left in levels:
            words = ("run", "full", "--workers", luck.choice((1, 2)), *RUN, "--trials", TRIALS)
            words = (*words, "--storage", disk / f"{left}" / "hpo.db")
            first = hpo.start(*words).says("trial 0 epoch 1/")
            time.sleep(luck.uniform(0, 2))
            filler = fill(disk, left)
            code = first.ended(120)
            filler.unlink()
            second = hpo(*words)
            found = [f"exit code {second.ended()} after space was made: {second.err[-300:]}"] if second.ended() != 0 else []
            found += compare(hpo.study("full", str(disk / f"{left}" / "hpo.db")), first.err + second.err, TRIALS)
            outcomes.append((left, code, first.err.splitlines()[-1] if code else "", found))
            shutil.rmtree(disk / f"{left}")
    finally:
        hpo.close()
    return outcomes


def main() -> int:
    """Run all levels and print a line for each."""
    bad = 0
    with small_disk() as disk, tempfile.TemporaryDirectory() as logs:
        for left, code, said, found in campaign(disk, Path(logs), LEVELS):
            print(f"{left:>9,} bytes left: exit code {code}, {len(found)} violations  {said}", *found, sep="\n  ", flush=True)
            bad += len(found) + (code not in (0, 4))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
