"""Networks of torchvision take any images and classes, begin with trained weights, and learn from frozen features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import noise

from hpo.builtin.models import AdaptiveConfig, NetworkConfig
from hpo.builtin.recipe import TrainingConfig
from hpo.errors import DataError, UsageError
from hpo.networks import models, stored, weights, zoo
from hpo.networks.measuring import passed
from hpo.training.features import Kept
from hpo.training.train import Training

SMALLEST = "squeezenet1_1"
QUICK = ["alexnet", "googlenet", "mnasnet0_5", "mobilenet_v3_small", "shufflenet_v2_x0_5", SMALLEST]
FAMILIES = ["convnext_tiny", "densenet121", "efficientnet_b0", "inception_v3", "maxvit_t", "regnet_y_400mf", "resnet18", "swin_t"]


def quiet(_what, _done, _total):
    pass


def parts(net):
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


@pytest.mark.parametrize("name", QUICK)
def test_a_network_takes_small_and_grey_images_and_any_classes(name):
    net = zoo.Adapted(name, 7, 20, 0.1).eval()
    assert net(torch.zeros(2, 1, 20, 20)).shape == (2, 7)
    assert net(torch.zeros(2, 3, 20, 20)).shape == (2, 7)
    assert net.edge == 64
    assert net.backbone.state_dict().keys() < zoo._constructed(name, 64).state_dict().keys() or name == SMALLEST


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAMILIES, "vgg11_bn", "vit_b_16", "swin_v2_t"])
def test_every_family_is_adapted_and_measured(name):
    size, logits = passed(zoo.Adapted(name, 7, 32, 0.1), 1, 32)
    assert logits.shape == (1, 7)
    assert sum(layer.parameters for layer in size.layers) == size.n_parameters
    assert size.macs == pytest.approx(sum(layer.macs for layer in size.layers), rel=0.01)


def test_a_name_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"there is no model 'resnet81'. Did you mean 'resnet18'\? Or name a function"):
        models.check("resnet81")


def saved(path, name=SMALLEST, state=None):
    torch.manual_seed(5)
    torch.save(zoo._constructed(name, 64).state_dict() if state is None else state, path)
    return path


def training(found, config, kept=None, n=24):
    images = noise(n, n_classes=3)
    return Training(config, images, images, 3, 2, 0, model=SMALLEST, weights=found, kept=kept)


ADAPTIVE = AdaptiveConfig(batch_size=8, lr=0.1)


def test_weights_of_a_file_are_what_a_network_begins_with(tmp_path):
    found = weights.found(SMALLEST, str(saved(tmp_path / "some.pt")), quiet)
    assert found.mean == weights.IMAGENET[0]
    net = training(found, ADAPTIVE).net
    assert all(torch.equal(value, found.state[name]) for name, value in net.backbone.state_dict().items())
    other = training(found, ADAPTIVE.model_copy(update={"pretrained": False})).net
    assert not torch.equal(other.backbone.state_dict()["features.0.weight"], found.state["features.0.weight"])
    assert all(p.requires_grad for p in other.parameters())


def test_a_network_that_hpo_has_trained_gives_its_backbone_and_its_scaling(tmp_path):
    torch.manual_seed(1)
    net = zoo.Adapted(SMALLEST, 10, 32, 0.0)
    images = stored.Images(
        size=32, channels=3, grey=False, fit="crop", factor=(0.5 / 255,) * 3, offset=(-0.25,) * 3
    )  # value = (pixel / 255 - 0.5) / 2
    told = stored.Description(
        **stored.versions(),
        model=SMALLEST,
        recipe=2,
        point=NetworkConfig().model_dump(),
        classes=tuple("abcdefghij"),
        images=images,
        mirrored=True,
        precision="float32",
        data={"name": "some", "digest": ""},
        seed=0,
        settings={},
        history=(),
        n_train=1,
        n_scored=1,
    )
    stored.write(tmp_path / "network.safetensors", told, net.state_dict())
    found = weights.found(SMALLEST, str(tmp_path / "network.safetensors"), quiet)
    assert (found.mean, found.deviation) == (pytest.approx((0.5,) * 3), pytest.approx((2.0,) * 3))
    weights.check(SMALLEST, found, 3, 32)
    assert torch.equal(found.state["features.0.weight"], net.backbone.state_dict()["features.0.weight"])


@pytest.mark.parametrize("name", ["some.pt", "some.safetensors", "some.ckpt"])
def test_a_file_of_something_else_is_refused_whatever_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(UsageError, match="it is no state of a network"):
        weights.found(SMALLEST, str(tmp_path / name), quiet)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no weights", "it is no state of a network"),
        (None, "it cannot be read: No such file or directory"),
        ({}, "it holds no tensors"),
        (
            {"features.0.weight": torch.zeros(1)},
            r"does not fit this network: features.0.weight has the shape \(1,\), not",
        ),
        ({"conv": torch.zeros(1)}, "does not fit this network: it has no features.0.weight, and 49 more"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(tmp_path, content, said):
    path = tmp_path / "some.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        saved(path, state=content)
    with pytest.raises(UsageError, match=said):
        weights.check(SMALLEST, weights.found(SMALLEST, str(path), quiet), 3, 32)


def test_a_registry_that_cannot_be_reached_is_one_sentence_with_the_place_for_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"cannot be fetched: .*Put https://.*/squeezenet1_1.* there yourself"):
        weights.found(SMALLEST, weights.PRETRAINED, quiet)


def test_what_is_frozen_stays_and_the_backbone_learns_at_its_own_rate(tmp_path):
    found = weights.found(SMALLEST, str(saved(tmp_path / "some.pt")), quiet)
    for freeze in ("half", "none"):
        run = training(found, ADAPTIVE.model_copy(update={"freeze": freeze, "averaging": 0.0}))
        before = {name: value.clone() for name, value in parts(run.net).items()}
        next(iter(run.epochs()))
        moved = {name for name, value in parts(run.net).items() if not torch.equal(value, before[name])}
        assert ("backbone.features.0.weight" in moved) == (freeze == "none")
        assert {"backbone.features.12.expand3x3.weight", "head.0.weight"} <= moved
        rates = {group["share"]: group["lr"] for group in run.optimizer.param_groups}
        assert rates[0.1] == pytest.approx(0.1 * rates[1.0])


def test_a_frozen_backbone_computes_its_features_once_for_all_trials_and_gives_the_same_network(tmp_path):
    found = weights.found(SMALLEST, str(saved(tmp_path / "some.pt")), quiet)
    images = noise(24, n_classes=3)
    kept = Kept(tmp_path, {"of": "a test"}, images, images)
    run = training(found, ADAPTIVE, kept)
    epochs = list(run.epochs())
    files = sorted((tmp_path / "features").glob("*.npy"))
    assert len(files) == 2
    logits = run.logits
    run.features = None
    run.scores()
    assert torch.allclose(run.logits, logits, atol=1e-4)  # by the whole network, from the pixels
    assert run.scored.state_dict().keys() == run.net.state_dict().keys()

    def refused(_self, _images):
        raise AssertionError("they are known")

    again = training(found, ADAPTIVE, kept)
    again.net.features = refused.__get__(again.net)
    assert [epoch.metrics for epoch in again.epochs()] == [epoch.metrics for epoch in epochs]
    torch.save(dict(run.state()), tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size < 100_000


def test_features_cut_short_are_made_again(tmp_path):
    found = weights.found(SMALLEST, str(saved(tmp_path / "some.pt")), quiet)
    images = noise(24, n_classes=3)
    kept = Kept(tmp_path, {}, images, images)
    whole = [epoch.metrics for epoch in training(found, ADAPTIVE, kept).epochs()]
    for file in (tmp_path / "features").glob("*.npy"):
        file.write_bytes(file.read_bytes()[:500])
    assert [epoch.metrics for epoch in training(found, ADAPTIVE, kept).epochs()] == whole


def test_a_configuration_is_that_of_its_model():
    assert type(models.configuration("resnet18", {"dropout": 0.1})) is NetworkConfig
    assert type(models.configuration("resnet18", {"freeze": "all"})) is AdaptiveConfig
    own = models.configuration(str(Path("/a/net.py:build")), {"width": 3, "lr": 0.2})
    assert isinstance(own, TrainingConfig)
    assert (own.width, own.lr) == (3, 0.2)
