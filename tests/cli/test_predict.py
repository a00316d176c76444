"""`hpo predict` on real networks: what is printed, what is passed over, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil

import pytest
from instant import new_study, run
from PIL import Image

from hpo.builtin.convnet import Config
from hpo.cli.main import main
from hpo.data import datasets
from hpo.folders import NETWORK, trial_folder
from hpo.networks.network import Network
from hpo.settings import Settings
from hpo.store.reading.record import load
from hpo.training.task import Task
from hpo.training.trial import Trial

SMALL = Config(depth=1, filters=4, stem="none")


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    """A network's file, and pictures of its data set."""
    import torch

    folder = tmp_path_factory.mktemp("made")
    data = datasets.load("digits", folder, cache)
    task = Task.of(Settings(dataset="digits", epochs=1, limit_train=100, limit_test=100), data, torch.device("cpu"), 2**30)
    trial = Trial(task, SMALL, 0, folder / "trial")
    list(trial.epochs())
    (folder / "pictures" / "inner").mkdir(parents=True)
    for i in range(5):
        Image.fromarray(data.test.images[i]).resize((40 + i, 50)).save(folder / "pictures" / f"{i}.png")
    shutil.move(folder / "pictures" / "4.png", folder / "pictures" / "inner" / "ü 猫.PNG")
    return trial.finish(), folder / "pictures"


def answered(capfd, *words):
    code = main([str(word) for word in words])
    printed = capfd.readouterr()
    return code, printed.out, printed.err


def test_a_file_and_a_folder_give_a_row_per_picture_with_the_networks_own_probabilities(made, capfd):
    path, pictures = made
    code, out, _ = answered(capfd, "predict", path, pictures, "--format", "json", "--top", 2)
    rows = json.loads(out)
    assert code == 0
    assert [row["picture"] for row in rows] == [*(str(pictures / f"{i}.png") for i in range(4)), str(pictures / "inner/ü 猫.PNG")]
    network = Network.open(path)
    probabilities = network.probabilities([row["picture"] for row in rows])
    assert [row["class"] for row in rows] == [network.classes[label] for label in probabilities.argmax(1)]
    assert [row["probability"] for row in rows] == pytest.approx(probabilities.max(1).tolist(), abs=0.01)
    assert rows[0].keys() == {"picture", "class", "probability", "class_2", "probability_2"}


def test_a_table_shows_per_cent_and_csv_all_digits(made, capfd):
    path, pictures = made
    _, table, _ = answered(capfd, "predict", path, pictures / "0.png")
    assert "%" in table
    assert "class 3" in table
    _, out, _ = answered(capfd, "predict", path, pictures / "0.png", "--format", "csv", "--top", 99)
    [row] = csv.DictReader(io.StringIO(out))
    assert len(row) == 1 + 2 * 10  # all that there are
    assert 0 < float(row["probability"]) <= 1


def test_broken_pictures_are_named_and_passed_over(made, tmp_path, capfd):
    path, pictures = made
    (tmp_path / "broken.png").write_bytes(b"no picture")
    code, out, err = answered(
        capfd, "predict", path, tmp_path / "broken.png", pictures / "0.png", tmp_path / "missing.jpg", "--format", "json"
    )
    assert (code, len(json.loads(out))) == (0, 1)
    assert "broken.png cannot be read as an image: its content is of no known format; passed over" in err
    assert "missing.jpg cannot be read as an image: No such file or directory; passed over" in err


def test_where_no_picture_is_left_the_exit_code_is_5(made, tmp_path, capfd):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    code, out, err = answered(capfd, "predict", made[0], tmp_path / "broken.png")
    assert (code, out) == (5, "")
    assert "the picture cannot be read" in err
    code, _, err = answered(capfd, "predict", made[0], tmp_path / "broken.png", tmp_path)
    assert (code, "none of the 2 pictures can be read" in err) == (5, True)


def test_a_folder_without_pictures_and_an_empty_list_are_refused(made, tmp_path, capfd):
    (tmp_path / "notes.txt").write_text("no picture by its name")
    code, _, err = answered(capfd, "predict", made[0], tmp_path)
    assert (code, "no pictures to classify" in err) == (2, True)


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_a_dash_stands_for_a_list_on_standard_input(made, capfd, monkeypatch, separator):
    path, pictures = made
    names = [os.fsencode(pictures / name) for name in ("3.png", "inner/ü 猫.PNG")]
    listed = io.TextIOWrapper(io.BytesIO(separator.encode().join([*names, b""])))
    monkeypatch.setattr("sys.stdin", listed)
    code, out, _ = answered(capfd, "predict", path, "-", "--format", "json")
    assert (code, [os.fsencode(row["picture"]) for row in json.loads(out)]) == (0, names)


def test_a_name_that_is_no_text_is_escaped(made, tmp_path, capfd):
    path, pictures = made
    odd = os.fsencode(tmp_path) + b"/bad\xff\x1b[31m.png"
    shutil.copy(pictures / "0.png", odd)
    for form in ("table", "csv", "json"):
        code, out, _ = answered(capfd, "predict", path, tmp_path, "--format", form)
        assert code == 0
        assert "\x1b" not in out
        assert "bad" in out


def test_more_pictures_than_are_decoded_at_a_time_keep_their_order(made, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("hpo.networks.predicting.PART", 1)
    path, pictures = made
    for i in range(600):
        os.link(pictures / f"{i % 4}.png", tmp_path / f"{i:03d}.png")
    (tmp_path / "300.png").unlink()
    (tmp_path / "300.png").write_bytes(b"x")
    code, out, err = answered(capfd, "predict", path, tmp_path, "--format", "json")
    rows = json.loads(out)
    assert (code, len(rows), "300.png cannot be read" in err) == (0, 599, True)
    four = {int(row["picture"][-7:-4]) % 4: row["probability"] for row in rows[:4]}
    assert all(row["probability"] == pytest.approx(four[int(row["picture"][-7:-4]) % 4], abs=0.01) for row in rows)


def study_with_network(tmp_path, made, trials=2):
    study = new_study(tmp_path / "hpo.db")
    run(study, trials)
    record = load("first", study.location)
    for number in range(trials):
        folder = trial_folder(record.folder, number)
        if folder.is_dir():
            for path in folder.glob("epoch*"):  # of a pool that only plays at training
                path.unlink()
            shutil.copy(made[0], folder / NETWORK)
    return record


def test_a_study_is_used_by_its_best_network(made, tmp_path, capfd):
    study_with_network(tmp_path, made)
    code, out, _ = answered(capfd, "predict", "first", made[1] / "0.png", "--storage", tmp_path / "hpo.db", "--format", "json")
    assert (code, len(json.loads(out))) == (0, 1)


def test_a_study_that_has_no_network_says_why(made, tmp_path, capfd):
    study = new_study(tmp_path / "hpo.db")
    where = (made[1] / "0.png", "--storage", tmp_path / "hpo.db")
    code, _, err = answered(capfd, "predict", "first", *where)
    assert (code, "no complete trial yet" in err) == (5, True)
    run(study, 2)
    code, _, err = answered(capfd, "predict", "first", *where)
    assert (code, "contains something other than tensors" in err) == (3, True)
    record = load("first", study.location)
    shutil.rmtree(record.folder / f"trial-{record.best.number:05d}")
    code, _, err = answered(capfd, "predict", "first", *where)
    assert (code, f"the network of trial {record.best.number} of study 'first' is not in" in err) == (3, True)
    code, _, err = answered(capfd, "predict", "first", *where, "--trial", 9)
    assert (code, "has no trial 9; it has 2, from 0" in err) == (2, True)
    code, _, err = answered(capfd, "predict", "fist", *where)
    assert (code, "Did you mean 'first'?" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["x.safetensors", "y.png"], 3, "cannot read the network x.safetensors: No such file"),
        (["./x", "y.png"], 3, "cannot read the network x: No such file"),
        (["x.safetensors", "y.png", "--trial", "1"], 2, "--trial is for a study"),
        (["x.safetensors", "y.png", "--device", "tpu9"], 3, "device 'tpu9' cannot be used here"),
        (["x.safetensors"], 2, "Missing argument"),
        (["x.safetensors", "y.png", "--top", "0"], 2, "--top"),
    ],
)
def test_bad_input_is_one_sentence(words, code, said, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, out, err = answered(capfd, "predict", *words)
    assert (found, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1


def test_pixels_are_not_kept_anywhere(made, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert answered(capfd, "predict", *made, "-q")[0] == 0
    assert list(tmp_path.iterdir()) == []
