"""Steps of a training kernel by kernel, and how far the device is with them."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hpo.training.steps.averaging import EVERY

if TYPE_CHECKING:
    from hpo.training.steps.averaging import RunningAverage
    from hpo.training.steps.cuda import Gpu, Mark
    from hpo.training.steps.tables import Tables

MARKED = 16  # steps between two marks
AHEAD = 2  # marks that the host may be ahead of the device


@dataclass(frozen=True, eq=False)
class Work:
    """What a training has its steps do.

    Attributes:
        part: What is trained.
        optimizer: Of it. Its state consists of tensors that begin as zeros, so that a warm-up can be undone.
        average: Of its weights, or None.
        generators: That its layers draw from; seeded before each epoch.
        tables: Draws an epoch.
        compute: Trains on a batch, inputs and labels, and returns its loss.
        rate: The learning rate of a group of the optimizer, by the share of the training that is done.
        n_steps: Per epoch, as the learning rate counts them.
        n_epochs: Of the training.
        macs: Multiply-adds of a step; 0: unknown.
    """

    part: nn.Module
    optimizer: torch.optim.Optimizer
    average: RunningAverage | None
    generators: tuple[torch.Generator, ...]
    tables: Callable[[int], Tables]
    compute: Callable[[Tensor, Tensor], Tensor]
    rate: Callable[[float, Mapping[str, Any]], float]
    n_steps: int
    n_epochs: int
    macs: int = 0

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The groups of parameters, each with a learning rate of its own."""
        return self.optimizer.param_groups


class Eager:
    """Steps kernel by kernel.

    Attributes:
        total: Sum of the losses of an epoch's images so far, on the device.
        said: A sentence for somebody who wonders why nothing is captured; else empty.
    """

    def __init__(self, work: Work, device: torch.device, gpu: Gpu | None, *, search: bool = False, said: str = "") -> None:
        self.work, self.said = work, said
        self.total = torch.zeros((), device=device)
        self.pace = Pace(gpu, self.total)
        self._gpu, self._search = gpu, search
        self._tables: Tables
        self._parts: list[Tensor] = []
        self._rates: list[list[float]] = []

    def begin(self, number: int) -> list[int]:
        """Draw epoch `number`; return the number of images of each of its batches."""
        self._take(self.work.tables(number))
        self._parts = self._tables.parts()
        work = self.work
        progress = [(number - 1 + index / work.n_steps) / work.n_epochs for index in range(len(self._parts))]
        self._rates = [[work.rate(done, group) for group in work.groups] for done in progress]
        self.total.zero_()
        self.pace.restart()
        return [len(part) for part in self._parts]

    def _take(self, tables: Tables) -> None:
        self._tables = tables

    def run(self, index: int) -> None:
        """Train on a batch of the epoch."""
        with self._gpu.searching(on=True) if self._gpu and self._search else contextlib.nullcontext():
            self._train(index)
        self._search = False  # the shapes of whole batches are known
        if self.work.average and (index % EVERY == 0 or index == self.work.n_steps - 1):
            self._average()
        self.pace.launched(len(self._parts[index]))

    def _set_rates(self, index: int) -> None:
        for group, rate in zip(self.work.groups, self._rates[index], strict=True):
            group["lr"] = rate

    def _train(self, index: int) -> None:
        self._set_rates(index)
        inputs, labels = self._tables.batch(self._parts[index])
        self.total += self.work.compute(inputs, labels) * len(labels)

    def _average(self) -> None:
        if self.work.average:
            self.work.average.update(self.work.part)

    def close(self) -> None:
        """Give back what the steps keep on the device."""


class Pace:
    """How far the device is, without waiting for it at each step.

    Replays are launched faster than they are done. So every few steps a mark is set, and the host waits for the last but one:
    it is never so far ahead that a sign of life would tell of images that nobody has trained on.

    Attributes:
        done: Images that were trained on.
    """

    def __init__(self, gpu: Gpu | None, total: Tensor) -> None:
        self._gpu, self._total = gpu, total
        self._marks: deque[tuple[Mark, int]] = deque()
        self.restart()

    def restart(self) -> None:
        """Begin an epoch."""
        self.done = self._launched = self._steps = 0
        self._loss = 0.0
        self._marks.clear()

    def launched(self, images: int) -> None:
        """Count a step."""
        self._launched += images
        if self._gpu is None:
            self.done = self._launched
            return
        self._steps += 1
        if self._steps % MARKED == 0:
            self._marks.append((self._gpu.mark(self._total), self._launched))
        if len(self._marks) > AHEAD:
            mark, self.done = self._marks.popleft()
            self._loss = mark.wait()

    def loss(self) -> float:
        """Return the sum of the losses of the images that were trained on."""
        return self._total.item() if self._gpu is None else self._loss
