"""What a captured step uses of CUDA: a stream per thread, graphs, and marks of how far the device is.

    step.py knows only `Gpu`; a test puts a stand-in there, whose graphs call again what they were captured from

Several trainings may live in the threads of one process. So nothing here uses the default stream, which they would share, and
captures are made one at a time, in a thread of their own. cuDNN remembers by thread which algorithms it has chosen for a shape:
in that thread a shape is searched for once per process. A replay takes the lock of the captures too, because all graphs share
torch's own generator, which must not be asked for numbers while it is captured (torch before 2.11).
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

_LOCK = threading.RLock()  # of captures and replays; a garbage collection may release a graph while this thread holds it
_CAPTURES = ThreadPoolExecutor(1, thread_name_prefix="capture")


class Graph(Protocol):
    """Work that was captured."""

    def replay(self) -> None:
        """Do the work again, on the values that are now where they were."""

    def release(self) -> None:
        """Give its memory back."""


class Mark(Protocol):
    """A point in the work of a device."""

    def wait(self) -> float:
        """Wait until the device is there; return the value that was to be seen there."""


class Gpu(Protocol):
    """A device that works behind the host's back."""

    def alone(self, do: Callable[[], T], *, search: bool) -> T:
        """Do something while no other training captures; `search`: for the fastest algorithms of new shapes."""

    def capture(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Graph:
        """Capture some work, which is not done now. The numbers of `generators` are new in each replay."""

    def mark(self, value: Tensor) -> Mark:
        """Mark the work so far, and have a value copied to the host there."""

    def searching(self, on: bool) -> contextlib.AbstractContextManager[None]:
        """Search for the fastest algorithms of new shapes, or take what is known to be good."""


def own_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream that this thread works on: the first time a new one, since a thread begins with the default one."""
    torch.cuda.set_device(device)
    stream = torch.cuda.current_stream(device)
    if stream == torch.cuda.default_stream(device):
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's stubs
        stream.wait_stream(torch.cuda.default_stream(device))
        torch.cuda.set_stream(stream)
    return stream


class Cuda:
    """The GPU that this thread's training is on."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, own_stream(device)
        self._scratch = torch.zeros((), device=device)

    def alone(self, do: Callable[[], T], *, search: bool) -> T:
        """Do something in the thread that captures, on this training's stream."""

        def on_stream() -> T:
            with torch.cuda.stream(self.stream), self.searching(search):
                return do()

        return _CAPTURES.submit(on_stream).result()

    def capture(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Graph:
        """Capture some work, to be called in `alone`; if memory runs out, once more without what the allocator keeps."""
        try:
            return self._captured(work, generators)
        except torch.OutOfMemoryError:
            pass  # the error holds tensors
        torch.cuda.empty_cache()
        return self._captured(work, generators)

    def _captured(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Graph:
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        with _LOCK, _no_collection():
            for generator in generators:
                graph.register_generator_state(generator)
            try:
                graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                work()
                graph.capture_end()
            except BaseException:
                self._mend(graph, pool, generators)
                raise
        return _CudaGraph(graph)

    def _mend(self, graph: torch.cuda.CUDAGraph, pool: tuple[int, int], generators: Sequence[torch.Generator]) -> None:
        """End a capture that failed, so that allocator and generators are as after one that succeeded."""
        index = torch.cuda.current_device()
        try:
            graph.capture_end()
        except RuntimeError:
            with contextlib.suppress(RuntimeError, AttributeError):  # the second only where torch has not done the first
                torch._C._cuda_endAllocateToPool(index, pool)  # noqa: SLF001
                torch._C._cuda_releasePool(index, pool)  # noqa: SLF001
        with contextlib.suppress(RuntimeError):
            graph.reset()
        blank = torch.cuda.CUDAGraph()
        for generator in generators:  # one that was being captured draws nothing until a capture ends well
            blank.register_generator_state(generator)
        blank.capture_begin(capture_error_mode="thread_local")
        self._scratch.add_(1)
        blank.capture_end()
        blank.reset()

    def mark(self, value: Tensor) -> Mark:
        """Mark the work on this thread's stream."""
        seen = torch.empty((), dtype=value.dtype, pin_memory=True)
        seen.copy_(value, non_blocking=True)
        # A thread that waits leaves its core to others.
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch's stubs
        event.record()
        return _CudaMark(event, seen)

    @contextlib.contextmanager
    def searching(self, on: bool) -> Iterator[None]:
        """Switch cuDNN's search on, for the whole process, as torch has it."""
        torch.backends.cudnn.benchmark = on
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = False


class _CudaGraph:
    def __init__(self, graph: torch.cuda.CUDAGraph) -> None:
        self._graph = graph

    def replay(self) -> None:
        with _LOCK:
            self._graph.replay()

    def release(self) -> None:
        with _LOCK:
            self._graph.reset()


class _CudaMark:
    def __init__(self, event: torch.cuda.Event, seen: Tensor) -> None:
        self._event, self._seen = event, seen

    def wait(self) -> float:
        self._event.synchronize()
        return float(self._seen)


def collect() -> None:
    """Collect garbage, among it graphs of trainings that are over, while nobody captures."""
    with _LOCK:
        gc.collect()


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Let no garbage be collected: a graph or an event in it, destroyed during a capture, would spoil the capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
