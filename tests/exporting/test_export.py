"""A real study on digits, exported: what its user does with each file, and what happens when something is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image

import hpo
from hpo.cli.main import main
from hpo.errors import DataError, NoResultError, UsageError
from hpo.exporting import forms
from hpo.exporting.card import text
from hpo.exporting.export import TOLERANCE
from hpo.report.exported import FILE, read_exported

SPACE = {
    "depth": 1,
    "filters": 8,
    "batch_size": 64,
    "lr": {"type": "float", "low": 0.05, "high": 0.5, "default": 0.2},
    "tta": True,
}
QUICK = ("safetensors", "source", "card")  # forms that take no exporter of torch's


@pytest.fixture(scope="module", autouse=True)
def _cached(cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPO_CACHE_DIR", str(cache))
        yield


@pytest.fixture(scope="module")
def storage(tmp_path_factory, _cached):
    """A study of two trials."""
    path = tmp_path_factory.mktemp("studies") / "hpo.db"
    hpo.run(
        "digits",
        settings=hpo.Settings(dataset="digits", epochs=2, limit_train=300),
        space=hpo.SearchSpace.of("mine", SPACE),
        options=hpo.RunOptions(trials=2, workers=1, device="cpu"),
        storage=str(path),
    )
    return str(path)


@pytest.fixture(scope="module")
def exported(storage, tmp_path_factory):
    """All of its forms."""
    return hpo.export("digits", tmp_path_factory.mktemp("exports") / "out", storage=storage)


@pytest.fixture
def copied(storage, tmp_path):
    """The study, to be spoilt."""
    shutil.copytree(Path(storage).parent, tmp_path / "copied")
    return str(tmp_path / "copied" / "hpo.db")


@pytest.fixture(scope="module")
def scored():
    """The scored images: digits' test images."""
    from hpo.data import datasets

    return datasets.load("digits", Path("nowhere")).test.images


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_form_is_there_and_computes_the_same(exported):
    assert names(exported.folder) == sorted(
        ["README.md", "equal.json", "model.onnx", "model.pt2", "model.py", "predict.py", "weights.safetensors"]
    )
    equal = json.loads((exported.folder / "equal.json").read_text())
    assert [form["form"] for form in equal["forms"]] == ["onnx", "torch", "safetensors", "source"]
    assert equal["images"] == exported.images == 360
    for form in equal["forms"]:
        assert form["largest_difference"] <= TOLERANCE
        assert form["classes_differ"] == 0
        assert form["ms_per_picture"] > 0
        assert form["bytes"] >= (exported.folder / form["file"]).stat().st_size
    assert equal["scored"]["largest_difference"] < 0.2  # bfloat16, or float32


def test_no_file_tells_of_the_folders_of_the_machine_that_made_it(exported, storage):
    places = [exported.folder, Path(storage).parent, Path(hpo.__file__).parent, Path(torch.__file__).parent, Path.home()]
    for path in exported.folder.iterdir():
        content = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content = b"".join(archive.read(name) for name in archive.namelist())
        assert [place for place in places if os.fsencode(place) in content] == []


@pytest.mark.parametrize("n", [1, 7, 360])
def test_onnxruntime_gets_the_networks_classes_from_pixels_in_batches_of_any_size(exported, storage, scored, n):
    network = hpo.load("digits", storage).network()
    network.precision = torch.float32
    session = onnxruntime.InferenceSession(exported.folder / "model.onnx")
    assert [(one.name, one.type, one.shape[1:]) for one in session.get_inputs()] == [("pixels", "tensor(uint8)", [32, 32, 3])]
    logits, probabilities = session.run(None, {"pixels": scored[:n]})
    np.testing.assert_allclose(logits, network.scored(scored[:n]), atol=TOLERANCE)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    made = onnx.load(exported.folder / "model.onnx")
    properties = {one.key: one.value for one in made.metadata_props}
    assert json.loads(properties["classes"]) == list(network.classes)
    assert f"Opset {made.opset_import[0].version}" in (exported.folder / "README.md").read_text()


def test_pytorch_and_hpo_open_the_others(exported, storage, scored):
    network, again = hpo.load("digits", storage).network(), hpo.Network.open(exported.folder / "weights.safetensors")
    assert np.array_equal(again.scored(scored), network.scored(scored))
    network.precision = torch.float32
    program = torch.export.load(exported.folder / "model.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(scored)), network.scored(scored), atol=TOLERANCE)


ALONE = """
import runpy, sys
allowed = set({allowed})
class Alone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"{{name}} is not installed here", name=name)
sys.meta_path.insert(0, Alone())
sys.path.insert(0, ".")
runpy.run_path("predict.py", run_name="__main__")
"""


def installed_with(*packages):
    """Top-level modules of packages and of all that they require."""
    found, left = set(), list(packages)
    while left:
        name = plain(left.pop())
        if name not in found:
            found.add(name)
            try:
                required = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            left += [re.split(r"[^A-Za-z0-9_.-]", one)[0] for one in required if "extra ==" not in one]
    return [module for module, owners in metadata.packages_distributions().items() if {*map(plain, owners)} & found]


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pictures(folder):
    """Files of many kinds, as people have them."""
    random = np.random.default_rng(0)
    colours = Image.fromarray(random.integers(0, 256, (50, 41, 3), dtype=np.uint8)).resize((500, 410))
    alpha = colours.copy()
    alpha.putalpha(Image.fromarray(random.integers(0, 256, (50, 41), dtype=np.uint8)).resize(colours.size))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.asarray(colours.convert("L"), dtype=np.uint16) * 200)
    colours.save(folder / "plain.png")
    colours.resize((32, 32)).save(folder / "square.png")
    alpha.save(folder / "alpha.png")
    colours.resize((2100, 1700)).save(folder / "large.jpg", exif=turned)
    colours.convert("CMYK").save(folder / "cmyk.jpg")
    colours.convert("P").save(folder / "palette.gif")
    deep.save(folder / "deep.png")
    return sorted(folder.iterdir())


@pytest.mark.slow
def test_the_source_classifies_pictures_where_nothing_is_installed_but_what_the_card_says(exported, storage, tmp_path):
    files = pictures(tmp_path)
    broken = tmp_path / "broken.png"
    broken.write_text("hello")
    packages = re.search(r"pip install (torch [\w ]+)", (exported.folder / "README.md").read_text())[1].split()
    allowed = sorted({*sys.stdlib_module_names, "model", *installed_with(*packages)})
    assert not {"hpo", "optuna", "torchvision", "pydantic"} & {*allowed}
    done = subprocess.run(
        [sys.executable, "-P", "-c", ALONE.format(allowed=allowed), broken, *files],
        cwd=exported.folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"{broken}: cannot be read as a picture" in done.stderr
    network = hpo.load("digits", storage).network()
    network.precision = torch.float32
    expected = network.probabilities(files)
    for line, file, row in zip(done.stdout.splitlines(), files, expected, strict=True):
        path, name, sure = line.split("\t")
        assert (path, name) == (str(file), network.classes[row.argmax()])
        assert float(sure.rstrip("%")) / 100 == pytest.approx(row.max(), abs=0.001)


def test_the_card_says_what_the_study_knows(exported, storage):
    card = (exported.folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    record = hpo.load("digits", storage)
    assert front["license"] == "unknown"
    assert front["library_name"] == "pytorch"
    assert {"onnx", "image-classification"} <= {*front["tags"]}
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == pytest.approx(record.best.value, abs=1e-6)
    right = round(record.best.value * 360)
    for said in (
        f"{right} of 360 test images",
        "Wilson",
        record.attributes["environment"]["data_digest"],
        "2 trials",
        "python -m hpo run digits-winner",
        "licence is unknown",
        "trained on | 300 images, 2 epochs",
    ):
        assert said in card
    assert str(Path(storage).parent) not in card
    assert str(exported.folder) not in card


def test_names_in_a_card_stay_names():
    assert text("a_b*c [x](y) <b> | `d`\n# e") == r"a\_b\*c \[x\](y) \<b\> \| \`d\` \# e"


def test_the_page_shows_the_table_and_the_card(exported, storage, tmp_path):
    page = hpo.write_report(hpo.load("digits", storage), tmp_path / "page.html").read_text()
    assert 'id="export"' in page
    for said in (
        "model.onnx",
        "model.pt2",
        "weights.safetensors",
        "compared with the network in float32",
        "library_name: pytorch",
    ):
        assert said in page
    assert str(exported.folder) not in page


@pytest.mark.parametrize("content", ["", "{}", "[" * 9999, '{"equal": {"original": {"ms_per_picture": "x"}}, "card": ""}', "\0"])
def test_a_file_of_that_name_that_is_something_else_is_not_shown(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    assert read_exported(tmp_path) is None


def test_a_chosen_form_brings_what_it_needs_and_nothing_else(storage, tmp_path):
    made = hpo.export("digits", tmp_path / "out", forms=["source"], storage=storage)
    assert names(made.folder) == ["equal.json", "model.py", "predict.py", "weights.safetensors"]
    made = hpo.export("digits", tmp_path / "out", forms=["card"], storage=storage)  # another time, in its place
    assert names(made.folder) == ["README.md", "equal.json"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("off", "said"),
    [
        (lambda logits: logits + 0.01, r"form torch does not compute what the network does: on 360 .* up to 0\.01 "),
        (lambda logits: logits * np.nan, r"up to nan"),
        (lambda logits: logits[:, :3], r"computes \(360, 3\) instead of \(360, 10\)"),
        (lambda logits: logits / "zero", r"form torch cannot be made of this network \(.*Error"),
    ],
)
def test_a_form_that_computes_something_else_is_named_and_nothing_is_left(storage, tmp_path, monkeypatch, off, said):
    weights = forms.PROVEN["safetensors"]

    def opened(folder, network):
        right = weights.opened(folder, network)
        return lambda pixels: off(right(pixels))

    monkeypatch.setitem(forms.PROVEN, "torch", weights._replace(opened=opened))
    with pytest.raises(NoResultError, match=said) as caught:
        hpo.export("digits", tmp_path / "out", forms=["safetensors", "torch"], storage=storage)
    assert "--as onnx,safetensors,source,card" in str(caught.value)
    assert names(tmp_path) == []


def test_without_the_extra_onnx_is_left_out_and_asked_for_it_says_what_to_install(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(forms, "_ONNX", ("onnx", "onnx_that_nobody_has"))
    monkeypatch.setitem(forms.PROVEN, "torch", forms.PROVEN["safetensors"])  # quicker
    made = hpo.export("digits", tmp_path / "out", storage=storage)
    assert made.left_out == ("the form onnx needs onnx_that_nobody_has: pip install 'hpo[onnx]'.",)
    assert "model.onnx" not in names(made.folder)
    assert "onnxruntime" not in (made.folder / "README.md").read_text()
    with pytest.raises(UsageError, match=r"hpo\[onnx\]"):
        hpo.export("digits", tmp_path / "other", forms=["onnx"], storage=storage)
    assert names(tmp_path) == ["out"]


def said_by(capsys, *words):
    code = main([*map(str, words)])
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return code, err.strip().splitlines()[-1]


def test_bad_input_is_said_in_a_sentence_and_nothing_is_written(storage, copied, tmp_path, capsys):
    out = tmp_path / "out"
    at = ("--storage", storage)
    assert said_by(capsys, "export", "digits", out, "--as", "onyx,card", *at) == (
        2,
        "error: there is no form 'onyx'. Did you mean 'onnx'? Write: --as onnx,torch,safetensors,source,card",
    )
    assert said_by(capsys, "export", "digitz", out, *at)[0] == 2
    code, said = said_by(capsys, "export", "digits", tmp_path / "no" / "out", *at)
    assert code == 4
    assert "mkdir -p" in said
    code, said = said_by(capsys, "export", "digits", tmp_path / "copied", *at)
    assert code == 2
    assert "no export of hpo's made it" in said
    code, said = said_by(capsys, "export", "digits", out, "--as", " , ", *at)
    assert code == 2
    hpo.load("digits", copied).checkpoint.unlink()
    code, said = said_by(capsys, "export", "digits", out, "--storage", copied)
    assert code == 3
    assert "Train it again" in said
    assert names(tmp_path) == ["copied"]


def test_changed_images_are_refused(copied, tmp_path, monkeypatch):
    from hpo.data import datasets

    other = datasets.Split(np.zeros((9, 32, 32, 3), np.uint8), np.zeros(9, np.int64))
    changed = datasets.make_data_set("digits", ("a",), other, other, "")
    monkeypatch.setattr(datasets, "of", lambda *_, **__: changed)
    with pytest.raises(DataError, match="have changed since"):
        hpo.export("digits", tmp_path / "out", forms=QUICK, storage=copied)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["export.whole:1", "export.safetensors:1", "export.proven:2"])
def test_whoever_is_killed_leaves_nothing_under_the_final_name_and_the_next_one_does_it(storage, tmp_path, point):
    out = tmp_path / "out"
    words = [sys.executable, "-m", "hpo", "export", "digits", str(out), "--as", "safetensors,source", "--storage", storage]
    done = subprocess.run(words, env=os.environ | {"HPO_FAILPOINT": f"{point}:kill"}, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert not out.exists()
    hpo.export("digits", out, forms=["safetensors", "source"], storage=storage)
    assert names(tmp_path) == ["out"]
    assert names(out) == ["equal.json", "model.py", "predict.py", "weights.safetensors"]


OWN = """
import hpo
from torch import nn

space = hpo.space(width=hpo.whole(2, 6, default=4))

class Net(nn.Module):
    def __init__(self, width, data):
        super().__init__()
        self.conv, self.last = nn.Conv2d(data.channels, width, 3), nn.Linear(width, data.n_classes)

    def forward(self, x):
        return self.last(self.conv(x).relu().mean((2, 3)))

def build(config, data):
    return Net(config.width, data)
"""


@pytest.mark.slow
def test_a_network_of_ones_own_is_exported_without_its_source_and_without_where_its_file_is(tmp_path):
    (tmp_path / "net.py").write_text(OWN)
    storage = str(tmp_path / "hpo.db")
    settings, options = (
        hpo.Settings(dataset="digits", epochs=1, limit_train=100),
        hpo.RunOptions(trials=1, workers=1, device="cpu"),
    )
    hpo.run("own", model=f"{tmp_path / 'net.py'}:build", settings=settings, options=options, storage=storage)
    made = hpo.export("own", tmp_path / "out", storage=storage)
    assert names(made.folder) == ["README.md", "equal.json", "model.onnx", "model.pt2", "weights.safetensors"]
    assert made.left_out == ("the form source is for hpo's own network, whose layers it writes out; net.py:build is not.",)
    assert "--model net.py:build" in (made.folder / "README.md").read_text()
    for path in made.folder.iterdir():
        assert os.fsencode(tmp_path) not in path.read_bytes()
