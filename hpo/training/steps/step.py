"""A training step behind one small interface: kernel by kernel (`Eager`), or captured whole in a CUDA graph (`Captured`).

    steps = begun(work, gpu, …)
    for number in epochs:
        for index, images in enumerate(steps.begin(number)):     the epoch's tables, once
            steps.run(index)                                     batch, forward, backward, optimizer, rate, sum of losses, average

A captured step is one launch per batch instead of a hundred: six times as many images per second at batch 128 (H100, torch 2.11).
It reads the epoch's tables, the learning rates and its own number from tensors on the device, which stay where they are. The
batch that is smaller than the others, or has one image more, is trained eagerly. What cannot be captured is trained eagerly as
well, and `said` tells why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hpo.networks.device import out_of_memory
from hpo.training.steps.eager import Eager, Work

if TYPE_CHECKING:
    from hpo.training.steps.cuda import Gpu, Graph
    from hpo.training.steps.tables import Tables

WARM_UPS = 3  # steps before a capture: kernels are loaded, algorithms chosen, the optimizer's state is made
LEAST = 40  # steps: fewer are done before a capture has paid for itself
SEARCH_FROM = 20.0  # seconds of training: a search takes 1 to 2.5 s per shape, and has to win that back
EAGER_STEP, CAPTURED_STEP = 5e-3, 4e-4  # seconds: what a step takes at least, on an H100
MACS = 1e14  # multiply-adds per second at most, there


def begun(work: Work, device: torch.device, gpu: Gpu | None, first: int, why_not: str) -> Eager:
    """Return the steps of a training, captured where that is possible and pays.

    Args:
        work: What they do.
        device: Where.
        gpu: The same, where it is one.
        first: The epoch to begin with.
        why_not: Why they cannot be captured; empty: they may be.
    """
    if gpu is None:
        return Eager(work, device, None)
    n_left = work.n_steps * (work.n_epochs - first + 1)
    if not why_not and n_left < LEAST:
        why_not = f"fewer than {LEAST} steps are left"
    if not why_not:
        captured = Captured(work, device, gpu, work.tables(first))
        why_not = captured.record(first, search=search_pays(n_left, work.macs, CAPTURED_STEP))
        if not why_not:
            return captured
    search = search_pays(n_left, work.macs, EAGER_STEP)
    return Eager(work, device, gpu, search=search, said=f"step: eager, because {why_not}.")


def search_pays(n_steps: int, macs: int, least: float) -> bool:
    """Whether a search for the fastest algorithms saves more than it takes.

    Args:
        n_steps: Of the training.
        macs: Multiply-adds of each.
        least: Seconds that a step takes at least.
    """
    return n_steps * max(least, 3 * macs / MACS) >= SEARCH_FROM  # forward, and backward to inputs and to weights


class Captured(Eager):
    """Steps of whole batches as replays of one graph, updates of the running average as replays of another.

    All that the graphs read and write are attributes of this object, of the training or of its network: memory that nothing
    refers to would be given to others, and a graph would read what they write.

    Args:
        tables: Those of the first epoch, which become the graph's own.
    """

    def __init__(self, work: Work, device: torch.device, gpu: Gpu, tables: Tables) -> None:
        super().__init__(work, device, gpu)
        self._tables = tables
        n = max(1, len(tables.order) // tables.size)
        self._place = torch.arange(tables.size, device=device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._table = torch.zeros(n, len(work.groups), device=device)
        self._rate = torch.zeros(1, len(work.groups), device=device)
        self._weights = torch.zeros(n + 2, device=device)
        self._update = torch.zeros(1, dtype=torch.int64, device=device)
        self._weight = torch.zeros(1, device=device)
        self._blended = work.average.pairs(work.part) if work.average else None
        self._graph: Graph | None = None
        self._averaging: Graph | None = None

    def _take(self, tables: Tables) -> None:
        self._tables.take(tables)

    def begin(self, number: int) -> list[int]:
        """Draw an epoch, into the tables that the graphs read."""
        sizes = super().begin(number)
        whole = len(self._table)
        self._table.copy_(torch.tensor(self._rates[:whole]))
        if average := self.work.average:
            self._weights.copy_(torch.tensor([average.weight(average.count + later) for later in range(len(self._weights))]))
        self._step.zero_()
        self._update.zero_()
        return sizes

    def _train(self, index: int) -> None:
        if self._graph and len(self._parts[index]) == self._tables.size:
            self._graph.replay()
            if index == len(self._parts) - 1:
                self._set_rates(index)  # for a state, to be as after eager steps
        else:
            super()._train(index)

    def _average(self) -> None:
        average = self.work.average
        if average and average.count and self._averaging:
            self._averaging.replay()
            average.counted()
        else:  # the first is a copy
            super()._average()
            self._update.add_(1)

    def record(self, first: int, *, search: bool) -> str:
        """Warm up and capture; return why that failed, if it did. Training, optimizer and average are as before."""
        if len(self._tables.order) < self._tables.size:
            return "there are fewer images than one batch has"
        if any(not group.get("fused", True) for group in self.work.groups):
            return "its optimizer takes no learning rate from the device"
        self.begin(first)
        return self._gpu.alone(self._recorded, search=search) if self._gpu else ""

    def _recorded(self) -> str:
        """Do it, in the thread that captures."""
        before, why = _State(self.work), ""
        try:
            self._warm_up()
            self._graph = self._captured(self._one, self.work.generators)
            if self._blended:
                self._averaging = self._captured(self._blend, ())
        except Exception as error:  # whatever a network, an optimizer or CUDA has against it
            if not isinstance(error, (RuntimeError, TypeError, ValueError, _UncapturableError)):
                raise
            why = "memory ran out" if out_of_memory(error) else (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if why:  # outside of the block, for an error holds tensors
            self.close()
        before.restore(zero=not why)
        self.total.zero_()
        return why

    def _captured(self, work: Callable[[], None], generators: tuple[torch.Generator, ...]) -> Graph:
        if self._gpu is None:
            raise RuntimeError("there is no GPU")
        with self._capturable():
            return self._gpu.capture(work, generators)

    def _warm_up(self) -> None:
        counts: list[Any] = []
        for _ in range(WARM_UPS):
            self._step.zero_()
            self._one()
            counts.append(_counts(self.work.optimizer))
        if counts[-1] != counts[-2]:
            raise _UncapturableError("its optimizer counts its steps on the host")
        if self._blended:
            self._blend()

    def _one(self) -> None:
        """Train on the batch of which the device knows the number. Nothing here may ask the device for a value."""
        torch.index_select(self._table, 0, self._step, out=self._rate)
        part = torch.index_select(self._tables.order, 0, self._step * self._tables.size + self._place)
        inputs, labels = self._tables.batch(part)
        with self._rates_on_device():
            loss = self.work.compute(inputs, labels)
        self.total.add_(loss * len(labels))
        self._step.add_(1)

    @torch.no_grad()
    def _blend(self) -> None:
        """Update the running average, by the formula of lerp: with a weight on the device, lerp itself cannot be captured."""
        if not self.work.average or not self._blended:
            return
        (own, others), (counters, newest) = self._blended
        torch.index_select(self._weights, 0, self._update, out=self._weight)
        difference = torch._foreach_sub(others, own)  # noqa: SLF001  # as torch's own averages do
        torch._foreach_mul_(difference, self._weight[0])
        torch._foreach_add_(own, difference)
        if counters:
            torch._foreach_copy_(counters, newest)
        self.work.average.n_averaged.add_(1)
        self._update.add_(1)

    @contextlib.contextmanager
    def _rates_on_device(self) -> Iterator[None]:
        """Let the optimizer read its learning rates from the device."""
        before = [group["lr"] for group in self.work.groups]
        try:
            for place, group in enumerate(self.work.groups):
                group["lr"] = self._rate[0, place]
            yield
        finally:
            for group, rate in zip(self.work.groups, before, strict=True):
                group["lr"] = rate

    @contextlib.contextmanager
    def _capturable(self) -> Iterator[None]:
        """Tell those of torch's optimizers that ask for it that they are captured."""
        asking = [group for group in self.work.groups if "capturable" in group]
        before = [group["capturable"] for group in asking]
        try:
            for group in asking:
                group["capturable"] = True
            yield
        finally:
            for group, value in zip(asking, before, strict=True):
                group["capturable"] = value

    def close(self) -> None:
        """Release the graphs."""
        for graph in (self._graph, self._averaging):
            if graph:
                graph.release()
        self._graph = self._averaging = None


class _UncapturableError(Exception):
    pass


class _State:
    """What steps change, to be put back: the tensors of network, optimizer and average."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._kept = [(tensor, tensor.detach().clone()) for tensor in self._tensors()]
        optimizer = work.optimizer.state
        self._known = {parameter: dict(state) for parameter, state in optimizer.items()}
        self._kept += [(t, t.detach().clone()) for state in optimizer.values() for t in state.values() if isinstance(t, Tensor)]

    def _tensors(self) -> Iterator[Tensor]:
        for module in (self._work.part, self._work.average):
            if module is not None:
                yield from module.parameters()
                yield from module.buffers()

    @torch.no_grad()
    def restore(self, *, zero: bool) -> None:
        """Put everything back. State that the optimizer did not have becomes zero, where graphs use it, or goes away."""
        for tensor, before in self._kept:
            tensor.copy_(before)
        optimizer = self._work.optimizer
        for parameter, state in list(optimizer.state.items()):
            known = self._known.get(parameter, {})
            for name, value in list(state.items()):
                if isinstance(value, Tensor) and known.get(name) is not value:
                    value.zero_()
            if not zero:
                optimizer.state[parameter] = known
                if not known:
                    del optimizer.state[parameter]
        optimizer.zero_grad(set_to_none=True)


def _counts(optimizer: torch.optim.Optimizer) -> list[Any]:
    """Return the numbers of an optimizer's state that are on the host."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, (int, float))]
