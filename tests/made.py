"""Studies with a known truth, made without training anything."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import json
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json
from optuna.trial import TrialState, create_trial

from hpo import report
from hpo.errors import StorageError
from hpo.report import summary
from hpo.scoring import correct
from hpo.store import schema
from hpo.store.database import locate
from hpo.store.reading.record import StudyRecord
from hpo.store.schema import Trial

EPOCHS = 10
N_SCORED = 10_000
BEGIN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
SPACE = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "dropout": FloatDistribution(0.0, 0.6),
    "depth": IntDistribution(1, 4),
    "norm": CategoricalDistribution(("batch", "group", "none")),
}
CLASSES = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def point(rng, space=SPACE):
    """Draw a point of a space at random."""
    drawn = {}
    for name, one in space.items():
        if isinstance(one, CategoricalDistribution):
            drawn[name] = one.choices[int(rng.integers(len(one.choices)))]
        elif isinstance(one, IntDistribution):
            drawn[name] = one.low + one.step * int(rng.integers((one.high - one.low) // one.step + 1))
        elif one.step:
            drawn[name] = one.low + one.step * int(rng.integers(round((one.high - one.low) / one.step) + 1))
        elif one.log:
            drawn[name] = float(np.exp(rng.uniform(np.log(one.low), np.log(one.high))))
        else:
            drawn[name] = float(rng.uniform(one.low, one.high))
    return drawn


def counted(accuracy, rng, n=N_SCORED):
    """Count an accuracy on `n` images."""
    return rng.binomial(n, accuracy) / n


def curve(final, n=EPOCHS, pace=3.0):
    """Return a learning curve that ends at `final`."""
    shape = 1 - 0.6 * np.exp(-np.arange(1, n + 1) / pace)
    return [float(value) for value in final * shape / shape[-1]]


def trial(i=0, state="COMPLETE", accuracies=(), params=None, space=None, value=None, **attributes):
    """Make a trial of one worker; its accuracies are its learning curve and its value the last of them."""
    space = SPACE if space is None and params else space or {}
    made = create_trial(
        state=TrialState[state],
        value=value if value is not None else accuracies[-1] if state in ("COMPLETE", "PRUNED") and accuracies else None,
        params=params or {},
        distributions={name: space[name] for name in params or {}},
        intermediate_values=dict(enumerate(accuracies, 1)),
        user_attrs={"seconds": 6.0 * len(accuracies), "worker": 0, **attributes},
    )
    begin = BEGIN + dt.timedelta(minutes=i)
    made.datetime_start = None if state == "WAITING" else begin.astimezone().replace(tzinfo=None)
    ended = state in ("COMPLETE", "PRUNED", "FAIL")
    made.datetime_complete = (begin + dt.timedelta(seconds=50)).astimezone().replace(tzinfo=None) if ended else None
    return made


def study(trials, name="made", storage=None, direction="maximize", settings=None, environment=None, space=None):
    """Make a study as `hpo run` writes it."""
    made = optuna.create_study(direction=direction, study_name=name, storage=storage)
    made.add_trials(trials)
    given = {"dataset": "made", "epochs": EPOCHS, "score": "test", "sampler": "tpe", "pruner": "halving", "seed": 0}
    made.set_user_attr("settings", given | (settings or {}))
    made.set_user_attr("environment", {"n_scored": N_SCORED, "data_digest": "abc", "torch": "2.14"} | (environment or {}))
    made.set_user_attr("space", space or {"name": "basic"})
    made.set_user_attr("command", f"hpo run {name} --trials {len(trials)}")
    return made


class Record(StudyRecord):
    """A study whose files are wherever a test has put them."""

    folder = winner_folder = None


def record(study, folder=None, artifacts=None):
    """Return a study of Optuna's, in whatever storage, as hpo reads it from a database."""
    trials, maximize = [read(trial) for trial in study.get_trials()], study.direction.name == "MAXIMIZE"
    found = Record(study.study_name, locate("made.db"), study._study_id, maximize, study.user_attrs, trials)
    found.__dict__.update(folder=folder, winner_folder=artifacts)
    return found


def read(trial):
    """Return a trial of Optuna's as hpo reads it from a database."""
    utc = (time and time.astimezone(dt.UTC) for time in (trial.datetime_start, trial.datetime_complete))
    known = {name: schema.distribution(distribution_to_json(one)) for name, one in trial.distributions.items()}
    more = (trial.params, known, trial.intermediate_values, trial.user_attrs, trial.system_attrs)
    return Trial(trial.number, schema.State(trial.state), trial.values[0] if trial.values else None, *utc, trial._trial_id, *more)


def summarize(study, folder=None):
    """Compute the summary of a study of Optuna's."""
    return summary.summarize(record(study, folder))


def write_report(study, out, *, artifacts=None, **more):
    """Write the page of a study of Optuna's."""
    return report.write_report(record(study, artifacts=artifacts), out, **more)


class Comparison(report.Comparison):
    """Of studies of Optuna's."""

    def __init__(self, studies, folders=None):
        super().__init__([record(*each) for each in zip(studies, folders or [None] * len(studies), strict=True)])


def answered(right, folder, **attributes):
    """Make a study of finished trials that got these images right, and keep their answers in its folder."""
    (folder / correct.FOLDER).mkdir(parents=True)
    trials = []
    for i, bits in enumerate(right):
        correct.write(folder / correct.FOLDER / correct.name(i), bits)
        own = {key: value[i] for key, value in attributes.items()}
        trials.append(trial(i, accuracies=curve(float(bits.mean())), **own))
    return study(trials, environment={"n_scored": len(right[0])})


def foreign(n=30, direction="minimize"):
    """Make a study that hpo knows nothing of."""
    rng = np.random.default_rng(1)
    made = optuna.create_study(direction=direction, study_name="foreign")
    for x in rng.uniform(-5, 5, n):
        made.add_trial(create_trial(value=float(x**2), params={"x": float(x)}, distributions={"x": FloatDistribution(-5, 5)}))
    return made


def searched(n=50, storage=None, name="cifar10", **more):
    """Make a study of ordinary looks: half pruned, some failed, one running, learning rate and depth that matter."""
    rng = np.random.default_rng(7)
    made = []
    for i in range(n):
        params = point(rng)
        final = 0.82 - 0.05 * (np.log10(params["lr"]) + 1.5) ** 2 + 0.02 * params["depth"]
        accuracies = curve(counted(max(final, 0.1), rng))
        state = "COMPLETE"
        if i and final < 0.8 and i % 5:
            state = "PRUNED"
        if i and i % 17 == 5:
            state = "FAIL"
        if n > 2 and i == n - 1:
            state = "RUNNING"
        epochs = EPOCHS if state == "COMPLETE" else int(rng.integers(1, 5))
        n_parameters = 20_000 * 4 ** params["depth"]
        attributes = {
            "seconds": 5.0 * epochs * params["depth"],
            "images_per_second": 500.0 + i % 7,
            "n_parameters": n_parameters,
            "macs": 20 * n_parameters,
            "train_loss": [round(2.0 / e, 4) for e in range(1, epochs + 1)],
            "score_loss": [round(2.2 / e, 4) for e in range(1, epochs + 1)],
            "worker": i % 2,
            "checkpoint": f"studies/made/trial-{i}",
        }
        if state == "FAIL":
            attributes["reason"] = "out of memory: the device has 8 GB"
        made.append(trial(i, state, accuracies[:epochs], params, **attributes))
    parameters = {
        "lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True, "step": None, "default": 0.01},
        "dropout": {"type": "float", "low": 0.0, "high": 0.6, "log": False, "step": None, "default": 0.3},
        "depth": {"type": "int", "low": 1, "high": 4, "log": False, "step": 1, "default": 2},
        "norm": {"type": "categorical", "choices": ["batch", "group", "none"], "default": "batch"},
        "kernel": {"value": 3},
    }
    more = {"space": {"name": "basic", "parameters": parameters}, "settings": {"dataset": "cifar10"}} | more
    return study(made, name, storage, environment={"classes": CLASSES}, **more)


def fifty():
    """Make a study of fifty real trials on CIFAR-10, searched by halving with one named start (tests/data/fifty.csv)."""
    space = {
        "depth": IntDistribution(2, 4),
        "filters": IntDistribution(16, 64, step=8),
        "dropout": FloatDistribution(0.0, 0.4),
        "lr": FloatDistribution(0.03, 3.0, log=True),
    }
    with (Path(__file__).parent / "data" / "fifty.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    trials = []
    for row in rows:
        params = {name: int(row[name]) if isinstance(one, IntDistribution) else float(row[name]) for name, one in space.items()}
        accuracies = [float(row[f"e{epoch}"]) for epoch in range(1, EPOCHS + 1) if row[f"e{epoch}"]]
        trials.append(trial(int(row["trial"]), row["state"], accuracies, params, space))
    starts = [{"filters": 64, "lr": 0.1}]
    return study(trials, "fifty", space={"name": "basic", "parameters": {}, "starts": starts}, settings={"dataset": "cifar10"})


def artifacts(folder, n=N_SCORED, classes=10, edge=32, channels=3):
    """Write what a worker leaves beside the best checkpoint; right in about 85 of 100 images."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(0, 1, (n, classes))
    logits[np.arange(n), labels] += rng.normal(4, 2, n)
    right = logits.argmax(1) == labels
    shown = np.concatenate([np.flatnonzero(~right)[:24], np.flatnonzero(right)[:24]])
    pictures = rng.integers(0, 256, (len(shown), edge, edge, channels), dtype=np.uint8)
    np.savez_compressed(
        folder / "scores.npz", logits=logits.astype("float32"), labels=labels, pictures=pictures, picture_indices=shown
    )
    layers = [
        {
            "name": f"blocks.{i}.conv",
            "kind": "Conv2d",
            "output_shape": [32, 32, 32],
            "parameters": 9248,
            "macs": 9_437_184,
        }
        for i in range(6)
    ]
    (folder / "layers.json").write_text(json.dumps(layers))
    return folder


def newest(folder):
    """The newest undamaged checkpoint of a trial; None without one."""
    from hpo.networks import checkpoint
    from hpo.system import checkpoints

    for path in checkpoints.newest_first(folder):
        with contextlib.suppress(StorageError):
            return checkpoint.load(path)
    return None
