"""The number of workers, their devices, and the threads and memory of each.

Nothing here imports torch: the driver is asked for GPUs, and where its answer is not certain, a short-lived process asks torch.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil

from hpo.errors import DeviceError
from hpo.pools import nvml
from hpo.system.children import python

WORKER_MEMORY = 1700 * 2**20  # bytes that a worker on a CPU needs: torch's libraries, `basic`'s largest network, its activations
SHARING = 4  # maximum of processes per GPU, which would be idle between the kernels of one small network
LANES = 8  # maximum of trials at once in one process of a GPU: see runner/lanes.py, which finds out how many pay
LANE_MEMORY = 2**30  # bytes of a GPU that a small network in training needs
GPU_WORKER_MEMORY = 3 * 2**30  # bytes that a worker on a GPU needs, on the GPU and on the host
RESERVE = 0.1  # share of the free memory that is left to other programs
CGROUP = Path("/sys/fs/cgroup")  # a container's limits

_PROBE = """
import json, torch
there = torch.cuda.is_available()
print(json.dumps([torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())] if there else []))
"""


class Seat(NamedTuple):
    """A place for one process."""

    device: str  # "cpu" or "cuda:N"
    threads: int
    memory: int  # bytes of the device that its trainings may use
    lanes: int = 1  # trials that it may train at once


def seats(workers: int | str, device: str, *, lanes: bool = False, cores: int = 1) -> list[Seat]:
    """Plan the processes of this machine.

    Args:
        workers: Trials at once, or "auto": one per core or two, or up to eight per GPU; fewer if cores or memory do not suffice.
        device: "auto", "cpu", "cuda" or "cuda:0,cuda:1".
        lanes: Whether one process can train several trials. Each GPU has one process then; else up to four.
        cores: That "auto" gives to a trial on a CPU, as far as there are so many.

    Raises:
        DeviceError: The requested GPU does not exist here.
    """
    if device != "cpu":
        gpus = _gpus() if device != "auto" or _gpu_likely() else []
        if gpus:
            return (_in_lanes if lanes else _on_gpus)(workers, _chosen(device, gpus), gpus)
        if device != "auto":
            raise DeviceError(
                f"--device {device}: torch sees no CUDA device here. Use --device cpu, or a torch built for your GPU."
            )
    there, memory = n_cores(), int(free_memory() * (1 - RESERVE))
    cores = max(cores, math.ceil(there / max(1, memory // WORKER_MEMORY)))  # where memory is short, more for each trial
    count = int(workers) if workers != "auto" else max(1, there // cores)
    return [Seat("cpu", max(1, there // count), memory // count)] * count


def _in_lanes(workers: int | str, chosen: list[int], gpus: list[int]) -> list[Seat]:
    used = chosen if workers == "auto" else chosen[: int(workers)]
    memory = [int(gpus[gpu] * (1 - RESERVE)) for gpu in used]
    if workers == "auto":  # they begin with two, and are doubled
        lanes = [next((n for n in (LANES, 4, 2) if n * LANE_MEMORY <= free), 1) for free in memory]
    else:
        lanes = [(int(workers) + len(used) - 1 - place) // len(used) for place in range(len(used))]
    threads = max(1, n_cores() // sum(lanes))
    return [Seat(f"cuda:{gpu}", threads, free, n) for gpu, free, n in zip(used, memory, lanes, strict=True)]


def described(planned: list[Seat], workers: int | str) -> str:
    """Return how many trials train at once, and where: `2 workers`, `1 worker on 2 cores`, `up to 8 at once on cuda:0`."""
    n, threads = sum(seat.lanes for seat in planned), planned[0].threads
    if all(seat.lanes == 1 for seat in planned):
        on_cores = f" on {threads} cores{' each' if n > 1 else ''}" if planned[0].device == "cpu" and threads > 1 else ""
        return f"{n} worker{'s' if n != 1 else ''}{on_cores}"
    return f"{'up to ' if workers == 'auto' else ''}{n} at once on {' and '.join(seat.device for seat in planned)}"


def _on_gpus(workers: int | str, chosen: list[int], gpus: list[int]) -> list[Seat]:
    count = int(workers) if workers != "auto" else len(chosen) * _sharing(min(gpus[gpu] for gpu in chosen), len(chosen))
    sharing = -(-count // len(chosen))  # workers on one GPU
    threads = max(1, n_cores() // count)
    placed = [chosen[index % len(chosen)] for index in range(count)]
    return [Seat(f"cuda:{gpu}", threads, int(gpus[gpu] * (1 - RESERVE)) // sharing) for gpu in placed]


def _sharing(memory: int, n_gpus: int) -> int:
    """Return the number of processes per GPU; `memory` is the free memory, in bytes, of the smallest GPU.

    On an H100, four of them train `basic`'s default network, kernel by kernel, at 3.7 times the images per second of one, and
    eight at 5.4 times. But a search learns less when more trials are trained at the same time.
    """
    on_host = int(free_memory() * (1 - RESERVE)) // n_gpus
    return max(1, min(SHARING, n_cores() // n_gpus, min(memory, on_host) // GPU_WORKER_MEMORY))


def _chosen(device: str, gpus: list[int]) -> list[int]:
    if device in ("auto", "cuda"):
        return list(range(len(gpus)))
    chosen = [int(name.removeprefix("cuda:")) for name in device.split(",")]
    for gpu in chosen:
        if gpu >= len(gpus):
            raise DeviceError(
                f"--device {device}: this machine has no cuda:{gpu}; torch sees {len(gpus)} CUDA device(s), from cuda:0."
            )
    return list(dict.fromkeys(chosen))


def _gpu_likely() -> bool:
    return shutil.which("nvidia-smi") is not None or any(Path("/dev").glob("nvidia[0-9]*")) or sys.platform == "win32"


def _gpus() -> list[int]:
    """Return the free memory of each CUDA device, bytes, as torch numbers them."""
    if (told := nvml.free(os.environ)) is not None:
        return told
    try:
        probe = subprocess.run(python(_PROBE), capture_output=True, timeout=120, check=False)  # noqa: S603  # our own text
        found: list[int] = json.loads(probe.stdout or b"[]")
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []
    return found


def n_cores() -> int:
    """Return the number of physical cores that this process may use, considering affinity, hyper-threads and cgroup quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    logical, physical = psutil.cpu_count() or 1, psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    cores = max(1, allowed * physical // logical)
    quota = _cgroup("cpu.max")
    if quota and quota[0].isdecimal():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def free_memory() -> int:
    """Return the bytes that are free for new processes, considering a cgroup's limit."""
    free = int(psutil.virtual_memory().available)
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit and used and limit[0].isdecimal():
        stat = _cgroup("memory.stat")  # alternating names and numbers
        cache = int(dict(zip(stat[::2], stat[1::2], strict=False)).get("inactive_file", 0))  # can be reclaimed
        free = min(free, max(0, int(limit[0]) - int(used[0]) + cache))
    return free


def _cgroup(name: str) -> list[str]:
    try:
        return (CGROUP / name).read_text().split()
    except OSError:
        return []
