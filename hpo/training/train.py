"""The training loop: a generator that yields one `Epoch` at a time; the caller decides what to do with it.

It can continue from the state that `Training.state` returned, exactly as if it had never stopped, because every random number
depends on (seed, epoch) alone. It is fast because of whole-batch tensors (batches.py), channels_last, fused optimizers, bfloat16
where the processor multiplies it faster, and flushed denormals.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hpo.builtin.models import is_file
from hpo.builtin.recipe import LATEST
from hpo.messages import Epoch
from hpo.networks import models
from hpo.networks.device import fast_dtype, scoring_batch
from hpo.networks.layers import Dropout, Whiten
from hpo.networks.views import at_most, mean, views_of
from hpo.networks.zoo import Adapted
from hpo.scoring.metrics import ACCURACY, measured
from hpo.training.batches import Images, Scale, scoring_batches, training_tables
from hpo.training.loss import Loss
from hpo.training.optimizers import SHARE, learning_rate, make_optimizer
from hpo.training.steps import step
from hpo.training.steps.averaging import RunningAverage
from hpo.training.steps.cuda import Cuda, own_stream
from hpo.training.steps.eager import Eager, Work
from hpo.training.steps.tables import n_batches

if TYPE_CHECKING:
    from hpo.builtin.recipe import Recipe, TrainingConfig
    from hpo.networks.weights import Weights
    from hpo.training.features import Features, Kept
    from hpo.training.steps.cuda import Gpu
    from hpo.training.steps.tables import Tables

TICK = 0.25  # seconds between messages about the progress
WHITENED = 5000  # training images from which the stem's filters are computed
_BUILDING = threading.Lock()  # initial weights come from torch's own generator, which all of the process share


class DivergedError(Exception):
    """The loss became infinite or NaN."""


class Training:
    """A network in training, its optimizer, and its progress.

    Attributes:
        net: The network in training, on the images' device.
        part: What of it is trained: all, or the head where the backbone is frozen.
        logits: (N, n_classes) float32 of the scored images after the latest epoch.
        epoch: Number of finished epochs.
        generator: Of the masks of hpo's own dropout, seeded before each epoch: trainings beside this one draw nothing from it.
        gpu: The device, where it is a GPU. All work is on this thread's own stream there: a training belongs to one thread.
        said: What there is to say of how it trains: sentences.
    """

    def __init__(
        self,
        config: TrainingConfig,
        train: Images,
        score: Images,
        n_classes: int,
        n_epochs: int,
        seed: int,
        recipe: Recipe = LATEST,
        metric: str = ACCURACY,
        model: str = models.CONVNET,
        weights: Weights | None = None,
        kept: Kept | None = None,
    ) -> None:
        self.config, self.train, self.score, self.recipe, self.metric = config.on(len(train)), train, score, recipe, metric
        self.n_epochs, self.seed = n_epochs, seed
        self.epoch, self.logits = 0, torch.empty(0)
        device = train.device
        if device.type == "cuda":
            own_stream(device)
        self.gpu: Gpu | None = Cuda(device) if device.type == "cuda" else None
        self.said: list[str] = []
        channels, edge = train.pixels.shape[3], train.pixels.shape[1]
        with _BUILDING:
            torch.manual_seed(seed)
            self.net = models.build(model, config, n_classes, channels, edge, recipe)
        begun = models.begin(self.net, config, weights)
        self.net = self.net.to(device)
        self.scale = (
            Scale.given(weights.mean, weights.deviation, train)
            if begun and weights
            else Scale.of(train, standardize=config.standardize, recipe=recipe)
        )
        self._fit_stem()
        self.features: Features | None = None
        self._frozen = isinstance(self.net, Adapted) and self.net.is_frozen
        self.part = self.net.head if isinstance(self.net, Adapted) and self._frozen else self.net
        self.steps = n_epochs * self._n_batches()
        self.average = RunningAverage(self.part, config.averaging, self.steps) if config.averaging else None
        self.optimizer = make_optimizer(self.net, self.config, device, recipe)
        self.dtype = fast_dtype(device)
        self._loss = Loss.of(train, n_classes, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.model, self._n_classes, self._kept = model, n_classes, kept
        self.generator = torch.Generator(device)
        for module in self.net.modules():
            if isinstance(module, Dropout):
                module.generator = self.generator

    def _n_batches(self) -> int:
        """Return the number of steps per epoch."""
        if self.recipe.joined_counts:
            return math.ceil(len(self.train) / self.config.batch_size)
        return n_batches(len(self.train), self.config.batch_size)

    def _fit_stem(self) -> None:
        for stem in self.net.modules():
            if isinstance(stem, Whiten):
                images = self.train.some(WHITENED, self.seed if self.recipe.stem_shuffled else None)
                stem.fit(inputs for inputs, _ in scoring_batches(images, self.scale, scoring_batch(images.device)))

    @property
    def tta(self) -> bool | str:
        """In which views images are scored at the end: the features of a frozen backbone are kept of two at most."""
        return bool(self.config.tta) if self._frozen else self.config.tta

    def _seen(self) -> bool | str:
        """Return in which views images are scored now: all are for the result, fewer rank epochs and trials as well."""
        return self.tta if self.epoch == self.n_epochs else at_most(self.recipe.early_views, self.tta)

    @property
    def scored(self) -> nn.Module:
        """The network that is scored: `net`, or the running average of its weights."""
        if self.average is None:
            return self.net
        return self.average.module if self.part is self.net else models.with_head(self.net, self.average.module)

    def state(self) -> dict[str, Any]:
        """Return everything needed to continue later: plain dicts of tensors and numbers."""
        return {
            "epoch": self.epoch,
            "net": self.part.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else {},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a result of `state`, or from the scored weights alone (`epoch`, `scored`) at the end."""
        if "scored" in state:
            self.scored.load_state_dict(state["scored"])
            self.epoch = state["epoch"]
            return
        self.part.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.epoch = state["epoch"]

    def epochs(self, tick: Callable[[int, float, float], None] | None = None) -> Iterator[Epoch]:
        """Train and score until `n_epochs` are done, yielding after each.

        Args:
            tick: Called a few times per second with the epoch, the finished share of it, and images per second.

        Raises:
            DivergedError: The loss became infinite or NaN.
        """
        if isinstance(self.net, Adapted) and self.net.is_frozen and self.epoch < self.n_epochs and self._kept:
            self.features = self._kept.of(self.net, self.scale, self.dtype, tick or _silent)
        if self.epoch == self.n_epochs:
            return
        steps = step.begun(self._work(), self.train.device, self.gpu, self.epoch + 1, self._why_eager())
        self.said += [steps.said] if steps.said else []
        try:
            while self.epoch < self.n_epochs:
                began = time.perf_counter()
                train_loss = self._train_epoch(steps, self.epoch + 1, tick or _silent)
                trained = time.perf_counter()
                self.epoch += 1
                score_loss, score, beside = self.scores()
                yield Epoch(
                    self.epoch,
                    score,
                    seconds=time.perf_counter() - began,
                    images_per_second=len(self.train) / (trained - began),
                    metrics={"train_loss": train_loss, "score_loss": score_loss, **beside},
                )
        finally:
            steps.close()

    def _work(self) -> Work:
        return Work(
            part=self.part,
            optimizer=self.optimizer,
            average=self.average,
            generators=(self.generator,),
            tables=self._tables,
            compute=self._step,
            rate=lambda progress, group: learning_rate(self.config, progress) * group.get(SHARE, 1.0),
            n_steps=self._n_batches(),
            n_epochs=self.n_epochs,
            macs=self.config.batch_size * self._macs() if self.gpu else 0,
        )

    def _macs(self) -> int:
        """Return the multiply-adds of an image, as far as they are known."""
        if self.features is not None or is_file(self.model):
            return 0
        channels, edge = self.train.pixels.shape[3], self.train.pixels.shape[1]
        return models.measure(self.model, self.config, self._n_classes, channels, edge, self.recipe).macs or 0

    def _why_eager(self) -> str:
        """Return why this training's steps cannot be captured; nothing where they may be."""
        if is_file(self.model) or type(self)._step is not Training._step:  # noqa: SLF001  # our own
            return "a graph would not run somebody's own code again"
        if self.features is None and self.train.pixels.device != self.train.device:
            return "its images lie on the host"
        if self.scaler.is_enabled():
            return "float16 needs a look at every loss"
        return ""

    def _tables(self, number: int) -> Tables:
        """Draw an epoch of images, or of features where these are known."""
        if self.features is not None:
            return self.features.tables(self.config, number, self.seed)
        return training_tables(self.train, self.config, self.scale, number, self.seed)

    def _train_epoch(self, steps: Eager, number: int, tick: Callable[[int, float, float], None]) -> float:
        self.net.train()
        self.generator.manual_seed(self.seed + number)
        if self.model != models.CONVNET:
            torch.manual_seed(self.seed + number)  # a stranger's network draws from torch's own
        began = ticked = time.perf_counter()
        pace = steps.pace
        for index in range(len(steps.begin(number))):
            steps.run(index)
            now = time.perf_counter()
            if now - ticked > TICK:
                ticked = now
                _check_finite(pace.loss())
                tick(number, pace.done / len(self.train), pace.done / (now - began))
        total: float = steps.total.item()
        _check_finite(total)
        return total / len(self.train)

    def _step(self, inputs: Tensor, labels: Tensor) -> Tensor:
        kind, narrow = inputs.device.type, self.dtype != torch.float32
        with torch.autocast(kind, self.dtype, enabled=narrow, cache_enabled=kind != "cuda"):  # a graph outlives the cache
            logits = self.net(inputs) if self.features is None else self.part(inputs)
        loss = self._loss(logits.float(), labels)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's stubs
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    @torch.inference_mode()
    def scores(self) -> tuple[float, float, dict[str, float]]:
        """Return mean loss and score on the scored images, dropout off, and what is measured beside them; sets `logits`."""
        scored, logits = self.scored.eval(), []
        device = self.score.device
        truth = self.score.labels[self.score.chosen.to(device)]
        for views, head in self._scoring_batches(scored):
            with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
                logits.append(mean([head(view).float() for view in views]))
        self.logits = torch.cat(logits)
        loss = nn.functional.cross_entropy(self.logits, truth).item()
        _check_finite(loss)
        predicted = self.logits.argmax(1)
        if self.metric == ACCURACY:
            return loss, (predicted == truth).float().mean().item(), {}
        answers = truth.cpu().numpy(), predicted.cpu().numpy()
        return loss, measured(self.metric, *answers), {ACCURACY: measured(ACCURACY, *answers)}

    def _scoring_batches(self, scored: nn.Module) -> Iterator[tuple[tuple[Tensor, ...], nn.Module]]:
        """Yield the views of some images, and what makes logits of them: the network, or its head where features are known."""
        size = scoring_batch(self.score.device)
        if self.features is not None:
            for views in torch.split(self.features.views(self._seen()), size, dim=1):
                yield views.unbind(), scored.head  # type: ignore[misc]  # a module
            return
        for inputs, _ in scoring_batches(self.score, self.scale, size):
            yield views_of(inputs, self._seen()), scored


def _check_finite(loss: float) -> None:
    if not math.isfinite(loss):
        raise DivergedError


def _silent(_epoch: int, _fraction: float, _images_per_second: float) -> None:
    pass
