"""Own training code with Lightning: a LightningModule on handwritten digits, fitted an epoch at a time."""

import tempfile
from pathlib import Path

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hpo

space = hpo.space(lr=hpo.log(1e-4, 1e-1, default=1e-2), width=hpo.whole(16, 64, default=32, step=16), momentum=0.9)
objective = hpo.maximize("accuracy", share=True)


class Digits(lightning.LightningModule):
    """Two layers, trained by SGD."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.net = nn.Sequential(nn.Linear(64, config.width), nn.ReLU(), nn.Linear(config.width, 10))

    def training_step(self, batch, _index):
        pixels, labels = batch
        return nn.functional.cross_entropy(self.net(pixels), labels)

    def validation_step(self, batch, _index):
        pixels, labels = batch
        self.log("accuracy", (self.net(pixels).argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.config.lr, self.config.momentum)


def train(config, data, resume):  # noqa: ARG001  # the file brings its own data
    digits = load_digits()
    pixels, labels = torch.tensor(digits.data / 16).float(), torch.tensor(digits.target)
    scored = DataLoader(TensorDataset(pixels[1000:], labels[1000:]), batch_size=797)
    lightning.seed_everything(config.seed)
    net = Digits(config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "last.ckpt")  # Lightning's own checkpoint: weights, optimizer, loops
        if resume:
            torch.save(resume["checkpoint"], path)
        for epoch in range(resume["epoch"] if resume else 0, config.epochs):
            order = torch.Generator().manual_seed(config.seed + epoch)  # the same batches, wherever the trial is continued
            batches = DataLoader(TensorDataset(pixels[:1000], labels[:1000]), batch_size=50, shuffle=True, generator=order)
            trainer = lightning.Trainer(
                max_epochs=epoch + 1,
                accelerator="gpu" if config.device.startswith("cuda") else "cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(net, batches, ckpt_path=path if path.exists() else None)
            [found] = trainer.validate(net, scored, verbose=False)
            trainer.save_checkpoint(path)
            yield hpo.Epoch(found["accuracy"], state={"checkpoint": torch.load(path, weights_only=True), "epoch": epoch + 1})
