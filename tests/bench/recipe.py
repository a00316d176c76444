"""Compare ideas for the fixed recipe of `basic`: accuracy on a held-out validation split, and processor time.

    python tests/bench/recipe.py --data-dir DIR --epochs 5 base label_smoothing=0.2 lookahead=0.95
    python tests/bench/recipe.py --list

An argument is an idea: fields of Config (`filters=24,growth=2.5`), or one of `IDEAS`, which are not part of hpo because they
brought no improvement; `base` is Config's defaults, `basic` the default point of that space (`basic,filters=64`). For each seed,
all ideas are trained one after the other, on 45,000 training images with one thread, and scored on the other 5,000, or on more
where fewer are trained on; the test set is not read. Results so far: recipe.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

import torch
from torch import Tensor, nn

from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.data.datasets import load
from hpo.networks.model import measure
from hpo.settings import Settings
from hpo.training.task import Task
from hpo.training.train import DivergedError, Training

if TYPE_CHECKING:
    from collections.abc import Callable


class BiasRate(Training):
    """Norms without scale, their biases at `value` times the learning rate (airbench: 64)."""

    def __init__(self, *arguments: Any, value: float) -> None:
        super().__init__(*arguments)
        self.factor = value
        for module in self.net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.requires_grad_(False)
        self.optimizer.param_groups[1]["params"] = [p for p in self.net.parameters() if p.dim() == 1 and p.requires_grad]

    def _step(self, inputs: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.param_groups[1]["lr"] *= self.factor
        return super()._step(inputs, labels)


class Crops(Training):
    """Half of the training on random crops of `value` pixels, at about (value / 32)^2 of the cost."""

    def __init__(self, *arguments: Any, value: float) -> None:
        super().__init__(*arguments)
        self.edge, self.done = int(value), 0
        self.corners = torch.Generator().manual_seed(self.seed)

    def _step(self, inputs: Tensor, labels: Tensor) -> Tensor:
        self.done += 1
        if self.done < self.steps / 2:
            i, j = torch.randint(0, inputs.shape[2] - self.edge + 1, (2,), generator=self.corners).tolist()
            inputs = inputs[:, :, i : i + self.edge, j : j + self.edge].contiguous(memory_format=torch.channels_last)
        return super()._step(inputs, labels)


class Lookahead(Training):
    """Every fifth step the weights are moved towards their average, less and less (airbench); `value` is the largest decay."""

    def __init__(self, *arguments: Any, value: float) -> None:
        super().__init__(*arguments)
        self.decay, self.done = value, 0
        self.slow = [t.clone() for t in self._tensors()]

    def _tensors(self) -> list[Tensor]:
        return [t for t in self.net.state_dict().values() if t.is_floating_point()]

    def _step(self, inputs: Tensor, labels: Tensor) -> Tensor:
        loss = super()._step(inputs, labels)
        self.done += 1
        if self.done % 5 == 0 or self.done == self.steps:
            decay = self.decay * (self.done / self.steps) ** 3 if self.done < self.steps else 1.0
            with torch.no_grad():
                torch._foreach_lerp_(self.slow, self._tensors(), 1 - decay)
                torch._foreach_copy_(self._tensors(), self.slow)
        return loss


class RandomFlip(Training):
    """Images are mirrored at random instead of in every other epoch: the alternating images are mirrored again at random."""

    def __init__(self, *arguments: Any, value: float) -> None:  # noqa: ARG002  # the idea has no size
        super().__init__(*arguments)
        self.coins = torch.Generator().manual_seed(self.seed)

    def _step(self, inputs: Tensor, labels: Tensor) -> Tensor:
        heads = torch.randint(2, (len(inputs), 1, 1, 1), generator=self.coins).bool()
        inputs = torch.where(heads, inputs.flip(3), inputs).contiguous(memory_format=torch.channels_last)
        return super()._step(inputs, labels)


VIEWS: dict[str, bool | str] = {"one": False, "two": True, "six": "shifted"}
IDEAS: dict[str, Callable[..., Training]] = {
    "bias_rate": BiasRate,
    "crops": Crops,
    "lookahead": Lookahead,
    "random_flip": RandomFlip,
}


def train_one(idea: str, task: Task, seed: int) -> dict[str, Any]:
    """Train an idea and return its results."""
    fields: dict[str, Any] = {}
    make: Callable[..., Training] = Training
    extra: dict[str, float] = {}
    for part in [] if idea == "base" else idea.split(","):
        if part == "basic":
            fields |= OBJECTIVE.space(part).point()
            continue
        name, _, text = part.partition("=")
        value = json.loads(text) if text[:1].isdigit() or text in ("true", "false") else text
        if name in IDEAS:
            make, extra = IDEAS[name], {"value": value or 0}
        else:
            fields[name] = value
    training = make(Config(**fields), task.train, task.score, len(task.classes), task.settings.epochs, seed, **extra)
    began = time.process_time()
    try:
        accuracies = [round(100 * epoch.score, 2) for epoch in training.epochs()]
    except DivergedError:
        accuracies = [math.nan]
    seconds = round(time.process_time() - began, 1)
    pflop = 6e-15 * (measure(training.config, len(task.classes)).macs or 0) * task.settings.epochs * len(task.train)
    views = {} if math.isnan(accuracies[-1]) else {name: _seen(training, tta) for name, tta in VIEWS.items()}
    return {"idea": idea, "seed": seed, "accuracies": accuracies, "seconds": seconds, "pflop": round(pflop, 4), "views": views}


def _seen(training: Training, tta: bool | str) -> float:
    """Return the accuracy of a finished training in some views."""
    training.config = training.config.model_copy(update={"tta": tta})
    training.scores()
    truth = training.score.labels[training.score.chosen]
    return round(100 * (training.logits.argmax(1) == truth).float().mean().item(), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ideas", nargs="*", default=["base"])
    parser.add_argument("--list", action="store_true", help="the ideas that hpo does not have")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("HPO_DATA_DIR", "data")))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--images", type=int, help="train on so many only, for a first look")
    parser.add_argument("--score-on", type=int, metavar="N", help="score on N of the training images that are left over")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, help="append a JSON line a training; what it has is not trained again")
    options = parser.parse_args()
    if options.list:
        for name, idea in IDEAS.items():
            print(f"{name:10} {idea.__doc__}")
        return
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    settings = Settings(epochs=options.epochs, score="validation", limit_train=options.images)
    task = Task.of(settings, load("cifar10", options.data_dir), torch.device("cpu"), memory=2**40)
    if options.score_on:
        taken = torch.zeros(len(task.train.pixels), dtype=torch.bool)
        taken[task.train.chosen] = True
        left = torch.arange(len(taken))[~taken]
        task = replace(task, score=replace(task.train, chosen=left[torch.randperm(len(left))[: options.score_on].sort().values]))
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out and options.out.exists() else []
    for seed in options.seeds:
        for idea in options.ideas:
            if any(row["idea"] == idea and row["seed"] == seed for row in rows):
                continue
            rows.append(train_one(idea, task, seed))
            print(rows[-1], flush=True)
            if options.out:
                with options.out.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    for idea in dict.fromkeys(row["idea"] for row in rows):
        finals = [row["accuracies"][-1] for row in rows if row["idea"] == idea]
        seconds = statistics.median(row["seconds"] for row in rows if row["idea"] == idea)
        print(
            f"{idea:40} {statistics.mean(finals):6.2f} % ({min(finals):.2f}-{max(finals):.2f}, n={len(finals)})  {seconds:6.0f} s"
        )


if __name__ == "__main__":
    main()
