"""Record learning curves of random points of the `basic` space: the table that replay.py answers from.

    python tests/bench/curves.py --data-dir DIR --points 128 --out tests/data/curves.csv

This uses CIFAR-10's pixels and hpo's trainer, but fewer images, so that a hundred trainings fit into an hour: `--images`
training images for `--epochs` epochs, scored on 2,000 images held out from the training set; the test set is not read. Batches
have 32 images, and learning rates are a quarter of the point's, so that an epoch still has a hundred steps. `--batch 128`
trains as hpo does. `--dataset digits` scores on its 360 test images, since so few images cannot be split again. One process
per core, one thread each. Points that are in the file already are skipped, so the command continues where it was stopped.

Columns: point, its parameters, `seconds` (mean processor time per epoch, training and scoring), `q1` and `q2` (accuracy after
a quarter and a half of the first epoch), `e1` to `eN` (after each epoch; empty from the epoch in which the loss was not finite).
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

import numpy as np
import torch

from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.data.datasets import MIRRORABLE, load
from hpo.parameters import FloatRange, IntRange
from hpo.settings import Settings
from hpo.training.task import Task
from hpo.training.train import DivergedError, Training

SCORED = 2000
BATCH = 32
EARLY = {"q1": 0.25, "q2": 0.5}


def points(space, n: int, seed: int) -> list[dict[str, float]]:
    """Return n points, uniform in each range, or in its logarithm if the range is logarithmic."""
    return [
        {name: draw(np.random.default_rng((seed, i, k)), p) for k, (name, p) in enumerate(space.varied.items())} for i in range(n)
    ]


def draw(rng: np.random.Generator, parameter: IntRange | FloatRange) -> float:
    """Return one value of a range."""
    low, high = parameter.low, parameter.high
    if isinstance(parameter, IntRange):
        step = parameter.step or 1
        return int(low + step * rng.integers((high - low) // step + 1))
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))) if parameter.log else rng.uniform(low, high):.4g}")


def record(job: tuple[int, dict[str, float], Settings, Path, int]) -> dict[str, object]:
    """Train one point and return its row."""
    number, point, settings, data_dir, batch = job
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    task = Task.of(settings, load(settings.dataset, data_dir), torch.device("cpu"), memory=2**40)
    config = Config(**OBJECTIVE.space("basic").point(point)).on(len(task.train))
    config = config.model_copy(update={"batch_size": batch, "lr": config.lr * batch / config.batch_size})
    if settings.dataset not in MIRRORABLE:
        config = config.model_copy(update={"flip": False, "tta": False})
    training = Training(config, task.train, task.score, len(task.classes), settings.epochs, seed=number)
    row: dict[str, object] = {"point": number, **point}

    def early(epoch: int, share: float, _images_per_second: float) -> None:
        for name, at in EARLY.items():
            if epoch == 1 and name not in row and share >= at:
                row[name] = f"{training.scores()[1]:.4f}"
                training.net.train()

    began, n_epochs = time.process_time(), 0
    try:
        for epoch in training.epochs(early):
            row[f"e{epoch.number}"] = f"{epoch.score:.4f}"
            n_epochs = epoch.number
    except DivergedError:
        n_epochs += 1
    row["seconds"] = f"{(time.process_time() - began) / n_epochs:.2f}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("HPO_DATA_DIR", "data")))
    parser.add_argument("--points", type=int, default=128)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    space = OBJECTIVE.space("basic")
    images = {"score": "validation", "limit_train": options.images, "limit_test": SCORED} if options.dataset == "cifar10" else {}
    settings = Settings(dataset=options.dataset, epochs=options.epochs, **images)
    columns = ["point", *space.varied, "seconds", *EARLY, *(f"e{epoch}" for epoch in range(1, options.epochs + 1))]
    rows = list(csv.DictReader(options.out.read_text().splitlines())) if options.out.exists() else []
    known = {int(row["point"]) for row in rows}
    jobs = [
        (number, point, settings, options.data_dir, options.batch)
        for number, point in enumerate(points(space, options.points, options.seed))
        if number not in known
    ]
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool, options.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if not known:
            writer.writeheader()
        for done, row in enumerate(pool.imap_unordered(record, jobs), 1):
            writer.writerow(row)
            file.flush()
            last = row.get(f"e{options.epochs}", "diverged")
            print(f"{done}/{len(jobs)} point {row['point']}: {last}, {row['seconds']} s an epoch", flush=True)


if __name__ == "__main__":
    main()
