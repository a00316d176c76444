"""What one's own training code pays for being searched: the tutorial's loop by hand and by --train; a program by --command.

    python tests/bench/own.py

The loop runs in turns, by hand and by hpo: images per second, training and scoring, of all epochs but the first. A program that
only prints one epoch is run by hand, one after the other, and as trials: milliseconds per trial on top, starts of hpo left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tutorial import batches, network, score, sgd
from tutorial import train as train_epoch

import hpo
from hpo.data import datasets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hpo.data.datasets import DataSet

space = hpo.space(lr=hpo.log(1e-4, 1e-1, default=1e-3))
objective = hpo.maximize("accuracy", share=True)


def train(config: Any, data: DataSet, resume: Any) -> Iterator[hpo.Epoch]:  # as hpo gives them
    """Train the tutorial's network by the tutorial's loop."""
    model = network()
    optimizer = sgd(model, config.lr)
    if resume:
        model.load_state_dict(resume["model"])
        optimizer.load_state_dict(resume["optimizer"])
    loaders = [batches(split, np.arange(len(split)), shuffle=split is data.train) for split in (data.train, data.test)]
    for _ in range(config.epochs):
        train_epoch(model, loaders[0], optimizer)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        yield hpo.Epoch(score(model, loaders[1]), state=state)


def by_hand(n_train: int, n_test: int, epochs: int) -> None:
    """Print the seconds of each epoch of the same loop."""
    data = datasets.load("cifar10", Path(os.environ["HPO_DATA_DIR"]))
    model = network()
    optimizer = sgd(model)
    chosen = [datasets.take(split.labels, n, seed=0) for split, n in ((data.train, n_train), (data.test, n_test))]
    loaders = [batches(data.train, chosen[0], shuffle=True), batches(data.test, chosen[1], shuffle=False)]
    torch.manual_seed(0)
    for _ in range(epochs):
        began = time.perf_counter()
        train_epoch(model, loaders[0], optimizer)
        score(model, loaders[1])
        print(time.perf_counter() - began, flush=True)


def hand(arguments: argparse.Namespace) -> list[float]:
    """Return the seconds of the epochs by hand."""
    words = [__file__, "--by-hand", "--images", str(arguments.images), "--epochs", str(arguments.epochs)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()][1:]


def searched(arguments: argparse.Namespace, folder: Path, name: str) -> list[float]:
    """Return the seconds of the epochs by hpo."""
    times: list[float] = []

    class Watcher(hpo.Watcher):
        def epoch(self, _board: object, _trial: object, epoch: Any) -> None:
            times.append(epoch.seconds)

    settings = hpo.Settings(
        dataset="cifar10", limit_train=arguments.images, limit_test=arguments.images // 8, epochs=arguments.epochs
    )
    options = hpo.RunOptions(trials=1, workers=1, device="cpu")
    hpo.run(name, train=__file__, settings=settings, options=options, storage=str(folder / "hpo.db"), watcher=Watcher())
    return times[1:]


def per_trial(folder: Path, n: int) -> float:
    """Return the seconds of a run of n trials of a program."""
    (folder / "own.toml").write_text("x = { type = 'float', low = 0.0, high = 1.0, default = 0.5 }\n")
    command = '/bin/sh -c \'echo "{{\\"epoch\\": 1, \\"accuracy\\": 0.5}}"\' {x}'
    began = time.perf_counter()
    options = hpo.RunOptions(trials=n, workers=1, device="cpu")
    hpo.run(
        f"n{n}",
        command=command,
        space=str(folder / "own.toml"),
        settings=hpo.Settings(epochs=1, sampler="random"),
        options=options,
        storage=str(folder / f"{n}.db"),
    )
    return time.perf_counter() - began


def started(n: int) -> float:
    """Return the seconds of starting the program n times."""
    began = time.perf_counter()
    for _ in range(n):
        subprocess.run(["/bin/sh", "-c", "echo '{}'", "0.5"], capture_output=True, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=60, help="of the program, beyond the first 10")
    parser.add_argument("--by-hand", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.by_hand:
        by_hand(arguments.images, arguments.images // 8, arguments.epochs)
        return
    ratios, speeds = [], {"by hand": [], "by hpo": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(arguments.rounds):
            one, other = (statistics.median(times) for times in (hand(arguments), searched(arguments, folder, f"round-{i}")))
            speeds["by hand"].append(arguments.images / one)
            speeds["by hpo"].append(arguments.images / other)
            ratios.append(one / other)
        for what, values in speeds.items():
            print(f"{what}: {statistics.median(values):,.0f} images/s ({min(values):,.0f} to {max(values):,.0f})")
        print(f"ratio: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
        costs = []
        for i in range(arguments.rounds):
            (folder / str(i)).mkdir()
            few, many = per_trial(folder / str(i), 10), per_trial(folder / str(i), 10 + arguments.trials)
            costs.append(1000 * (many - few - started(arguments.trials)) / arguments.trials)
        print(f"program: {statistics.median(costs):.1f} ms per trial on top ({min(costs):.1f} to {max(costs):.1f})")


if __name__ == "__main__":
    main()
