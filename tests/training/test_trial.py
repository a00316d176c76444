import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import PLAIN, config

from hpo.builtin.convnet import Config
from hpo.data import datasets
from hpo.errors import UsageError
from hpo.networks import checkpoint, stored
from hpo.networks.model import ConvNet, measure
from hpo.objective import TrialError
from hpo.scoring import correct
from hpo.scoring.metrics import measured
from hpo.settings import Settings
from hpo.training.memory import training_bytes
from hpo.training.pictured import N_PICTURES
from hpo.training.task import Task
from hpo.training.trial import Trial

CPU = torch.device("cpu")
GIB = 2**30
SETTINGS = Settings(dataset="digits", epochs=3, limit_train=200, limit_test=120)
LEARNED = config(norm="batch", lr=0.02, standardize=True, dropout=0.1)


@pytest.fixture(scope="module")
def digits(tmp_path_factory, cache):
    return datasets.load("digits", tmp_path_factory.mktemp("data"), cache)


@pytest.fixture(scope="module")
def task(digits):
    return Task.of(SETTINGS, digits, CPU, GIB)


@pytest.fixture(scope="module")
def done(task, tmp_path_factory):
    """A trial that was trained to its end, and its last checkpoint."""
    trial = Trial(task, LEARNED, 7, tmp_path_factory.mktemp("done"))
    assert [epoch.number for epoch in trial.epochs()] == [1, 2, 3]
    return trial, trial.finish()


def curve(epochs):
    return [(epoch.number, epoch.score, epoch.metrics) for epoch in epochs]


def test_a_trial_tells_the_batch_size_that_its_number_of_images_decides(task, tmp_path):
    trial = Trial(task, config(batch_size=0), 7, tmp_path)
    list(trial.epochs())
    assert stored.read(trial.finish())[0].point["batch_size"] == 128


def test_scores_hold_what_the_network_said_of_each_scored_image(done, digits):
    trial, path = done
    scores = np.load(path.parent / "scores.npz")
    assert scores["logits"].shape == (120, 10)
    assert scores["logits"].dtype == np.float32
    assert np.array_equal(scores["labels"], digits.test.labels[datasets.take(digits.test.labels, 120, seed=0)])
    right = scores["logits"].argmax(1) == scores["labels"]
    assert right.mean() == pytest.approx(trial.history[-1].score)


def test_the_answers_of_the_latest_epoch_lie_beside_its_checkpoint(done, task, tmp_path):
    trial, path = done
    scores = np.load(path.parent / "scores.npz")
    last = correct.read(path.with_name("correct.bits"), 120, trial.history[-1].score)
    assert np.array_equal(last, scores["logits"].argmax(1) == scores["labels"])
    stopped = Trial(task, LEARNED, 7, tmp_path)
    first = next(stopped.epochs())
    assert correct.read(tmp_path / "correct.bits", 120, first.score) is not None


def test_pictures_are_the_most_confident_mistakes_and_then_successes(done, digits):
    scores = np.load(done[1].parent / "scores.npz")
    shown, logits, labels = scores["picture_indices"], scores["logits"], scores["labels"]
    tested = digits.test.images[datasets.take(digits.test.labels, 120, seed=0)]
    assert np.array_equal(scores["pictures"], tested[shown])
    right = logits.argmax(1) == labels
    n_wrong = min(N_PICTURES, (~right).sum())
    assert not right[shown[:n_wrong]].any()
    assert right[shown[n_wrong:]].all()
    assert len(shown) == n_wrong + min(N_PICTURES, right.sum())
    confidence = torch.from_numpy(logits).softmax(1).max(1).values.numpy()
    mistakes = np.sort(confidence[~right])[::-1][:n_wrong]
    assert confidence[shown[:n_wrong]] == pytest.approx(mistakes, rel=1e-4)


def test_layers_are_a_table_of_name_kind_shape_and_cost(done):
    trial, path = done
    layers = json.loads((path.parent / "layers.json").read_text())
    assert layers[0] == {
        "name": "blocks.0.0",
        "kind": "Conv2d",
        "output_shape": [4, 32, 32],
        "parameters": 108,
        "macs": 108 * 32 * 32,
    }
    assert sum(layer["parameters"] for layer in layers) == trial.size.n_parameters
    assert layers[-1]["output_shape"] == [10]


def test_of_a_trial_that_is_done_its_network_is_left_with_all_that_scoring_needs(done, task):
    trial, path = done
    assert {file.name for file in path.parent.iterdir()} == {"network.safetensors", "scores.npz", "layers.json", "correct.bits"}
    told, weights = stored.read(path)
    assert told.history == tuple(
        (e.number, e.metrics["train_loss"], e.metrics["score_loss"], e.score, e.images_per_second, e.seconds)
        for e in trial.history
    )
    assert (told.point, told.seed, told.recipe) == (LEARNED.model_dump(), 7, task.recipe.version)
    assert (told.classes, told.mirrored, told.images.grey) == (tuple("0123456789"), False, True)
    assert (told.data, told.n_train, told.n_scored) == ({"name": "digits", "digest": task.digest}, 200, 120)
    assert (told.score, told.torch) == (trial.history[-1].score, torch.__version__)
    net = ConvNet(LEARNED, 10)
    net.load_state_dict(weights)
    pixels = task.score.pixels[task.score.chosen].permute(0, 3, 1, 2).float()
    factor, offset = (torch.tensor(part).view(1, 3, 1, 1) for part in (told.images.factor, told.images.offset))
    logits = torch.from_numpy(np.load(path.parent / "scores.npz")["logits"])
    with torch.inference_mode():
        assert (
            net.eval()(pixels * factor + offset).argmax(1) == logits.argmax(1)
        ).float().mean() > 0.97  # in bfloat16, some else


def test_what_is_left_is_a_fraction_of_what_training_kept(task, tmp_path):
    """Weights, their average, gradients' momentum, twice; then the scored weights once."""
    trial = Trial(task, config(filters=32, depth=3, averaging=0.1), 0, tmp_path)
    list(trial.epochs())
    before = sum(path.stat().st_size for path in tmp_path.glob("epoch-*"))
    trial.finish()
    after = (tmp_path / "network.safetensors").stat().st_size
    assert 4 * trial.size.n_parameters < after < before / 5


@pytest.mark.parametrize("point", ["result.layers", "file.filled", "file.renamed", "checkpoint.written"])
def test_a_trial_that_died_while_it_finished_loses_nothing(task, done, tmp_path, monkeypatch, point):
    trial = Trial(task, LEARNED, 7, tmp_path)
    list(trial.epochs())
    with monkeypatch.context() as dying:
        dying.setattr("hpo.system.failpoints._armed", {point: (3 if point.startswith("file") else 1, "raise")})
        with pytest.raises(RuntimeError, match=point):
            trial.finish()
    again = Trial(task, LEARNED, 7, tmp_path)
    assert (again.history, list(again.epochs()), again.passed_over) == (trial.history, [], [])
    weights = [stored.read(path)[1] for path in (again.finish(), done[1])]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0].keys() | weights[1].keys())
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {path.name for path in done[1].parent.iterdir()}
    scores = [np.load(folder / "scores.npz")["logits"] for folder in (tmp_path, done[1].parent)]
    assert np.array_equal(*scores)


def without_a_layer(state):
    state["training"]["net"].popitem()
    return state


@pytest.mark.parametrize(
    "change",
    [
        lambda _: {},
        lambda _: [],
        lambda state: {"identity": state["identity"]},
        lambda state: state | {"training": {}},
        lambda state: state | {"history": [(1, 2)]},
        lambda state: state | {"history": state["history"][:1]},
        lambda state: state | {"logits": torch.zeros(3)},
        without_a_layer,
        lambda state: state | {"training": state["training"] | {"epoch": 7}},
        lambda state: state | {"training": state["training"] | {"scored": {}}},
        lambda state: state | {"identity": state["identity"] | {"settings": {"epochs": "none"}}},
        lambda state: state | {"identity": torch.zeros(3)},
    ],
)
def test_a_sealed_checkpoint_of_other_content_is_passed_over_with_a_sentence(task, done, tmp_path, change):
    first = Trial(task, LEARNED, 7, tmp_path)
    for _ in zip(range(2), first.epochs(), strict=False):
        pass
    checkpoint.save(tmp_path, 2, change(checkpoint.load(tmp_path / "epoch-0002.ckpt")))  # its seal is right
    second = Trial(task, LEARNED, 7, tmp_path)
    assert second.history == first.history[:1]
    assert len(second.passed_over) == 1
    assert "epoch-0002.ckpt contains no state of " in second.passed_over[0]
    assert [epoch.number for epoch in second.epochs()] == [2, 3]
    assert curve(second.history) == curve(done[0].history)


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_a_trial_that_was_stopped_after_any_epoch_goes_on_as_if_it_never_was(task, done, tmp_path, stopped_after):
    first = Trial(task, LEARNED, 7, tmp_path)
    for _ in zip(range(stopped_after), first.epochs(), strict=False):
        pass
    second = Trial(task, LEARNED, 7, tmp_path)
    assert second.history == first.history  # times too: these epochs were not trained again
    assert [epoch.number for epoch in second.epochs()] == list(range(stopped_after + 1, 4))
    assert curve(second.history) == curve(done[0].history)


def test_a_trial_that_is_done_is_scored_again_from_its_checkpoint_alone(task, done):
    trial, path = done
    before = np.load(path.parent / "scores.npz")["logits"]
    again = Trial(task, LEARNED, 7, trial.folder)
    assert list(again.epochs()) == []
    assert again.finish() == path
    assert np.array_equal(np.load(path.parent / "scores.npz")["logits"], before)


@pytest.mark.parametrize(
    ("configuration", "seed", "settings"),
    [
        (LEARNED.model_copy(update={"lr": 0.03}), 7, SETTINGS),
        (LEARNED, 8, SETTINGS),
        (LEARNED, 7, SETTINGS.model_copy(update={"epochs": 4})),
        (LEARNED, 7, SETTINGS.model_copy(update={"limit_train": 199})),
    ],
    ids=["configuration", "seed", "epochs", "images"],
)
def test_a_checkpoint_of_another_configuration_seed_or_setting_is_not_used(digits, done, configuration, seed, settings):
    other = Trial(Task.of(settings, digits, CPU, GIB), configuration, seed, done[0].folder)
    assert other.history == []
    assert other.passed_over == [
        f"{done[1]} is of another configuration, seed, recipe or other settings.",
        "it starts from the beginning.",
    ]


def test_a_network_that_cannot_be_built_is_refused_with_the_reason(task, tmp_path):
    with pytest.raises(TrialError, match=r"depth = 6: after 5 blocks the image is 1 pixel wide") as refused:
        Trial(task, config(depth=6), 0, tmp_path)
    assert refused.value.cause == "shape"


@pytest.mark.parametrize(
    "huge",
    [Config(filters=2048, depth=4, growth=8.0), config(batch_size=65536, filters=256), config(hidden=8192, filters=2048)],
    ids=["weights", "activations", "hidden layer"],
)
def test_a_network_that_does_not_fit_is_refused_before_anything_is_allocated(task, tmp_path, huge):
    with pytest.raises(TrialError, match=r"would take about [\d,]+ MiB and 1,024 MiB are free \(filters = \d+") as refused:
        Trial(task, huge, 0, tmp_path)
    assert refused.value.cause == "memory"


def test_the_running_average_is_a_copy_of_the_weights_more():
    size = measure(config(), 10)
    assert (
        training_bytes(size, config(averaging=0.1), CPU) - training_bytes(size, config(averaging=0.0), CPU)
        == 4 * size.n_parameters
    )


def test_a_loss_that_is_not_finite_is_a_failure_with_the_epoch_and_the_rate(task, tmp_path):
    trial = Trial(task, config(lr=100.0, weight_decay=1.0, hidden=8), 0, tmp_path)
    with pytest.raises(TrialError, match=r"not finite in epoch \d \(lr = 100\)") as failed:
        list(trial.epochs())
    assert failed.value.cause == "diverged"


def test_validation_images_come_out_of_the_training_set_and_the_test_set_is_never_read(digits):
    unread = replace(digits, test=datasets.Split(digits.test.images[:0], digits.test.labels[:0]))
    task = Task.of(Settings(dataset="digits", score="validation"), unread, CPU, GIB)
    trained, scored = set(task.train.chosen.tolist()), set(task.score.chosen.tolist())
    assert not trained & scored
    assert trained | scored == set(range(1437))
    assert len(scored) == 143


@pytest.mark.parametrize("limits", [{"limit_train": 1438}, {"limit_test": 361}, {"limit_test": 9}])
def test_a_limit_that_does_not_fit_the_data_is_refused(digits, limits):
    with pytest.raises(UsageError, match="a limit of"):
        Task.of(Settings(dataset="digits", **limits), digits, CPU, GIB)


def test_digits_are_not_mirrored_whatever_the_space_says(task, tmp_path):
    mirrored, plain = (Trial(task, config(flip=yes, tta=yes, lr=0.01), 1, tmp_path / str(yes)) for yes in (True, False))
    assert curve(mirrored.epochs()) == curve(plain.epochs())


def test_memory_that_runs_out_before_the_first_step_is_the_trials_failure(task, tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"
        )

    monkeypatch.setattr("hpo.training.train.make_optimizer", full)
    with pytest.raises(TrialError, match="ran out of memory") as failed:
        Trial(task, PLAIN, 0, tmp_path)
    assert failed.value.cause == "memory"


def test_every_epoch_is_finite_numbers_and_an_accuracy_between_0_and_1(done):
    for epoch in done[0].history:
        assert all(
            math.isfinite(value) for value in (epoch.score, epoch.seconds, epoch.images_per_second, *epoch.metrics.values())
        )
        assert 0 <= epoch.score <= 1


def test_plain_settings_are_enough(task, tmp_path):
    assert Trial(task, PLAIN, 0, tmp_path).history == []


@pytest.mark.parametrize("metric", ["balanced-accuracy", "macro-f1"])
def test_another_metric_is_the_score_and_the_accuracy_is_beside_it_also_of_epochs_that_a_checkpoint_brings_back(
    digits, done, tmp_path, metric
):
    task = Task.of(SETTINGS.model_copy(update={"metric": metric}), digits, CPU, GIB)
    first = Trial(task, LEARNED, 7, tmp_path)
    next(first.epochs())
    trial = Trial(task, LEARNED, 7, tmp_path)
    assert trial.history == first.history
    assert len([*trial.epochs()]) == 2
    with np.load(trial.finish().parent / "scores.npz") as scores:
        labels, predicted = scores["labels"], scores["logits"].argmax(1)
    assert trial.history[-1].score == measured(metric, labels, predicted)
    accuracies = [epoch.metrics["accuracy"] for epoch in trial.history]
    assert accuracies == pytest.approx([epoch.score for epoch in done[0].history])  # the training is the same
