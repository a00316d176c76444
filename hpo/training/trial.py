"""A trial: trains the network of a configuration and measures its accuracy after each epoch.

It is a generator, so the caller can stop a trial after any epoch. It is a pure function of (configuration, seed, data) and
writes a checkpoint after each epoch, so a trial can be continued.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hpo.errors import DataError, SpaceError, StorageError, UsageError
from hpo.folders import NETWORK
from hpo.messages import Epoch
from hpo.networks import checkpoint, models, stored
from hpo.networks.device import lost, memory, out_of_memory
from hpo.networks.stored import Description, Images
from hpo.networks.views import SHIFTED
from hpo.objective import FIRST, CrowdedError, DeviceLostError, TrialError
from hpo.scoring import correct
from hpo.scoring.metrics import ACCURACY
from hpo.settings import PLACES, Settings
from hpo.system import checkpoints
from hpo.system.failpoints import reach
from hpo.system.files import atomic_file, refusal, write_atomically
from hpo.training.features import Kept
from hpo.training.memory import training_bytes
from hpo.training.pictured import pictured, thumbnails
from hpo.training.train import DivergedError, Training

if TYPE_CHECKING:
    from hpo.builtin.recipe import TrainingConfig
    from hpo.messages import Memory
    from hpo.training.task import Task

# What restoring from a file of other content raises.
_NO_STATE = (UsageError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError)


class Trial:
    """The training of one configuration.

    Attributes:
        size: Parameters, multiply-adds, layers.
        measured: What is known before the first epoch, by the name that is stored.
        history: Finished epochs, including those restored from a checkpoint.
        passed_over: For each checkpoint that was not used, a sentence that says why.

    Raises:
        TrialError: The network cannot be built for these images, or would not fit into memory.
        DeviceLostError: The GPU fails.
    """

    is_kept = True

    def __init__(self, task: Task, config: TrainingConfig, seed: int, folder: Path) -> None:
        self.task, self.config, self.seed, self.folder = task, config.on(len(task.train)), seed, folder
        self.history: list[Epoch] = []
        self.passed_over: list[str] = []
        channels, edge = task.train.pixels.shape[3], task.train.pixels.shape[1]
        try:
            self.size = models.measure(task.model, config, len(task.classes), channels, edge, task.recipe)
        except SpaceError as error:
            raise TrialError("shape", str(error)) from None
        self.measured = {"n_parameters": self.size.n_parameters} | (
            {"macs": self.size.macs} if self.size.macs is not None else {}
        )
        task.room.take(self, training_bytes(self.size, self.config, task.train.device), self.config)
        with _device_errors():
            self._training = self._begun()
            self._continue()

    def _begun(self) -> Training:
        task, config = self.task, self.config
        if not task.mirrorable:
            config = config.model_copy(update={"flip": False, "tta": False})
        settings, n_classes = task.settings, len(task.classes)
        return Training(
            config,
            task.train,
            task.score,
            n_classes,
            settings.epochs,
            self.seed,
            task.recipe,
            metric=settings.metric,
            model=task.model,
            weights=task.weights,
            kept=Kept(self.folder.parent, task.key, task.train, task.score),
        )

    def _continue(self) -> None:
        """Continue from the newest checkpoint that is undamaged and of this trial."""
        result = self.folder / NETWORK
        for path in [*([result] if result.exists() else []), *checkpoints.newest_first(self.folder)]:
            try:
                state = _of_network(path) if path == result else checkpoint.load(path)
                if _identity_of(state, self.task.model) == self._identity():
                    self._restore(state)
                    return
                self.passed_over.append(f"{path} is of another configuration, seed, recipe or other settings.")
            except (StorageError, DataError) as error:
                self.passed_over.append(str(error))
            except _NO_STATE as error:
                if out_of_memory(error):
                    raise
                self.passed_over.append(f"{path} contains no state of this training.")
                self._training = self._begun()  # half restored
        if self.passed_over:
            self.passed_over.append("it starts from the beginning.")

    def _restore(self, state: dict[str, Any]) -> None:
        history = [_epoch(*row) for row in state["history"]]
        if "scored" in state["training"] and len(history) < self.task.settings.epochs:
            raise ValueError("only a training that is done does without the rest")
        self._training.restore(state["training"])
        if "logits" in state:
            self._training.logits = state["logits"]
        else:
            self._training.scores()
        shape = (len(self.task.score), len(self.task.classes))
        if [epoch.number for epoch in history] != [*range(1, self._training.epoch + 1)] or self._training.logits.shape != shape:
            raise ValueError("epochs and scores do not fit together")
        self.history = history

    def _identity(self) -> dict[str, Any]:
        """Return everything that a checkpoint's scores depend on."""
        return {
            "config": self.config.model_dump(),
            "seed": self.seed,
            "settings": self.task.settings.model_dump(exclude={*PLACES}),
            "recipe": self.task.recipe.version,
        }

    def epochs(self, tick: Callable[[int, float, float], None] | None = None) -> Iterator[Epoch]:
        """Continue training, yielding each epoch once its checkpoint is on disk.

        Raises:
            TrialError: The loss became infinite or NaN, or memory ran out.
            DeviceLostError: The GPU fails.
            StorageError: The checkpoint cannot be written.
        """
        try:
            with _device_errors():
                for epoch in self._training.epochs(tick):
                    self.history.append(epoch)
                    reach("epoch.trained")
                    self._save()
                    reach("epoch.saved")
                    yield epoch
        except DivergedError:
            number = len(self.history) + 1
            raise TrialError("diverged", f"the loss was not finite in epoch {number} (lr = {self.config.lr:g}).") from None

    def _save(self) -> None:
        path, answers = self.folder / correct.FILE, self._correct()
        try:
            correct.write(path, answers)  # first, so that a training continued from the checkpoint finds its answers
        except OSError as error:
            raise StorageError(f"cannot write {path} ({len(answers) // 8 + 1:,} bytes): {refusal(error, path)}") from error
        state = {
            "identity": self._identity(),
            "training": self._training.state(),
            "history": [_row(epoch) for epoch in self.history],
            "logits": self._training.logits.cpu(),
        }
        checkpoint.save(self.folder, self._training.epoch, state)

    def _correct(self) -> correct.Bits:
        score = self.task.score
        right = self._training.logits.argmax(1) == score.labels[score.chosen]
        return np.asarray(right.cpu().numpy())

    def finish(self) -> Path:
        """Write the report's files and the network's, which takes the place of the checkpoints; return its path.

        `scores.npz`: logits (N, n_classes) float32, labels (N,), pictures (K, H, W, channels) uint8 of the most confident
        mistakes and some successes, picture_indices (K,) into the N. `layers.json`: the table of layers.

        Raises:
            StorageError: A file cannot be written.
            DeviceLostError: The GPU fails.
        """
        with _device_errors():
            return self._finish()

    @property
    def memory(self) -> Memory | None:
        """What this process has held of its GPU, and could hold."""
        return memory(self.task.train.device)

    def said(self) -> tuple[str, ...]:
        """Return what there is to say of how it trains, since the last call."""
        told, self._training.said = tuple(self._training.said), []
        return told

    def _finish(self) -> Path:
        score = self.task.score
        logits = self._training.logits.float().cpu().numpy()
        labels = score.labels[score.chosen].cpu().numpy()
        shown = pictured(logits, labels)
        pictures = thumbnails(score.pixels[score.chosen[torch.from_numpy(shown).to(score.chosen.device)]].cpu().numpy())
        try:
            with atomic_file(self.folder / "scores.npz") as file:
                np.savez_compressed(file, logits=logits, labels=labels, pictures=pictures, picture_indices=shown)
            reach("result.scores")
            rows = [layer.row() for layer in self.size.layers]
            write_atomically(self.folder / "layers.json", json.dumps(rows).encode())
            reach("result.layers")
            stored.write(self.folder / NETWORK, self._described(), self._training.scored.state_dict())
            reach("checkpoint.written")
            for path in checkpoints.newest_first(self.folder):  # what it went on from: from here on, from the network
                path.unlink(missing_ok=True)
        except OSError as error:  # the disk's fault, not the trial's
            raise StorageError(f"cannot write the results into {self.folder}: {refusal(error, self.folder)}") from error
        return self.folder / NETWORK

    def _described(self) -> Description:
        task, scale, edge = self.task, self._training.scale, self.task.train.pixels.shape[1]
        images = Images(
            size=edge,
            channels=task.train.pixels.shape[3],
            grey=task.grey,
            fit=task.settings.fit,
            factor=tuple(scale.factor.flatten().tolist()),
            offset=tuple(scale.offset.flatten().tolist()),
        )
        return Description(
            **stored.versions(),
            model=models.named(task.model),
            code=models.digest(task.model),
            recipe=task.recipe.version,
            point=self.config.model_dump(),
            classes=task.classes,
            images=images,
            mirrored=bool(self._training.tta),
            shifted=self._training.tta == SHIFTED,
            precision=str(self._training.dtype).removeprefix("torch."),
            data={"name": task.settings.images, "digest": task.digest},
            seed=self.seed,
            settings=self._identity()["settings"],
            history=tuple(_row(epoch) for epoch in self.history),
            n_train=len(task.train),
            n_scored=len(task.score),
        )


def _of_network(path: Path) -> dict[str, Any]:
    """Return what a finished trial's network says, as a checkpoint does; without logits."""
    told, weights = stored.read(path)
    identity = {"config": told.point, "seed": told.seed, "settings": told.settings, "recipe": told.recipe}
    return {"identity": identity, "training": {"epoch": len(told.history), "scored": weights}, "history": told.history}


def _row(epoch: Epoch) -> tuple[float, ...]:
    """Return an epoch as a checkpoint has it."""
    losses, accuracy = (epoch.metrics["train_loss"], epoch.metrics["score_loss"]), epoch.metrics.get(ACCURACY)
    beside = () if accuracy is None else (accuracy,)  # where it is not the score
    return epoch.number, *losses, epoch.score, epoch.images_per_second, epoch.seconds, *beside


def _epoch(
    number: float, train_loss: float, score_loss: float, score: float, speed: float, seconds: float, *beside: float
) -> Epoch:
    """Return the epoch of a checkpoint's row."""
    metrics = {"train_loss": float(train_loss), "score_loss": float(score_loss)} | dict(
        zip((ACCURACY,), map(float, beside), strict=False)
    )
    return Epoch(int(number), float(score), float(seconds), float(speed), metrics)


def _identity_of(state: dict[str, Any], model: str) -> dict[str, Any]:
    """Return a checkpoint's identity, with the fields that an older hpo did not have."""
    identity: dict[str, Any] = state["identity"]
    config, settings = (
        {**models.before(model), **identity["config"]},
        Settings(**identity["settings"]).model_dump(exclude={*PLACES}),
    )
    return {"recipe": FIRST} | identity | {"config": config, "settings": settings}


@contextlib.contextmanager
def _device_errors() -> Iterator[None]:
    """Turn errors about a lack of memory into a failure of the trial, and those after which a GPU computes nothing into that."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            raise CrowdedError("the device ran out of memory.") from None
        if lost(error):
            raise DeviceLostError(f"the GPU failed: {str(error).splitlines()[0]}") from None
        raise
