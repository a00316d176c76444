"""As many workers as the machine can feed: cores, memory, container limits and GPUs are counted.

The machine is made up: psutil's and the kernel's answers are given here, the GPUs by a small program in torch's place.
"""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.errors import DeviceError
from hpo.networks.model import measure
from hpo.pools import devices
from hpo.pools.devices import RESERVE, WORKER_MEMORY, Seat, described, free_memory, n_cores, seats
from hpo.training.memory import training_bytes

GIB = 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Make up a machine: threads, physical cores, threads that this process may use, free bytes, files of its cgroup."""

    def make(threads=8, cores=8, allowed=None, free=64 * GIB, **cgroup):
        monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: threads if logical else cores)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed or threads)), raising=False)
        monkeypatch.setattr(devices, "CGROUP", tmp_path)
        for name, text in cgroup.items():
            (tmp_path / name.replace("_", ".")).write_text(text)

    return make


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Let torch see GPUs of these free bytes."""

    def make(text):
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{text}\n")
        python.chmod(0o755)
        (tmp_path / "nvidia-smi").symlink_to(python)
        monkeypatch.setattr(sys, "executable", str(python))
        monkeypatch.setattr(devices.nvml, "free", lambda _: None)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return make


@pytest.mark.parametrize(
    ("machine_is", "expected"),
    [
        ({"threads": 8, "cores": 8}, 8),
        ({"threads": 8, "cores": 4}, 4),  # hyper-threads train no faster
        ({"threads": 8, "cores": 4, "allowed": 4}, 2),
        ({"threads": 8, "cores": 4, "allowed": 1}, 1),
        ({"threads": 8, "cores": None}, 8),  # some virtual machines do not say
        ({"cpu_max": "200000 100000"}, 2),
        ({"cpu_max": "50000 100000"}, 1),
        ({"cpu_max": "max 100000"}, 8),
        ({"cpu_max": "1600000 100000"}, 8),
        ({"cpu_max": ""}, 8),
    ],
)
def test_cores_are_physical_allowed_and_within_the_quota(machine, machine_is, expected):
    machine(**machine_is)
    assert n_cores() == expected


@pytest.mark.parametrize(
    ("machine_is", "expected"),
    [
        ({}, 64 * GIB),
        ({"memory_max": f"{8 * GIB}\n", "memory_current": f"{3 * GIB}\n"}, 5 * GIB),
        (
            {"memory_max": f"{8 * GIB}\n", "memory_current": f"{7 * GIB}\n", "memory_stat": f"anon 1\ninactive_file {4 * GIB}\n"},
            5 * GIB,  # what it read from files can go
        ),
        ({"memory_max": "max\n", "memory_current": f"{3 * GIB}\n"}, 64 * GIB),
        ({"memory_max": f"{128 * GIB}\n", "memory_current": "0\n"}, 64 * GIB),
        ({"memory_max": f"{GIB}\n", "memory_current": f"{2 * GIB}\n"}, 0),
    ],
)
def test_free_memory_is_the_machines_or_what_the_container_has_left(machine, machine_is, expected):
    machine(**machine_is)
    assert free_memory() == expected


@pytest.mark.parametrize(
    ("machine_is", "count"),
    [
        ({"cores": 8}, 8),
        ({"cores": 8, "free": int(7.5 * WORKER_MEMORY / (1 - RESERVE))}, 4),  # of two cores each: all have work
        ({"cores": 8, "free": int(3.5 * WORKER_MEMORY / (1 - RESERVE))}, 2),
        ({"cores": 8, "free": WORKER_MEMORY // 2}, 1),  # better a worker that may fail than none
        ({"cores": 8, "free": 0}, 1),
        ({"cores": 1, "threads": 1}, 1),
    ],
)
def test_auto_is_a_worker_a_core_and_fewer_where_memory_would_not_suffice(machine, machine_is, count):
    machine(**machine_is)
    planned = seats("auto", "cpu")
    assert len(planned) == count
    assert {seat.device for seat in planned} == {"cpu"}


@pytest.mark.parametrize(("n_cores", "count", "threads"), [(8, 4, 2), (5, 2, 2), (3, 1, 3), (2, 1, 2), (1, 1, 1)])
def test_auto_gives_a_trial_the_cores_that_it_shall_have(machine, n_cores, count, threads):
    machine(cores=n_cores, threads=n_cores)
    planned = seats("auto", "cpu", cores=2)
    assert [seat.threads for seat in planned] == [threads] * count
    assert seats(8, "cpu", cores=2) == seats(8, "cpu")  # a number is kept


def test_a_worker_on_a_cpu_has_the_memory_for_the_largest_network_of_basic():
    space = OBJECTIVE.space("basic")
    ends = {name: max(space.parameters[name].ends()) for name in ("depth", "filters")}
    largest = Config(**space.point(ends)).on(50_000)
    assert training_bytes(measure(largest, 10), largest, torch.device("cpu")) < WORKER_MEMORY - 256 * 2**20  # its libraries


@pytest.mark.parametrize(("workers", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_a_number_of_workers_is_kept_and_shares_cores_and_memory(machine, workers, threads):
    machine(free=10 * GIB)
    share = Seat("cpu", threads, int(10 * GIB * (1 - RESERVE)) // workers)
    assert seats(workers, "cpu") == [share] * workers


def test_auto_takes_every_gpu_that_is_there(machine, gpus):
    machine(threads=2, cores=2)
    gpus(f"echo '[{10 * GIB}, {20 * GIB}]'")
    assert seats("auto", "auto") == [Seat("cuda:0", 1, 9 * GIB), Seat("cuda:1", 1, 18 * GIB)]
    assert seats("auto", "cuda") == seats("auto", "auto")


@pytest.mark.parametrize(
    ("machine_is", "free_on_gpus", "expected"),
    [
        ({}, [80], 4),
        ({}, [80, 80], 8),
        ({}, [7], 2),
        ({}, [1], 1),  # may be enough for a small network
        ({}, [80, 7], 4),  # each gets as many as the smallest can take
        ({"threads": 3, "cores": 3}, [80], 3),
        ({"threads": 1, "cores": 1}, [80, 80], 2),
        ({"free": 11 * GIB}, [80], 3),
    ],
)
def test_auto_lets_up_to_four_workers_share_a_gpu_if_cores_and_memory_suffice(machine, gpus, machine_is, free_on_gpus, expected):
    machine(**machine_is)
    gpus(f"echo '{[gib * GIB for gib in free_on_gpus]}'")
    planned = seats("auto", "auto")
    assert len(planned) == expected
    assert {seat.device for seat in planned} == {f"cuda:{n}" for n in range(len(free_on_gpus))}


def test_workers_that_share_a_gpu_share_its_memory(machine, gpus):
    machine()
    gpus(f"echo '[{10 * GIB}, {20 * GIB}]'")
    assert seats(3, "cuda:1") == [Seat("cuda:1", 2, 6 * GIB)] * 3
    assert [seat.device for seat in seats(4, "cuda:1,cuda:0,cuda:1")] == ["cuda:1", "cuda:0", "cuda:1", "cuda:0"]


def test_the_cpu_can_be_chosen_where_a_gpu_is(machine, gpus):
    machine()
    gpus(f"echo '[{10 * GIB}]'")
    assert {seat.device for seat in seats("auto", "cpu")} == {"cpu"}


@pytest.mark.parametrize("answer", ["echo '[]'", "exit 1", "echo 'no torch' >&2; exit 1", "echo nonsense"])
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused_with_the_way_out(machine, gpus, answer):
    machine()
    gpus(answer)
    assert {seat.device for seat in seats("auto", "auto")} == {"cpu"}
    with pytest.raises(DeviceError, match=r"--device cuda: torch sees no CUDA device here\. Use --device cpu"):
        seats("auto", "cuda")


def test_a_gpu_that_is_not_here_is_refused_with_what_is(machine, gpus):
    machine()
    gpus(f"echo '[{10 * GIB}]'")
    with pytest.raises(DeviceError, match=r"--device cuda:0,cuda:3: this machine has no cuda:3; torch sees 1 CUDA device"):
        seats("auto", "cuda:0,cuda:3")


@pytest.mark.parametrize(
    ("workers", "free_on_gpus", "expected"),
    [
        ("auto", [80], {"cuda:0": 8}),
        ("auto", [80, 80], {"cuda:0": 8, "cuda:1": 8}),
        ("auto", [6], {"cuda:0": 4}),
        ("auto", [1], {"cuda:0": 1}),
        (1, [80, 80], {"cuda:0": 1}),
        (3, [80], {"cuda:0": 3}),
        (5, [80, 80], {"cuda:0": 3, "cuda:1": 2}),
        (20, [80], {"cuda:0": 20}),
    ],
)
def test_where_trials_share_a_process_each_gpu_has_one_and_all_of_its_memory(machine, gpus, workers, free_on_gpus, expected):
    machine()
    gpus(f"echo '{[gib * GIB for gib in free_on_gpus]}'")
    planned = seats(workers, "auto", lanes=True)
    assert {seat.device: seat.lanes for seat in planned} == expected
    assert [seat.memory for seat in planned] == [int(free_on_gpus[0] * GIB * (1 - RESERVE))] * len(expected)
    assert {seat.threads for seat in planned} == {max(1, 8 // sum(expected.values()))}


def test_on_a_cpu_each_worker_has_a_process_in_any_case(machine):
    machine()
    assert seats(4, "cpu", lanes=True) == seats(4, "cpu")


@pytest.mark.parametrize(
    ("planned", "workers", "told"),
    [
        ([Seat("cpu", 1, GIB)], "auto", "1 worker"),
        ([Seat("cpu", 1, GIB)] * 3, 3, "3 workers"),
        ([Seat("cpu", 2, GIB)], "auto", "1 worker on 2 cores"),
        ([Seat("cpu", 4, GIB)] * 2, 2, "2 workers on 4 cores each"),
        ([Seat("cuda:0", 2, GIB)] * 2, 2, "2 workers"),
        ([Seat("cuda:0", 1, GIB, 8)], "auto", "up to 8 at once on cuda:0"),
        ([Seat("cuda:0", 1, GIB, 3), Seat("cuda:1", 1, GIB, 2)], 5, "5 at once on cuda:0 and cuda:1"),
    ],
)
def test_what_trains_is_said_in_words(planned, workers, told):
    assert described(planned, workers) == told
