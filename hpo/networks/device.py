"""The one place where devices differ: what is checked and switched on at the start, types, batches, memory."""

from __future__ import annotations

import contextlib
import functools
import gc
import platform
import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from hpo.errors import DeviceError
from hpo.messages import Memory

_SCORING_BATCH = {"cpu": 125, "cuda": 2000}  # images: on a CPU, the activations of larger batches do not fit into the cache
_NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_LOST = (
    "CUDA error: ",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUDNN_STATUS_MAPPING_ERROR",
)
_HARMLESS = (  # errors of one call, after which the device goes on
    "invalid argument",
    "invalid configuration argument",
    "invalid resource handle",
    "no kernel image is available",
    "too many resources requested",
    "stream is capturing",
    "during capture",
    "CUBLAS_STATUS_NOT_SUPPORTED",
    "CUBLAS_STATUS_INVALID_VALUE",
    "CUBLAS_STATUS_ARCH_MISMATCH",
)
CPU_INFO = Path("/proc/cpuinfo")  # Linux's words about each core
DETERMINISTIC = True  # two trainings alike come out alike, bit for bit, on a GPU too; tests/bench/gpu.py measures what it costs
_DATA_SHARE = 0.5  # of the memory that a worker may use on a GPU: pixels that take more stay on the host


def opened(name: str) -> torch.device:
    """Return a device that is ready for training.

    Args:
        name: `cpu` or `cuda:N`.

    Raises:
        DeviceError: It is not here.
    """
    torch.set_flush_denormal(True)
    device = torch.device(name)
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= there:
            raise DeviceError(
                f"device {name} does not exist here: torch {torch.__version__} sees {there} CUDA devices. Use --device cpu."
            )
        torch.cuda.set_device(device)
        torch.backends.cudnn.deterministic = DETERMINISTIC
    return device


def model_name(device: torch.device) -> str:
    """Return what a person calls the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the type that the device multiplies fastest.

    On a CPU without bfloat16 in hardware, bfloat16 is an order of magnitude slower than float32. AMX multiplies it many times as
    fast, AMD's AVX-512 twice; Intel's no faster, so that a training in float32 is 1.4 to 1.5 times as fast there.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    amx, avx = (getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("amx_tile", "avx512_bf16"))
    return torch.bfloat16 if amx or (avx and not _by_intel()) else torch.float32


@functools.cache
def _by_intel() -> bool:
    """Whether the processor says that it is Intel's."""
    try:
        said = CPU_INFO.read_text(encoding="utf-8", errors="replace")[:1000]
    except OSError:
        said = platform.processor()  # on Windows the maker's word too
    return "GenuineIntel" in said


def scoring_batch(device: torch.device) -> int:
    """Return how many images are scored at once."""
    return _SCORING_BATCH.get(device.type, _SCORING_BATCH["cuda"])


def has_fused_optimizers(device: torch.device) -> bool:
    """Whether an optimizer's step can be one kernel."""
    return device.type in ("cpu", "cuda")


def home_of_pixels(device: torch.device, n_bytes: int, memory: int) -> torch.device:
    """Return where a data set's pixels lie: on a CPU mapped from their file; on a GPU there, or on the host if they are too many.

    Args:
        device: That trains on them.
        n_bytes: Of all pixels.
        memory: Bytes of the device that this worker may use.
    """
    return device if device.type == "cpu" or n_bytes <= _DATA_SHARE * memory else torch.device("cpu")


def out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out; on a CPU, and in CUDA's libraries, torch raises a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in str(error) for words in _NO_MEMORY)


def lost(error: Exception) -> bool:
    """Whether an error means that the device computes nothing any more for this process.

    After some errors of a kernel (an illegal access, an assertion), each further call fails with the same one until the process
    ends. They are RuntimeErrors, in newer versions of torch AcceleratorErrors. One that is not known counts as such: a process
    that ends costs an epoch, one that goes on in vain fails trial after trial.
    """
    told = str(error)
    if not isinstance(error, RuntimeError) or out_of_memory(error) or any(words in told for words in _HARMLESS):
        return False
    return type(error).__name__ == "AcceleratorError" or any(words in told for words in _LOST)


def memory(device: torch.device) -> Memory | None:
    """Return what this process has held of a GPU, and could hold; None for a CPU, whose memory nobody shares out so."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return Memory(torch.cuda.max_memory_reserved(device), free + torch.cuda.memory_reserved(device))


def on_host(value: object) -> object:
    """Return a tree of dicts, lists and tensors with all tensors on the host: those of a GPU copied on this thread's stream."""
    copied = _on_host(value)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's
        torch.cuda.current_stream().synchronize()  # of this thread: others train on
    return copied


def _on_host(value: object) -> object:
    match value:
        case torch.Tensor():
            return value.to("cpu", non_blocking=True)  # into memory that the GPU writes by itself
        case dict():
            return {key: _on_host(one) for key, one in value.items()}
        case list() | tuple():
            return type(value)(map(_on_host, value))
        case _:
            return value


class Streams:
    """What threads need that train beside each other on one device: on a GPU a stream each.

    Streams are used again: torch's allocator keeps what was freed for the stream that it was used on.

    Args:
        device: Where they train.
        n: Threads at once.
        collect: Collects garbage: what refers to itself would keep its tensors for long.
    """

    def __init__(self, device: torch.device, n: int, collect: Callable[[], object] = gc.collect) -> None:
        self._device, self._collect = device, collect
        self._free: queue.SimpleQueue[torch.cuda.Stream | None] = queue.SimpleQueue()
        for _ in range(n):
            self._free.put(torch.cuda.Stream(device) if device.type == "cuda" else None)  # type: ignore[no-untyped-call]  # torch's

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Let this thread's work be on a stream of its own; wait for one that is free, and leave no tensors behind."""
        stream = self._free.get()
        try:
            torch.set_flush_denormal(True)  # of this thread
            if stream is None:
                yield
                return
            torch.cuda.set_device(self._device)  # likewise
            stream.wait_stream(torch.cuda.default_stream(self._device))  # where the images were put there
            with torch.cuda.stream(stream):
                yield
            stream.synchronize()
        finally:
            self._collect()
            self._free.put(stream)
