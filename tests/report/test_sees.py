"""The page that classifies pictures computes what the network computes, and brings a picture to its size as hpo does."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
import torch
from browser import CHROMIUM, browsing, look
from hostile import in_process
from PIL import Image

import hpo
from hpo import api
from hpo.builtin.convnet import Config
from hpo.data.pictures.picture import fitted
from hpo.networks.model import ConvNet, measure
from hpo.networks.views import mean, views_of
from hpo.report import document
from hpo.report.network import MAX_BYTES, packed
from hpo.settings import RunOptions, Settings
from hpo.store.database import locate

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def browser():
    with browsing() as used:
        yield used


def page(network):
    """Return a page with a network, and nothing else."""
    text = document.render("base.html.j2", [], None, network=network, title="")
    place = '<div id="sees"><input type="file"><output></output></div>'
    return text.replace("</main>", place + "</main>")


def made(config, edge=32, channels=3, n_classes=10, **told):
    """Return a network with weights as after some training, and what the page is told of it."""
    torch.manual_seed(1)
    net = ConvNet(config, n_classes, channels, edge).eval()
    for name, values in net.state_dict().items():
        if values.dtype.is_floating_point:
            values.copy_(torch.rand_like(values) + 0.5 if name.endswith("var") else torch.randn_like(values) * 0.2)
    layers = [layer._asdict() for layer in measure(config, n_classes, channels, edge).layers]
    weights = {name: values.numpy() for name, values in net.state_dict().items()}
    known = {
        "edge": edge,
        "channels": channels,
        "fit": "crop",
        "mirrored": bool(config.tta),
        "shifted": config.tta == "shifted",
        "classes": [str(i) for i in range(n_classes)],
    }
    known |= {"factor": [0.017] * channels, "offset": [-1.9, -2.0, -1.8][:channels]}
    return net, packed(layers, weights, **(known | told))


@torch.no_grad()
def answered(net, pixels, network):
    """Return what torch says to (N, edge, edge, channels) bytes."""
    scaled = torch.from_numpy(pixels).float() * torch.tensor(network["factor"]) + torch.tensor(network["offset"])
    inputs = scaled.permute(0, 3, 1, 2)
    views = views_of(inputs, "shifted" if network["shifted"] else network["mirrored"])
    return mean([net(view) for view in views]).numpy()


def asked(browser, tmp_path, network, script, values):
    """Return what a script with `values` in it says on the page."""
    path = tmp_path / "page.html"
    path.write_text(page(network))
    text = base64.b64encode(json.dumps(values).encode()).decode()
    seen = look(path, browser, script=f"JSON.stringify((() => {{ const given = JSON.parse(atob('{text}')); {script} }})())")
    assert seen.console == []
    assert seen.requests == []
    return json.loads(seen.answer)


NETWORKS = {
    "as it is by default": {"config": {}},
    "small": {"config": {"depth": 1, "filters": 8, "dropout": 0.0, "tta": False}},
    "deep, of another activation": {"config": {"depth": 4, "filters": 8, "activation": "gelu", "kernel": 5}},
    "with groups, pooled late": {"config": {"depth": 2, "filters": 12, "norm": "group", "activation": "silu", "pool": "late"}},
    "without norms, with a hidden layer": {"config": {"depth": 2, "filters": 8, "norm": "none", "hidden": 16, "stem": "none"}},
    "with residual paths, in six views": {"config": {"depth": 2, "filters": 8, "convolutions": 3, "tta": "shifted"}},
    "grey": {"config": {"depth": 2, "filters": 8}, "edge": 28, "channels": 1},
    "of photographs": {"config": {"depth": 3, "filters": 8}, "edge": 130, "n_classes": 3},
    "of photographs, without a stem": {"config": {"depth": 2, "filters": 8, "stem": "none", "kernel": 1}, "edge": 97},
    "of an odd edge": {"config": {"depth": 2, "filters": 9, "growth": 1.5}, "edge": 33},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_computes_what_the_network_computes(browser, tmp_path, name):
    how = dict(NETWORKS[name])
    net, network = made(Config(**how.pop("config")), **how)
    edge, channels = network["edge"], network["channels"]
    pixels = np.random.default_rng(0).integers(0, 256, (3, edge, edge, channels), dtype=np.uint8)
    said = asked(browser, tmp_path, network, "return given.map((one) => [...sees.logits(one)])", pixels.reshape(3, -1).tolist())
    expected = answered(net, pixels, network)
    spread = np.ptp(expected)
    assert np.abs(np.array(said) - expected).max() < 0.001 * spread
    assert np.array(said).argmax(1).tolist() == expected.argmax(1).tolist()


@pytest.mark.slow
def test_large_networks_are_packed_in_eight_bits(browser, tmp_path):
    net, network = made(Config(depth=3, filters=80))
    assert network["bits"] == 8
    assert len(network["weights"]) < 3e6
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    said = asked(browser, tmp_path, network, "return given.map((one) => [...sees.logits(one)])", pixels.reshape(2, -1).tolist())
    expected = answered(net, pixels, network)
    assert np.abs(np.array(said) - expected).max() < 0.05 * np.ptp(expected)
    assert 2 * sum(values.numel() for values in net.state_dict().values()) > MAX_BYTES


SIDES = [(32, 32), (64, 48), (48, 100), (31, 33), (20, 20), (7, 50), (300, 200), (641, 480), (1, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_the_page_brings_a_picture_to_the_networks_size_as_hpo_does(browser, tmp_path, fit):
    _, network = made(Config(depth=1, filters=8), fit=fit)
    pictures = [np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8) for sides in SIDES]
    given = [[picture.ravel().tolist(), *picture.shape[:2]] for picture in pictures]
    said = asked(browser, tmp_path, network, "return given.map((one) => [...sees.square(...one)])", given)
    for square, picture in zip(said, pictures, strict=True):
        expected = np.asarray(fitted(Image.fromarray(picture), 32, fit)).astype(int).ravel()
        assert np.abs(np.array(square) - expected).max() <= 1, picture.shape
        assert np.mean(np.array(square) != expected) < 0.01, picture.shape


SPACE = """
depth = 1
filters = 8
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A trained study of digits in colour, as pictures are."""
    folder = tmp_path_factory.mktemp("sees")
    (folder / "small.toml").write_text(SPACE)
    settings = Settings(dataset="digits", epochs=2, limit_train=200, limit_test=100)
    options = RunOptions(trials=1, workers=1, device="cpu")
    api.run("first", settings=settings, options=options, space=str(folder / "small.toml"), storage=str(folder / "hpo.db"))
    return hpo.load("first", str(folder / "hpo.db"))


CLASSIFY = """
(async () => {
  const answer = document.querySelector("#sees output");
  const told = async (text) => { while (!answer.textContent.includes(text)) await new Promise((next) => setTimeout(next, 20)); };
  const shown = () => [...document.querySelectorAll("#sees li span:first-child")].map((one) => one.textContent);
  const said = [];
  for (const button of document.querySelectorAll(".pictures button")) {
    button.click();
    said.push([button.closest("li").textContent, shown()[0]]);
  }
  const input = document.querySelector("#sees input"), box = new DataTransfer(), canvas = document.querySelector("#sees canvas");
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  box.items.add(new File([blob], "again.png", { type: "image/png" }));
  const last = shown()[0];
  input.files = box.files;
  input.onchange({ target: input });
  await told("again.png");
  const again = shown()[0] === last, wrong = new DataTransfer();
  wrong.items.add(new File(["no picture"], "odd.png", { type: "image/png" }));
  document.getElementById("sees").ondrop({ preventDefault() {}, dataTransfer: wrong });
  await told("odd.png");
  return JSON.stringify({ said, again, odd: answer.textContent });
})()
"""


@pytest.mark.slow
def test_pictures_that_are_clicked_chosen_or_dropped_are_classified_without_a_request(browser, study, tmp_path):
    path = api.write_report(study, tmp_path / "page.html", with_network=True)
    seen = look(path, browser, script=CLASSIFY)
    assert (seen.console, seen.requests) == ([], [])
    found = json.loads(seen.answer)
    assert found["said"]
    for caption, said in found["said"]:  # "3, predicted 5, 41%" or "3, 97%"
        words = caption.split(", ")
        assert said == (words[1].removeprefix("predicted ") if len(words) == 3 else words[0]), caption
    assert found["again"]
    assert found["odd"].startswith("odd.png cannot be shown by this browser")


def test_a_page_without_a_network_has_nothing_of_it(study, tmp_path):
    text = api.write_report(study, tmp_path / "page.html").read_text()
    assert 'id="sees"' not in text
    assert "sees =" not in text


def test_a_network_that_is_gone_damaged_or_older_is_a_sentence_and_no_page(study, tmp_path):
    location = locate(str(study.location.path))
    kept = study.checkpoint.read_bytes()
    words = ("report", "first", "--with-network", "--storage", location, "--out", tmp_path / "page.html")
    try:
        for content, says in ((kept[:-1], "incomplete or damaged"), (b"junk", "not a network of hpo"), (None, "Train it again")):
            study.checkpoint.unlink()
            if content is not None:
                study.checkpoint.write_bytes(content)
            code, out, err = in_process(*words)
            assert (code, out, err.count("\n")) == (3, "", 1), err
            assert says in err
            assert not (tmp_path / "page.html").exists()
            study.checkpoint.touch()
    finally:
        study.checkpoint.write_bytes(kept)
