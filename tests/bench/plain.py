"""A plain Optuna script: Optuna's official PyTorch example (optuna-examples, pytorch_simple.py) for the tutorial's network.

    python tests/bench/plain.py --data-dir DIR --storage sqlite:///plain.db --minutes 25

As in the example: `define_model` and `objective` with `trial.report` and `should_prune`, Optuna's default sampler (TPE) and
pruner (median), one process with all threads, dropout off for scoring. The parameters are the four that hpo varies, in the
ranges of its `tutorial` space, whose fixed recipe is this loop. Unlike in the example, the data set is loaded once and not per
trial, and the study ends after a time and not after a number of trials.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import tutorial

from hpo.data.datasets import load, take

if TYPE_CHECKING:
    from torch import nn


def define_model(trial: optuna.Trial) -> nn.Sequential:
    depth = trial.suggest_int("depth", 1, 3)
    filters = trial.suggest_int("filters", 16, 64, step=8)
    dropout = trial.suggest_float("dropout", 0.0, 0.7)
    return tutorial.network(depth, filters, dropout)


def objective(trial: optuna.Trial, train_loader: tutorial.Loader, test_loader: tutorial.Loader, epochs: int = 10) -> float:
    model = define_model(trial)
    optimizer = tutorial.sgd(model, lr=trial.suggest_float("lr", 1e-4, 1e-1, log=True))
    accuracy = 0.0
    for epoch in range(epochs):
        tutorial.train(model, train_loader, optimizer)
        accuracy = tutorial.score(model, test_loader)
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("HPO_DATA_DIR", "data")))
    parser.add_argument("--storage", default="sqlite:///plain.db")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--limit-test", type=int)
    options = parser.parse_args()
    data = load("cifar10", options.data_dir)
    train_loader = tutorial.batches(data.train, take(data.train.labels, options.limit_train, 0), shuffle=True)
    test_loader = tutorial.batches(data.test, take(data.test.labels, options.limit_test, 0), shuffle=False)
    study = optuna.create_study(study_name="plain", storage=options.storage, direction="maximize")
    study.optimize(lambda trial: objective(trial, train_loader, test_loader), timeout=60 * options.minutes)


if __name__ == "__main__":
    main()
