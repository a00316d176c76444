"""Data sets by name: small ones in the true formats, in torchvision's layout, and served on loopback."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from python2 import pickled
from scipy.io import savemat

from hpo.cli.main import main
from hpo.data import sources
from hpo.data.archive import Gzipped, Tar
from hpo.data.arrays import DataSet, silent
from hpo.data.datasets import MIRRORABLE, load, preview, verify
from hpo.data.published import PUBLISHED, Published
from hpo.errors import DataError
from hpo.settings import DATASETS

SHAPES = {
    "cifar100": (32, 32, 3),
    "mnist": (28, 28, 1),
    "fashion-mnist": (28, 28, 1),
    "kmnist": (28, 28, 1),
    "svhn": (32, 32, 3),
    "stl10": (96, 96, 3),
}
N_TRAIN, N_TEST = 40, 20


def images(name: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels, (n, edge, edge, channels), and labels from 0."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, *SHAPES[name]), dtype=np.uint8), (np.arange(n) % 10).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def files_of(name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> dict[str, bytes]:
    """Return the unpacked files of a data set, by name, as its authors write them."""
    made: dict[str, bytes] = {}
    if name == "cifar100":
        made["meta"] = pickled({b"fine_label_names": [b"class %d" % i for i in range(10)], b"coarse_label_names": [b"all"]})
    for (pixels, labels), part in ((train, "train"), (test, "test")):
        if name == "cifar100":
            flat = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1))
            made[part] = pickled({b"data": flat, b"fine_labels": labels.tolist(), b"coarse_labels": [0] * len(labels)})
        elif name == "svhn":
            file = io.BytesIO()
            savemat(
                file,
                {"X": pixels.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)},
                do_compression=True,
            )
            made[f"{part}_32x32.mat"] = file.getvalue()
        elif name == "stl10":
            made[f"{part}_X.bin"] = pixels.transpose(0, 3, 2, 1).tobytes()
            made[f"{part}_y.bin"] = (labels + 1).tobytes()
        else:
            part = "t10k" if part == "test" else part  # noqa: PLW2901
            made[f"{part}-images-idx3-ubyte"], made[f"{part}-labels-idx1-ubyte"] = idx(pixels[..., 0]), idx(labels)
    return made


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Small:
    """A small data set in its true format, as hpo knows it.

    Attributes:
        packed: What is downloaded: content by path below the data folder.
        unpacked: What a person has who has unpacked it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.train, self.test = images(name, N_TRAIN, 1), images(name, N_TEST, 2)
        members = files_of(name, self.train, self.test)
        self.packed: dict[str, bytes] = {}
        self.unpacked: dict[str, bytes] = {}
        known = []
        for file in PUBLISHED[name].files:
            if isinstance(file, Tar):
                assert {*file.members} == {*members}
                content = tarred(file.folder, {**members, "unlabeled_X.bin": bytes(1000)})
                file = dataclasses.replace(file, members={key: md5(value) for key, value in members.items()})  # noqa: PLW2901
                self.unpacked |= {f"{file.folder}/{key}": value for key, value in members.items()}
            else:
                content = members[Path(file.path).name.removesuffix(".gz")]
                self.unpacked[file.path.removesuffix(".gz")] = content
                content = gzip.compress(content) if isinstance(file, Gzipped) else content
            self.packed[file.path] = content
            known.append(dataclasses.replace(file, md5=md5(content), urls=("http://127.0.0.1:9/none",)))
        self.published = dataclasses.replace(PUBLISHED[name], files=tuple(known))

    def at(self, serve: Callable[..., str], **answers: bytes) -> Published:
        """Return it with addresses on loopback; `answers` replaces contents, by the beginnings of file names."""
        files = []
        for file in self.published.files:
            told = [content for start, content in answers.items() if Path(file.path).name.startswith(start)]
            files.append(dataclasses.replace(file, urls=(serve(told[0] if told else self.packed[file.path]),)))
        return dataclasses.replace(self.published, files=tuple(files))

    def is_in(self, data: DataSet) -> bool:
        pairs = ((data.train, self.train), (data.test, self.test))
        return all(np.array_equal(split.images, pixels) and (split.labels == labels).all() for split, (pixels, labels) in pairs)


def tarred(folder: str, files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(params=SHAPES)
def small(request: pytest.FixtureRequest) -> Small:
    return Small(request.param)


def test_every_name_is_one_that_is_published_or_the_digits() -> None:
    assert (*PUBLISHED, "digits") == DATASETS
    assert MIRRORABLE == ("cifar10", "cifar100", "fashion-mnist", "stl10")


def test_torchvision_has_the_same_addresses_checksums_and_places() -> None:
    from torchvision import datasets as theirs

    for name, known in (("cifar10", theirs.CIFAR10), ("cifar100", theirs.CIFAR100), ("stl10", theirs.STL10)):
        [tar] = PUBLISHED[name].files
        assert isinstance(tar, Tar)
        assert (tar.path, tar.md5, tar.urls, tar.folder) == (known.filename, known.tgz_md5, (known.url,), known.base_folder)
        lists = dict(known.train_list + known.test_list)
        if name != "stl10":
            lists[known.meta["filename"]] = known.meta["md5"]
        assert tar.members.items() <= lists.items()
        assert lists.keys() - tar.members.keys() <= {"unlabeled_X.bin"}
    for name, known in (("mnist", theirs.MNIST), ("fashion-mnist", theirs.FashionMNIST), ("kmnist", theirs.KMNIST)):
        files = PUBLISHED[name].files
        assert [(Path(file.path).name, file.md5) for file in files] == known.resources
        assert [file.path for file in files] == [f"{known.__name__}/raw/{resource}" for resource, _ in known.resources]
        assert all(file.urls == tuple(mirror + Path(file.path).name for mirror in known.mirrors) for file in files)
    for file, part in zip(PUBLISHED["svhn"].files, ("train", "test"), strict=True):
        assert [*file.urls, file.path, file.md5] == theirs.SVHN.split_list[part]


def test_torchvision_has_the_same_class_names() -> None:
    from torchvision import datasets as theirs

    assert PUBLISHED["fashion-mnist"].decode.keywords["classes"] == tuple(theirs.FashionMNIST.classes)
    assert PUBLISHED["kmnist"].decode.keywords["classes"] == tuple(theirs.KMNIST.classes)


@pytest.mark.parametrize("how", ["packed", "unpacked"])
def test_what_torchvision_has_put_into_a_folder_is_read(tmp_path: Path, small: Small, how: str) -> None:
    put(tmp_path / "data", getattr(small, how))
    data = load(small.name, tmp_path / "data", tmp_path / "cache", published=small.published)
    assert small.is_in(data)
    assert data.name == small.name
    assert len(data.classes) == 10
    assert data.train.images.shape == (N_TRAIN, *SHAPES[small.name])
    assert small.published.title in data.source
    verify(data)
    preview(data, tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.width > 800


def test_torchvision_reads_the_same_images_from_the_same_files(tmp_path: Path, small: Small, monkeypatch) -> None:
    """The small files are in the true format: torchvision's own reader, whose checksums are set to theirs, agrees."""
    from torchvision import datasets as theirs

    put(tmp_path, small.unpacked | small.packed)
    names = {"cifar100": "CIFAR100", "mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
    reader = getattr(theirs, names.get(small.name, small.name.upper()))
    for module in ("cifar", "stl10", "svhn"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda *_: True)
    if small.name in ("svhn", "stl10"):
        sides = [reader(str(tmp_path), split=part) for part in ("train", "test")]
    else:
        sides = [reader(str(tmp_path), train=train) for train in (True, False)]
    data = load(small.name, tmp_path, tmp_path / "cache", published=small.published)
    for side, split in zip(sides, (data.train, data.test), strict=True):
        assert len(side) == len(split)
        for (image, label), pixels, ours in zip(side, split.images, split.labels, strict=True):
            np.testing.assert_array_equal(np.asarray(image), pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
            assert label == ours


def test_what_is_not_there_is_downloaded_once(tmp_path: Path, small: Small, serve: Callable[..., str]) -> None:
    data = load(small.name, tmp_path / "data", tmp_path / "cache", published=small.at(serve))
    assert small.is_in(data)
    for name, content in small.packed.items():
        assert (tmp_path / "data" / name).read_bytes() == content
    without_network = load(small.name, tmp_path / "data", tmp_path / "other cache", published=small.published)
    assert without_network.digest == data.digest


def test_a_download_that_failed_goes_on_with_the_files_that_are_missing(tmp_path: Path, serve: Callable[..., str]) -> None:
    small, said = Small("mnist"), []
    with pytest.raises(DataError, match=r"no MNIST in .*t10k-images.*MD5"):
        load("mnist", tmp_path / "data", tmp_path / "cache", published=small.at(serve, t10k=b"<html>Sign in</html>"))
    there = sorted(path.name for path in (tmp_path / "data" / "MNIST" / "raw").iterdir())
    assert there == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    published = small.at(serve)
    assert small.is_in(
        load("mnist", tmp_path / "data", tmp_path / "cache", lambda what, *_: said.append(what), published=published)
    )
    assert {what for what in said if "downloading" in what} == {
        "downloading t10k-images-idx3-ubyte.gz",
        "downloading t10k-labels-idx1-ubyte.gz",
    }


def test_of_two_mirrors_the_second_is_asked_when_the_first_is_down(tmp_path: Path, serve: Callable[..., str]) -> None:
    small = Small("kmnist")
    up, dead = small.at(serve), "http://127.0.0.1:9/none"
    both = tuple(dataclasses.replace(file, urls=(dead, *file.urls)) for file in up.files)
    assert small.is_in(load("kmnist", tmp_path / "data", tmp_path / "cache", published=dataclasses.replace(up, files=both)))


def test_when_all_mirrors_are_down_each_is_named_and_what_to_do(tmp_path: Path, small: Small) -> None:
    files = tuple(
        dataclasses.replace(file, urls=("http://127.0.0.1:9/a", "http://127.0.0.1:9/b")) for file in small.published.files
    )
    with pytest.raises(DataError) as raised:
        load(small.name, tmp_path, tmp_path / "cache", published=dataclasses.replace(small.published, files=files))
    first, second = str(raised.value).splitlines()
    assert first.startswith(f"no {small.published.title} in {tmp_path} (")
    assert "127.0.0.1:9/a failed" in first
    assert "127.0.0.1:9/b failed" in first
    assert second.startswith("Connect to a network for the download, or put ")
    assert all(Path(name).name in second for name in small.packed)


def test_a_disk_that_is_full_leaves_no_half_file(tmp_path: Path, small: Small, serve: Callable[..., str], monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    published = small.at(serve)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        sources.fetch(small.name, tmp_path / "data", published, silent)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


@pytest.mark.parametrize("change", ["truncated", "other byte", "empty"])
def test_a_damaged_file_is_named(tmp_path: Path, small: Small, change: str) -> None:
    name, content = next(iter(small.packed.items()))
    half = len(content) // 2
    other = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    changed = {"truncated": content[:half], "other byte": other, "empty": b""}
    put(tmp_path, small.packed | {name: changed[change]})
    with pytest.raises(DataError, match=rf"(?s){Path(name).name}.*(damaged|lacks).*Delete it"):
        load(small.name, tmp_path, tmp_path / "cache", published=small.published)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mnist", b""),
        ("mnist", b"\0\0\x08\x03" + bytes(3)),
        ("mnist", idx(np.zeros((N_TRAIN, 28, 27), np.uint8))),
        ("mnist", idx(np.zeros((N_TRAIN - 1, 28, 28), np.uint8))),
        ("mnist", b"\0\0\x0d\x03" + idx(np.zeros((N_TRAIN, 28, 28), np.uint8))[4:]),
        ("mnist", idx(np.zeros((N_TRAIN, 28, 28), np.uint8))[:-1]),
        ("svhn", b""),
        ("svhn", b"MATLAB 5.0 MAT-file" + bytes(200)),
        ("svhn", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(200)),
    ],
)
def test_a_file_with_other_content_is_refused_with_a_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    small = Small(name)
    first = next(iter(small.unpacked))
    put(tmp_path, small.unpacked | {first: content})
    files = tuple(
        dataclasses.replace(file, md5=md5((tmp_path / file.path).read_bytes())) if (tmp_path / file.path).exists() else file
        for file in small.published.files
    )
    with pytest.raises(DataError, match=rf"does not contain {small.published.title}.*Delete"):
        load(name, tmp_path, tmp_path / "cache", published=dataclasses.replace(small.published, files=files))


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    small = Small("mnist")
    bomb = gzip.compress(bytes(100_000))
    put(tmp_path, small.packed | {small.published.files[0].path: bomb})
    files = tuple(dataclasses.replace(file, most=10_000, md5=md5(bomb)) for file in small.published.files)
    with pytest.raises(DataError, match="contains more than 10,000 bytes"):
        load("mnist", tmp_path, tmp_path / "cache", published=dataclasses.replace(small.published, files=files))


def test_a_file_that_is_replaced_is_read_again(tmp_path: Path, small: Small) -> None:
    put(tmp_path, small.packed)
    key = sources.find(small.name, tmp_path, small.published).key
    first = tmp_path / next(iter(small.packed))
    os.utime(first, (0, 0))
    assert sources.find(small.name, tmp_path, small.published).key != key


@pytest.fixture
def at_home(tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that holds a small data set, which `hpo` knows by its name, and is where commands look."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PUBLISHED, small.name, small.published)
    monkeypatch.setenv("HPO_DATA_DIR", str(put(tmp_path / "data", small.packed)))
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.usefixtures("at_home")
def test_hpo_data_shows_it(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", small.name]) == 0
    told = capsys.readouterr().out
    edge, _, channels = SHAPES[small.name]
    assert f"{N_TRAIN} images of {edge}x{edge}{', grey' if channels == 1 else ''}" in told
    assert f"{N_TEST} images" in told


@pytest.mark.slow
@pytest.mark.parametrize("small", ["mnist", "stl10"], indirect=True)
def test_a_study_trains_and_shows_images_of_its_shape(at_home: Path, small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    load(small.name, at_home / "data")  # from here on the cache has it, where workers find it in their own processes
    how = ["--trials", "2", "--epochs", "2", "--workers", "1", "--device", "cpu", "--score", "validation"]
    assert main(["run", "--dataset", small.name, *how]) == 0
    assert (at_home / "reports" / f"{small.name}.html").stat().st_size > 1_000_000
    capsys.readouterr()
    assert main(["trials", small.name, "--format", "json"]) == 0
    assert [trial["state"] for trial in json.loads(capsys.readouterr().out)] == ["complete", "complete"]
