"""A network's file alone is enough to classify pictures as its trial did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import config

import hpo
from hpo.data import datasets
from hpo.data.pictures.picture import decode
from hpo.errors import DataError, DeviceError, UsageError
from hpo.networks import checkpoint, models, stored
from hpo.networks.network import Network
from hpo.settings import Settings
from hpo.training.task import Task
from hpo.training.trial import Trial

CPU = torch.device("cpu")
LEARNED = config(norm="batch", lr=0.02, standardize=True, filters=8)


@pytest.fixture(scope="module")
def task(tmp_path_factory, cache):
    data = datasets.load("digits", tmp_path_factory.mktemp("data"), cache)
    return Task.of(Settings(dataset="digits", epochs=2, limit_train=200, limit_test=300), data, CPU, 2**30)


@pytest.fixture(scope="module")
def path(task, tmp_path_factory):
    trial = Trial(task, LEARNED, 7, tmp_path_factory.mktemp("done"))
    list(trial.epochs())
    return trial.finish()


@pytest.fixture(scope="module")
def network(path):
    return Network.open(path)


@pytest.fixture(scope="module")
def scored(task):
    return task.score.pixels[task.score.chosen].numpy()


def logits_of(path):
    return np.load(path.with_name("scores.npz"))["logits"]


def test_a_network_from_its_file_says_of_the_scored_images_what_its_trial_said_to_the_bit(path, scored, tmp_path):
    alone = hpo.Network.open(shutil.copy(path, tmp_path / "handed over.safetensors"))
    assert np.array_equal(alone.logits(scored), logits_of(path))


@pytest.mark.parametrize("tta", [True, False, "shifted"])
def test_views_are_those_of_the_scoring(task, tmp_path, tta, scored):
    """Digits have no mirror images; of CIFAR-10's the logits are the mean of both."""
    photographs = Task.of(task.settings.model_copy(update={"dataset": "cifar10"}), _as_data(task), CPU, 2**30)
    trial = Trial(photographs, LEARNED.model_copy(update={"tta": tta}), 7, tmp_path)
    list(trial.epochs())
    found = Network.open(trial.finish())
    assert found.description.mirrored == bool(tta)
    assert found.description.tta == tta
    logits = found.logits(scored)
    assert np.array_equal(logits, np.load(tmp_path / "scores.npz")["logits"])
    assert np.array_equal(found.logits(scored[:, :, ::-1]), logits) == (tta is True)  # to the bit


def _as_data(task):
    train, test = (
        datasets.Split(part.pixels.numpy()[part.chosen], part.labels.numpy()[part.chosen]) for part in (task.train, task.score)
    )
    return datasets.DataSet("cifar10", task.classes, train, test, "0" * 64, "digits")


def test_the_scorer_computes_in_float32_what_the_network_says(network, scored):
    whole = network.scorer(torch.from_numpy(scored).permute(0, 3, 1, 2)).numpy()
    exact = Network(network.module, network.description.model_copy(update={"precision": "float32"}), CPU).logits(scored)
    assert np.abs(whole - exact).max() < 1e-5


def test_probabilities_add_up_and_predict_names_the_largest(network, scored):
    probabilities = network.probabilities(scored)
    assert probabilities.sum(1) == pytest.approx(np.ones(300), abs=1e-5)
    assert network.predict(scored) == [network.classes[label] for label in logits_of_all(network, scored).argmax(1)]


def logits_of_all(network, scored):
    return network.logits(list(scored))


def test_one_picture_in_any_form_is_the_same_picture(network, scored, tmp_path):
    one = scored[0]
    Image.fromarray(one).save(tmp_path / "one.png")
    expected = network.logits(scored)[:1]
    forms = [
        one,
        one[None],
        one[..., 0],  # grey
        one[..., :1],
        one / np.float32(255),
        torch.from_numpy(one).permute(2, 0, 1),
        torch.from_numpy(one).permute(2, 0, 1)[None] / 255,
        torch.from_numpy(one[..., 0]),
        np.dstack([one, np.full(one.shape[:2], 255, np.uint8)]),  # opaque
        Image.fromarray(one),
        Image.fromarray(one).convert("L"),
        Image.fromarray(one).convert("P"),
        tmp_path / "one.png",
        str(tmp_path / "one.png"),
        [tmp_path / "one.png"],
        (Image.fromarray(one) for _ in range(1)),
    ]
    for form in forms:
        assert network.logits(form) == pytest.approx(expected, abs=0.05), form  # a batch of one, in bfloat16


def test_a_picture_of_another_size_becomes_what_training_would_have_made_of_it(network, tmp_path):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 61, 3), dtype=np.uint8))
    exif = photo.getexif()
    exif[0x0112] = 6  # lies on its side
    photo.save(tmp_path / "photo.jpg", exif=exif)
    square = decode(tmp_path / "photo.jpg", 32, "crop").pixels
    assert np.array_equal(network.logits(tmp_path / "photo.jpg"), network.logits(square))
    assert np.array_equal(network.logits(Image.open(tmp_path / "photo.jpg")), network.logits(square))


def test_colours_are_lost_where_all_training_images_were_grey(network):
    red = np.zeros((32, 32, 3), np.uint8)
    red[8:20, 8:20, 0] = 200
    grey = np.asarray(Image.fromarray(red).convert("L"))
    assert np.array_equal(network.logits(red), network.logits(grey))


def test_many_pictures_of_several_sizes_keep_their_order(network, scored):
    mixed = [scored[0], scored[1:200], Image.fromarray(scored[200]).resize((64, 64)), scored[201:]]
    logits = network.logits(mixed)
    assert len(logits) == 300
    assert np.abs(np.delete(logits - network.logits(scored), 200, 0)).max() < 0.05


def test_no_pictures_are_no_rows(network):
    assert network.logits([]).shape == (0, 10)
    assert network.predict([]) == []


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (np.zeros(7, np.uint8), "an array of 7 is no picture"),
        (np.zeros((2, 3, 4, 5, 6), np.uint8), "2 x 3 x 4 x 5 x 6"),
        (np.zeros((8, 8, 2, 2), np.uint8), "8 x 8 x 2 x 2"),
        (np.zeros((0, 8, 3), np.uint8), "0 x 8 x 3"),
        (np.full((8, 8, 3), 255.0), "floats outside 0 to 1"),
        (np.full((8, 8, 3), np.nan), "floats outside 0 to 1"),
        (np.zeros((8, 8, 3), np.int64), "int64 have no defined range"),
        (np.zeros((8, 8), complex), "complex128 have no defined range"),
        (7, "a int is no picture"),
        ([None], "a NoneType is no picture"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(network, odd, said):
    with pytest.raises(UsageError, match=said):
        network.predict(odd)


def test_a_file_that_is_no_picture_is_named(network, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for name in ("broken.png", "missing.png"):
        with pytest.raises(DataError, match=f"{name} cannot be read as an image"):
            network.predict(tmp_path / name)


def test_other_programs_read_the_weights(path, network):
    weights = load_file(path)
    assert weights.keys() == network.module.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in network.module.state_dict().items())


def test_the_checkpoint_of_a_trial_that_an_older_hpo_finished_gives_the_same_network(task, path, scored, tmp_path):
    told, weights = stored.read(path)
    scale = {part: torch.tensor(getattr(told.images, part)).view(1, 3, 1, 1) for part in ("factor", "offset")}
    state = {
        "identity": {"config": told.point, "seed": 7, "settings": told.settings, "recipe": told.recipe},
        "training": {"epoch": 2, "scored": weights, "scale": scale},
        "history": [list(row) for row in told.history],
        "logits": torch.from_numpy(logits_of(path)),
        "classes": list(told.classes),
        "mirrorable": False,
    }
    old = checkpoint.save(tmp_path, 2, state)
    network = Network.open(old)
    assert np.array_equal(network.logits(scored), logits_of(path))
    assert network.description.score == told.score
    continued = Trial(task, LEARNED, 7, tmp_path)
    assert (len(continued.history), continued.passed_over) == (2, [])
    assert np.array_equal(continued.finish().read_bytes()[-1000:], path.read_bytes()[-1000:])


def test_a_checkpoint_of_a_training_that_goes_on_is_no_network(task, tmp_path):
    next(Trial(task, LEARNED, 7, tmp_path).epochs())
    with pytest.raises(DataError, match="of a training that has not ended"):
        Network.open(tmp_path / "epoch-0001.ckpt")


def damaged(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: b"", "is not a network of hpo: it is empty"),
        (lambda _: b"PK\3\4 something else", "is not a network of hpo"),
        (lambda content: content[:-1], "incomplete or damaged"),
        (lambda content: content[:100], "incomplete or damaged"),
        (lambda content: content + b"x", "incomplete or damaged"),
        (lambda content: damaged(content, len(content) - 5), "incomplete or damaged: its SHA-256"),
        (lambda content: damaged(content, 60), "damaged"),
        (lambda content: content.replace(b'"0","1"', b'"1","0"').replace(rb"\"0\",\"1\"", rb"\"1\",\"0\""), "SHA-256"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_a_sentence(path, tmp_path, change, said):
    (tmp_path / "x.safetensors").write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=said) as refused:
        Network.open(tmp_path / "x.safetensors")
    assert "\n" not in str(refused.value)
    assert str(tmp_path / "x.safetensors") in str(refused.value)


def test_weights_of_another_program_are_no_network(tmp_path):
    save_file({"w": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="that hpo did not write"):
        Network.open(tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", ["missing.safetensors", ".", "x\0y"])
def test_a_file_that_is_not_there_or_is_none_is_named(tmp_path, name):
    with pytest.raises(DataError, match="cannot read the network"):
        Network.open(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"point": {"filters": 16}}, "not those of the network"),
        ({"point": {"filters": 2048, "depth": 8, "growth": 8.0}}, "not those of the network"),  # and no memory is taken
        ({"point": {"filters": -1}}, "not those of the network"),
        ({"recipe": 99}, "recipe 99"),
        ({"format": 2}, "written by a newer hpo"),
        ({"classes": ()}, "does not describe a network"),
    ],
)
def test_a_description_that_does_not_fit_its_weights_is_refused(path, tmp_path, change, said):
    told, weights = stored.read(path)
    odd = told.model_copy(update={key: told.point | value if key == "point" else value for key, value in change.items()})
    stored.write(tmp_path / "odd.safetensors", odd, weights)
    with pytest.raises(DataError, match=said):
        Network.open(tmp_path / "odd.safetensors")


def test_a_device_that_is_not_here_is_refused(path):
    for name in ("cuda:77", "nonsense"):
        with pytest.raises(DeviceError, match=f"device '{name}' cannot be used here"):
            Network.open(path, device=name)


def test_a_description_names_no_place_of_this_machine(path):
    n = int.from_bytes(path.read_bytes()[:8], "little")
    told = json.loads(json.loads(path.read_bytes()[8 : 8 + n])["__metadata__"]["hpo"])
    assert str(Path.home()) not in json.dumps(told)
    assert "/" not in json.dumps(told)


def test_a_network_of_torchvision_is_opened_from_its_file_alone(task, tmp_path):
    model = "mobilenet_v3_small"
    small = Task.of(Settings(dataset="digits", epochs=1, limit_train=64, limit_test=50), _as_data(task), CPU, 2**33, model=model)
    trial = Trial(small, models.configuration(model, {"batch_size": 32}), 7, tmp_path)
    list(trial.epochs())
    found = Network.open(trial.finish())
    pixels = small.score.pixels[small.score.chosen].numpy()
    assert np.array_equal(found.logits(pixels), logits_of(tmp_path / "network.safetensors"))
    assert found.description.model == model
