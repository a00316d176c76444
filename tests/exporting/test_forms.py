"""Every form of every kind of network that hpo builds, from a network's file alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import PLAIN, TUTORIAL, config

from hpo.errors import UsageError
from hpo.exporting import forms
from hpo.networks import models, stored
from hpo.networks.model import ConvNet
from hpo.networks.network import Network
from hpo.networks.stored import Description, Images

CLASSES = ("cat", "dog", "eel")
KINDS = {
    "plain": (PLAIN, 32, 3, False, False),
    "photographs": (config(stem="whiten", norm="batch", filters=8, depth=3, dropout=0.2), 224, 3, False, True),
    "patches that do not fit": (config(stem="none", norm="group", filters=12, activation="silu"), 131, 3, False, False),
    "a hidden layer": (TUTORIAL.model_copy(update={"filters": 4, "hidden": 16}), 32, 3, False, True),
    "late maxima": (config(pool="late", kernel=5, activation="gelu", norm="batch", depth=2), 28, 3, False, False),
    "grey, three channels": (config(stem="whiten", depth=2), 32, 3, True, False),
    "grey, one channel": (config(stem="whiten", norm="batch", depth=2), 28, 1, True, False),
}
EXPORTED = [pytest.param(form, marks=pytest.mark.slow) if form in ("onnx", "torch") else form for form in forms.PROVEN]


def network(folder, kind):
    configuration, size, channels, grey, mirrored = KINDS[kind]
    factor, offset = (0.0158, 0.0161, 0.0149)[:channels], (-1.99, -1.95, -1.7)[:channels]
    images = Images(size=size, channels=channels, grey=grey, factor=factor, offset=offset)
    about = Description(point=configuration.model_dump(), recipe=2, classes=CLASSES, images=images, mirrored=mirrored)
    torch.manual_seed(0)
    net = ConvNet(configuration, len(CLASSES), channels, size)
    stored.write(folder / "network.safetensors", about, net.state_dict())
    opened = Network.open(folder / "network.safetensors")
    opened.precision = torch.float32
    return opened


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", EXPORTED)
def test_a_form_computes_what_the_network_does(tmp_path, form, kind):
    net = network(tmp_path, kind)
    size = net.description.images.size
    pixels = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    forms.PROVEN["safetensors"].write(net, tmp_path)  # which the source loads
    forms.PROVEN[form].write(net, tmp_path)
    run = forms.PROVEN[form].opened(tmp_path, net)
    for part in (pixels, pixels[:1]):
        np.testing.assert_allclose(run(part), net.scored(part), atol=1e-4)


SMALLEST = "squeezenet1_1"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch", "safetensors"])
def test_a_network_of_torchvisions_is_exported_but_not_written_out(tmp_path, form):
    point = models.configuration(SMALLEST, {}).model_dump()
    images = Images(size=32, channels=3, factor=(0.0158,) * 3, offset=(-2.0,) * 3)
    about = Description(model=SMALLEST, point=point, recipe=2, classes=CLASSES, images=images, mirrored=True)
    torch.manual_seed(0)
    net = models.build(SMALLEST, models.configuration(SMALLEST, point), len(CLASSES), 3, 32)
    stored.write(tmp_path / "network.safetensors", about, net.state_dict())
    opened = Network.open(tmp_path / "network.safetensors")
    opened.precision = torch.float32
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    forms.PROVEN[form].write(opened, tmp_path)
    np.testing.assert_allclose(forms.PROVEN[form].opened(tmp_path, opened)(pixels), opened.scored(pixels), atol=1e-4)
    assert "source" not in forms.chosen(None, opened)[0]
    with pytest.raises(UsageError, match="hpo's own network, whose layers it writes out; squeezenet1_1 is not"):
        forms.chosen(["source"], opened)
