"""A network in a file of one's own is searched, continued, failed and reported as the built-in one is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from watchers import Interrupted, Told

import hpo
from hpo.cli.main import main
from hpo.errors import DataError, UsageError

EQUAL = """
import hpo
from torch import nn
from hpo.networks.layers import Dropout, GlobalMax, Multiply, Whiten

space = hpo.space(
    depth=hpo.whole(1, 2, default=2),
    filters=hpo.whole(4, 8, default=4, step=2),
    dropout=hpo.real(0.0, 0.4, default=0.05),
    lr=hpo.log(0.03, 3.0, default=0.2),
)

def build(config, data):
    stem = Whiten(data.channels)
    layers, channels = [], stem.out_channels
    for index in range(config.depth):
        width = 2 * max(1, round(config.filters * 2.0**index / 2)) if config.filters % 4 else config.filters * 2**index
        dropout = [Dropout(0.6 * config.dropout)] if config.dropout else []
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(width, momentum=0.4), nn.ReLU(),
            *dropout,
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width, momentum=0.4), nn.ReLU(),
        ]
        channels = width
    dropout = [Dropout(config.dropout)] if config.dropout else []
    head = [GlobalMax(), *dropout, nn.Linear(channels, data.n_classes, bias=False), Multiply(1 / 9)]
    return nn.Sequential(stem, nn.GELU(), *layers, *head)
"""
SAME_SPACE = """
depth = { type = "int", low = 1, high = 2, default = 2 }
filters = { type = "int", low = 4, high = 8, step = 2, default = 4 }
dropout = { type = "float", low = 0.0, high = 0.4, default = 0.05 }
lr = { type = "float", low = 0.03, high = 3.0, log = true, default = 0.2 }
"""
SMALL = """
import hpo
from torch import nn

space = hpo.space(width=hpo.whole(2, 6, default=4), lr=hpo.log(0.01, 1.0, default=0.1), momentum=0.8)

class Net(nn.Module):
    def __init__(self, config, data):
        super().__init__()
        self.conv = nn.Conv2d(data.channels, config.width, 3)
        self.last = nn.Linear(config.width, data.n_classes)

    def forward(self, images):
        return self.last(self.conv(images).relu().mean((2, 3)))

build = Net
"""
DIGITS = {"dataset": "digits", "epochs": 3, "limit_train": 200, "limit_test": 100}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(study, **given):
    options = hpo.RunOptions(trials=given.pop("trials", 4), workers=1, device="cpu")
    return hpo.run(study, settings=hpo.Settings(**{**DIGITS, **given.pop("settings", {})}), options=options, **given).record


def told(record):
    """All that must be equal of trials: points, epochs, scores, losses, sizes."""
    kept = ("train_loss", "score_loss", "n_parameters", "macs")
    notes = {t.number: [record.notes(t).get(key) for key in kept] for t in record.trials}
    return [(t.state.name, t.params, t.value, t.intermediate_values, notes[t.number]) for t in record.trials]


@pytest.mark.slow
def test_a_network_in_a_file_that_equals_the_built_in_one_gives_the_same_study_to_the_digit(here):
    (here / "equal.py").write_text(EQUAL)
    (here / "same.toml").write_text(SAME_SPACE)
    built_in = ran("built-in", model="convnet", space="same.toml", trials=6)
    own = ran("own", model="equal.py:build", trials=6)
    assert told(own) == told(built_in)
    assert len({t.value for t in own.trials}) > 2


def test_a_network_of_ones_own_is_searched_over_what_its_file_declares_and_reported(here):
    (here / "small.py").write_text(SMALL)
    record = ran("small", model="small.py")
    stored = record.attributes["objective"]
    assert (stored["kind"], stored["source"]) == ("model", f"{here / 'small.py'}:build")
    assert list(record.trials[0].params) == ["width", "lr"]
    assert record.attributes["space"]["parameters"]["momentum"]["value"] == 0.8
    assert record.attributes["environment"]["file_digest"] == stored["digest"]
    notes = record.notes(record.trials[0])
    assert notes["n_parameters"] == 4 * 27 + 4 + 4 * 10 + 10
    assert notes["macs"] == 30 * 30 * 4 * 27 + 4 * 10
    folder = record.winner_folder
    rows = json.loads((folder / "layers.json").read_text())
    assert [row["kind"] for row in rows] == ["Conv2d", "Linear"]
    page = hpo.write_report(record).read_text()
    assert "--model small.py:build" in page
    assert "cannot be shown" not in page


@pytest.mark.slow
def test_it_goes_on_from_its_last_epoch_by_the_studys_name_alone_and_a_changed_file_is_noticed(here):
    (here / "small.py").write_text(SMALL)
    options = hpo.RunOptions(trials=3, workers=1, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        hpo.run("cut", model="small.py", settings=hpo.Settings(**DIGITS), options=options, watcher=Interrupted())
    watcher = Told()
    cut = hpo.resume("cut", options=options, watcher=watcher).record
    assert watcher.warnings == []
    assert told(cut) == told(ran("whole", model="small.py", trials=3))
    (here / "small.py").write_text(SMALL + "\n# changed\n")
    watcher = Told()
    hpo.resume("cut", options=hpo.RunOptions(trials=4, workers=1, device="cpu"), watcher=watcher)
    assert "small.py:build has changed since the study was made" in watcher.warnings[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_like_this", "cannot be imported: ModuleNotFoundError"),
        ("x = 1", "it has no function 'build'. It needs one: def build\\(config, data\\)"),
        ("def build(config): return None", r"build\(config\) does not take the arguments config, data"),
        ("def build(config, data): yield None", "build is a generator, and should return a network"),
        ("import hpo\nspace = hpo.space(lr=hpo.log(1, 1000))\ndef build(config, data): ...", "lr"),
        ("space = 3\ndef build(config, data): ...", "space is a int"),
    ],
)
def test_a_file_that_declares_no_network_is_refused_before_anything_is_made(here, text, said):
    (here / "odd.py").write_text(text)
    with pytest.raises(UsageError, match=said):
        ran("odd", model="odd.py:build")
    assert not Path("studies").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('too wide')", "ValueError: too wide"),
        ("return 3", "returned a int: it should return a torch.nn.Module"),
        ("return nn.Flatten()", r"returns \(1, 3072\); expected are logits \(1, 10\)"),
        ("return nn.Linear(3, 10)", "RuntimeError"),
    ],
)
def test_a_network_that_cannot_be_built_fails_its_trial_with_the_reason(here, body, said):
    (here / "odd.py").write_text(f"from torch import nn\ndef build(config, data):\n    {body}\n")
    record = ran("odd", model="odd.py:build", trials=1)
    failed = record.notes(record.trials[0])["reason"]
    assert re.search(said, failed), failed


def test_options_that_contradict_each_other_are_refused(here):
    (here / "small.py").write_text(SMALL)
    for given, said in [
        ({"model": "small.py", "train": "small.py"}, "name one"),
        ({"model": "small.py", "pretrained": True}, "loads its weights itself"),
        ({"pretrained": True}, "Name it, such as: --model resnet18 --pretrained"),
        ({"model": "resnet18", "pretrained": True, "weights": "x.pt"}, "leave one out"),
    ]:
        with pytest.raises(UsageError, match=said):
            ran("odd", **given)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_its_network_needs_the_file_that_built_it_and_runs_no_other(tmp_path, capfd):
    Path("small.py").write_text(SMALL)
    options = hpo.RunOptions(trials=1, workers=1, device="cpu")
    record = hpo.run("own", model="small.py:build", settings=hpo.Settings(**DIGITS), options=options).record
    network = record.network()
    scores = np.load(record.winner_folder / "scores.npz")
    pictures = scores["pictures"]
    assert np.abs(network.logits(pictures) - scores["logits"][scores["picture_indices"]]).max() < 0.05
    assert (network.description.model, type(network.module).__name__) == ("small.py:build", "Net")
    file = record.winner_folder / "network.safetensors"
    assert str(tmp_path) not in network.description.model_dump_json()
    with pytest.raises(UsageError, match=r"is built by build in small.py .* Name it yourself: --code small.py"):
        hpo.Network.open(file)
    assert np.array_equal(hpo.Network.open(file, code="small.py").logits(pictures), network.logits(pictures))
    assert main(["predict", str(file), "x.png"]) == 2
    Path("changed.py").write_text(f"{SMALL}\nraise SystemExit('this was run')")
    with pytest.raises(DataError, match=r"changed.py is not the code that built the network"):
        hpo.Network.open(file, code="changed.py")
    with pytest.raises(UsageError, match=r"gone\.py cannot be read"):
        hpo.Network.open(file, code="gone.py")
    Path("small.py").write_text(f"{SMALL}\n# changed")
    with pytest.raises(DataError, match=r"small\.py is not the code"):
        hpo.load("own").network()
    capfd.readouterr()
    assert main(["predict", "own", "x.png"]) == 3
    assert capfd.readouterr().err.count("\n") == 1
