"""Images per second: the tutorial's loop compared with hpo's, for the same network and batch; and hpo's for several networks.

    python tests/bench/throughput.py --data-dir DIR             the tutorial's network, batches of 32, whole machine
    python tests/bench/throughput.py --data-dir DIR --by-net    the networks of `basic`, one thread each, by processor time

In each round all variants are measured one after the other, in new processes: the tutorial's loop on all threads, one hpo
worker with all threads, and one hpo worker of one thread per core. The images of complete batches are counted, from data to
optimizer step, without the first few batches; of several workers, those in the time in which all of them trained. Ratios are
computed within a round. The upper limit is also shown: the rate of a matrix multiplication of 2048 x 2048, divided by the
operations that the network needs. hpo multiplies in bfloat16 where that is faster, and its limit is that of the type it uses.
Batches of `basic` are those of `--images` images.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import tutorial

from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.data.datasets import load
from hpo.networks.device import fast_dtype, scoring_batch
from hpo.pools.devices import n_cores
from hpo.pools.local import environment
from hpo.training.batches import Images
from hpo.training.train import Training

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = torch.device("cpu")
WARM_UP = 10  # batches that are not counted
EDGE = 2048  # of the matrices
OPERATIONS = 85e6  # for training the tutorial's network on one image


class Job(NamedTuple):
    """The work of one process."""

    data_dir: Path
    images: int
    threads: int
    space: str | None = None  # None: the tutorial's own loop
    point: dict[str, Any] = {}  # noqa: RUF012  # never changed


class Times(NamedTuple):
    """The times at which batches ended, seconds; the first one only starts the count."""

    batch: int  # images
    clock: list[float]  # the same for all processes
    processor: list[float]


def train(job: Job) -> Times:
    """Train for one epoch, whose images are those to be counted and the first few."""
    torch.set_num_threads(job.threads)
    data = load("cifar10", job.data_dir)
    config = Config(**OBJECTIVE.space(job.space or "tutorial").point(job.point)).on(job.images)
    batch = config.batch_size
    n_images = (WARM_UP + max(1, job.images // batch)) * batch
    chosen = np.random.default_rng(0).permutation(len(data.train))[:n_images]
    if job.space:
        torch.set_flush_denormal(True)
        score = Images.of(data.test.images, data.test.labels, np.arange(scoring_batch(CPU)), CPU)
        training = Training(config, Images.of(data.train.images, data.train.labels, chosen, CPU), score, 10, 1, seed=0)
        optimizer: torch.optim.Optimizer = training.optimizer
    else:
        model, loader = tutorial.network(), tutorial.batches(data.train, chosen, shuffle=True)
        optimizer = tutorial.sgd(model)
    done: list[tuple[float, float]] = []
    optimizer.register_step_post_hook(lambda *_: done.append((time.monotonic(), time.process_time())))
    if job.space:
        next(training.epochs())
    else:
        tutorial.train(model, loader, optimizer)
    clock, processor = zip(*done[WARM_UP - 1 :], strict=True)
    return Times(batch, list(clock), list(processor))


def multiply(threads: int) -> dict[torch.dtype, float]:
    """Return the operations per second of a matrix multiplication."""
    torch.set_num_threads(threads)
    reached = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.randn(EDGE, EDGE).to(dtype)
        seconds: list[float] = []
        while len(seconds) < 3 or sum(seconds) < 1:
            began = time.perf_counter()
            matrix @ matrix
            seconds.append(time.perf_counter() - began)
        reached[dtype] = 2 * EDGE**3 / statistics.median(seconds)
    return reached


def together(do: Callable[[Any], Any], *jobs: object) -> list[Any]:
    """Do jobs at the same time, each in a new process; hpo's jobs in the environment of its workers."""
    context = multiprocessing.get_context("spawn")
    everyone = context.Barrier(len(jobs))
    before = dict(os.environ)
    if isinstance(jobs[0], Job) and jobs[0].space:
        os.environ.update(environment(jobs[0].threads))
    try:
        pool = context.Pool(len(jobs), initializer=everyone.wait)
    finally:
        os.environ.clear()
        os.environ.update(before)
    with pool:
        return pool.map(do, jobs, chunksize=1)


def on_the_clock(workers: list[Times]) -> float:
    """Return the images per second of all workers, in the time in which all of them trained."""
    began, ended = max(times.clock[0] for times in workers), min(times.clock[-1] for times in workers)
    return sum(times.batch for times in workers for done in times.clock if began < done <= ended) / (ended - began)


def on_the_processor(times: Times) -> float:
    """Return images per second of processor time."""
    return times.batch * (len(times.processor) - 1) / (times.processor[-1] - times.processor[0])


def spread(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def machine() -> str:
    """Describe the machine."""
    from hpo.runner.provenance import _processor  # here: processes that train do without Optuna

    wide = [name for name in ("avx512", "avx512_bf16", "amx_tile") if getattr(torch.cpu, f"_is_{name}_supported", bool)()]
    return f"{n_cores()} cores, {_processor()} ({', '.join(wide) or 'no avx512'}), torch {torch.__version__}"


def compare(data_dir: Path, images: int, rounds: int) -> None:
    cores = n_cores()
    base = f"the tutorial's loop, threads: {cores}"
    variants = {
        base: [Job(data_dir, images, cores)],
        f"hpo, one worker, threads: {cores}": [Job(data_dir, images, cores, "tutorial")],
        f"hpo, workers of one thread: {cores}": cores * [Job(data_dir, images, 1, "tutorial")],
    }
    rates: dict[str, list[float]] = {name: [] for name in variants}
    walls = []
    for _ in range(rounds):
        for name, jobs in variants.items():
            rates[name].append(on_the_clock(together(train, *jobs)))
        walls += together(multiply, cores)
    print(f"the tutorial's network, batches of {tutorial.BATCH}; images/s, median (least to most) of {rounds} rounds")
    for name, mine in rates.items():
        ratios = [one / other for one, other in zip(mine, rates[base], strict=True)]
        print(f"{name:40} {spread(mine):>28}" + (f"   {spread(ratios, 2)} times the tutorial's" if name != base else ""))
    for dtype in walls[0]:
        reached = [wall[dtype] for wall in walls]
        used = "   what hpo multiplies in here" if dtype == fast_dtype(CPU) else ""
        name = f"wall in {str(dtype).removeprefix('torch.')}: {statistics.median(reached) / 1e9:,.0f} GFLOP/s"
        print(f"{name:40} {spread([one / OPERATIONS for one in reached]):>28}{used}")


def by_net(data_dir: Path, images: int, rounds: int, nets: list[tuple[int, int]]) -> None:
    rates: dict[tuple[int, int], list[float]] = {net: [] for net in nets}
    for _ in range(rounds):
        for depth, filters in nets:
            [times] = together(train, Job(data_dir, images, 1, "basic", {"depth": depth, "filters": filters}))
            rates[depth, filters].append(on_the_processor(times))
    print(f"hpo, networks of `basic`, one thread; images per second of processor time, median (least to most) of {rounds} rounds")
    for (depth, filters), mine in rates.items():
        print(f"depth {depth}  filters {filters:2} {spread(mine):>28}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("HPO_DATA_DIR", "data")))
    parser.add_argument("--images", type=int, default=4000, help="of a process and round, to be counted")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--by-net", action="store_true", help="hpo alone, by network")
    parser.add_argument("--depth", type=int, nargs="+", default=[2, 3, 4], help="of these networks")
    parser.add_argument("--filters", type=int, nargs="+", default=[16, 32, 48, 64], help="of these networks")
    options = parser.parse_args()
    load("cifar10", options.data_dir)  # decodes the images once
    print(f"{machine()}, load {os.getloadavg()[0]:.1f} before", flush=True)
    if options.by_net:
        nets = [(depth, filters) for depth in options.depth for filters in options.filters]
        by_net(options.data_dir, options.images, options.rounds, nets)
    else:
        compare(options.data_dir, options.images, options.rounds)


if __name__ == "__main__":
    main()
