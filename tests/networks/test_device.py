"""What an error of a device means: for the trial alone, or for all that the process would still compute."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref

import pytest
import torch

from hpo.networks.device import Streams, lost, memory, out_of_memory

HINT = """
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""


@pytest.fixture(autouse=True)
def _numbers_as_they_were():
    """What a worker switches on for itself would stay on for the tests of this process."""
    yield
    torch.set_flush_denormal(False)


class AcceleratorError(RuntimeError):
    """As torch 2.9 and later raise."""


@pytest.mark.parametrize(
    "error",
    [
        AcceleratorError("CUDA error: device-side assert triggered" + HINT),
        AcceleratorError("CUDA error: an illegal memory access was encountered" + HINT),
        RuntimeError("CUDA error: unspecified launch failure" + HINT),
        RuntimeError("CUDA error: misaligned address" + HINT),
        RuntimeError("CUDA error: an illegal instruction was encountered" + HINT),
        RuntimeError("CUDA error: uncorrectable ECC error encountered" + HINT),
        RuntimeError("CUDA error: the launch timed out and was terminated" + HINT),
        RuntimeError("CUDA error: unknown error" + HINT),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_MAPPING_ERROR"),
        AcceleratorError("HIP error: an illegal memory access was encountered"),
    ],
    ids=lambda error: str(error)[:50],
)
def test_what_leaves_the_device_in_an_unknown_state_means_that_it_is_lost(error):
    assert lost(error)
    assert not out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.04 GiB is free."
        ),
        RuntimeError("CUDA error: out of memory" + HINT),
        AcceleratorError("CUDA error: out of memory" + HINT),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to …"),
        MemoryError(),
    ],
    ids=lambda error: str(error)[:50],
)
def test_a_lack_of_memory_is_not_the_end_of_a_device(error):
    assert out_of_memory(error)
    assert not lost(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (64x3 and 4x10)"),
        RuntimeError("CUDA error: invalid configuration argument" + HINT),
        RuntimeError("CUDA error: invalid argument" + HINT),
        RuntimeError("CUDA error: operation not permitted when stream is capturing" + HINT),
        RuntimeError("CUDA error: operation failed due to a previous error during capture" + HINT),
        RuntimeError("CUDA error: no kernel image is available for execution on the device" + HINT),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmul`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
        RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
        ValueError("CUDA error: written by somebody"),
    ],
    ids=lambda error: str(error)[:50],
)
def test_an_error_of_one_call_concerns_its_trial_alone(error):
    assert not lost(error)
    assert not out_of_memory(error)


def test_memory_is_measured_on_gpus_alone():
    assert memory(torch.device("cpu")) is None


def test_no_more_trials_than_lanes_train_at_once_and_the_next_waits():
    streams, at_once, most = Streams(torch.device("cpu"), 2), [], []
    entered = threading.Barrier(2)

    def train(first):
        with streams.one():
            at_once.append(first)
            most.append(len(at_once))
            if first:
                entered.wait(10)
            at_once.pop()

    threads = [threading.Thread(target=train, args=(n < 2,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(most) == 4
    assert max(most) == 2


def test_what_refers_to_itself_is_gone_when_a_lane_is_free_again():
    class Net:
        pass

    gc.disable()
    try:
        with Streams(torch.device("cpu"), 1).one():
            net = Net()
            net.self, seen = net, weakref.ref(net)
            del net
            assert seen() is not None
        assert seen() is None
    finally:
        gc.enable()


@pytest.fixture
def cuda(monkeypatch):
    """Stand-ins for what a lane uses of CUDA; returns what was done with them, in order."""
    done = []

    class Stream:
        def __init__(self, device):
            self.device = device

        def wait_stream(self, other):
            done.append(("waits for", other))

        def synchronize(self):
            done.append(("waits", self))

    @contextlib.contextmanager
    def current(stream):
        done.append(("on", stream))
        yield
        done.append(("off", stream))

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", current)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(("device", device)))
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: f"default of {device}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (60, 80))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 15)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 10)
    return done


def test_a_lane_of_a_gpu_works_on_a_stream_of_its_own_after_what_was_put_there(cuda):
    gpu = torch.device("cuda:1")
    streams = Streams(gpu, 1)
    for _ in range(2):
        with streams.one():
            cuda.append("work")
    [device, waits, (on, mine), work, off, ended], again = cuda[:6], cuda[6:]
    assert (device, waits) == (("device", gpu), ("waits for", "default of cuda:1"))
    assert (on, work, off, ended) == ("on", "work", ("off", mine), ("waits", mine))
    assert again == cuda[:6]  # the allocator keeps memory by stream, so the next trial has the same one


def test_a_lane_is_free_again_after_an_error(cuda):
    streams = Streams(torch.device("cuda:0"), 1)
    with pytest.raises(RuntimeError), streams.one():
        raise RuntimeError
    with streams.one():
        cuda.append("work")
    assert "work" in cuda


def test_a_process_could_hold_what_is_free_on_a_gpu_and_what_it_keeps(cuda):
    assert memory(torch.device("cuda:0")) == (15, 70)
    assert cuda == []
