"""Kill a process that writes one checkpoint after the other, at random moments: what was acknowledged always loads.

python tests/networks/interrupted.py --writes 100
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SIZE = 1 << 18  # numbers of four bytes in each checkpoint: a writing takes some milliseconds
POINTS = ("file.filled", "file.synced", "file.renamed")


def write(folder: Path, epoch: int, point: str, said: Connection) -> None:
    """Write checkpoints for ever, and say each one's epoch once it is saved; die at a failpoint if one is named."""
    import torch

    from hpo.networks import checkpoint
    from hpo.system import failpoints

    if point:
        failpoints._armed[point] = (random.SystemRandom().randint(1, 3), "kill")
    while True:
        epoch += 1
        checkpoint.save(folder, epoch, {"epoch": epoch, "weights": torch.full((SIZE,), float(epoch))})
        said.send(epoch)


def campaign(folder: Path, writes: int, seed: int) -> list[str]:
    """Interrupt as many writings, each going on where the one before was killed; return what was found wrong."""
    import made

    from hpo.networks import checkpoint

    luck = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hpo.networks.checkpoint"])
    found: list[str] = []
    saved = 0
    for attempt in range(writes):
        point = luck.choice(("", "", *POINTS))
        hears, says = context.Pipe(duplex=False)
        writer = context.Process(target=write, args=(folder, saved, point, says), daemon=True)
        writer.start()
        says.close()
        if not point:
            hears.poll(30)  # it has begun
            time.sleep(luck.uniform(0, 0.05))
            writer.kill()
        writer.join(60)
        acknowledged = saved
        try:
            while True:
                acknowledged = hears.recv()
        except EOFError:
            pass
        state = made.newest(folder)
        epoch = state["epoch"] if state else 0
        if epoch not in (acknowledged, acknowledged + 1):  # the one in flight may be there as well
            found.append(f"attempt {attempt}: {acknowledged} was acknowledged, and {epoch} is the newest that loads")
        if state and state["weights"].unique().tolist() != [epoch]:
            found.append(f"attempt {attempt}: epoch {epoch} holds other weights than were saved")
        for path in folder.glob("epoch-*.ckpt"):
            checkpoint.load(path)  # no name that is in place is torn
        saved = epoch
    return found


def main() -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=100)
    writes = parser.parse_args().writes
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder), writes, seed=0)
        left = len(list(Path(folder).glob(".*.tmp")))
    print(f"{writes} interrupted writings, {len(found)} lost, {left} half-written files left, {time.monotonic() - began:.0f} s")
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
