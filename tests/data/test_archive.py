"""CIFAR-10's archive: a small one that the test makes in the official format and serves on loopback."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pickle
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from python2 import pickled

from hpo.data import sources
from hpo.data.archive import Tar
from hpo.data.arrays import silent
from hpo.data.datasets import load
from hpo.data.pictures.listing import Listing
from hpo.data.published import PUBLISHED, Files, Published
from hpo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILENAME, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"
CLASSES = ("airplane", "automobile", "bird")


def batch(n: int, seed: int) -> tuple[np.ndarray, list[int], bytes]:
    """Return NHWC pixels, labels, and the official file that holds them."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    labels = [i % len(CLASSES) for i in range(n)]
    data = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).reshape(n, 3072))
    return pixels, labels, pickled({b"data": data, b"labels": labels, b"batch_label": b"a batch"})


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def packed(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


class SmallCifar:
    """Two training batches and a test batch, in the official format."""

    def __init__(self, **replaced: bytes) -> None:
        first, second, test = batch(6, 1), batch(9, 2), batch(3, 3)
        self.train_pixels, self.train_labels = np.concatenate([first[0], second[0]]), first[1] + second[1]
        self.test_pixels = test[0]
        self.files = {
            "batches.meta": pickled({b"label_names": [name.encode() for name in CLASSES]}),
            "data_batch_1": first[2],
            "data_batch_2": second[2],
            "test_batch": test[2],
        } | replaced
        self.tar = packed(self.files)
        sums = {name: md5(content) for name, content in self.files.items()}
        tar = Tar(FILENAME, md5(self.tar), ("http://127.0.0.1:9/none",), folder=FOLDER, members=sums)
        self.published = dataclasses.replace(PUBLISHED["cifar10"], files=(tar,))

    def put_tar(self, data_dir: Path) -> Files:
        data_dir.mkdir(parents=True, exist_ok=True)
        (data_dir / FILENAME).write_bytes(self.tar)
        return Files("cifar10", self.published, data_dir)

    def put_folder(self, data_dir: Path) -> Files:
        (data_dir / FOLDER).mkdir(parents=True)
        for name, content in self.files.items():
            (data_dir / FOLDER / name).write_bytes(content)
        return Files("cifar10", self.published, data_dir)


@pytest.fixture
def cifar() -> SmallCifar:
    return SmallCifar()


def listed(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def at(published: Published, *urls: str) -> Published:
    [tar] = published.files
    return dataclasses.replace(published, files=(dataclasses.replace(tar, urls=urls),))


@pytest.mark.parametrize("put", [SmallCifar.put_tar, SmallCifar.put_folder])
def test_official_batches_are_read_from_the_archive_and_from_the_folder(
    tmp_path: Path, cifar: SmallCifar, put: Callable[[SmallCifar, Path], Files]
) -> None:
    data = put(cifar, tmp_path / "odd näme 猫").read(silent)
    np.testing.assert_array_equal(data.train.images, cifar.train_pixels)
    np.testing.assert_array_equal(data.test.images, cifar.test_pixels)
    assert data.train.labels.tolist() == cifar.train_labels
    assert data.train.labels.dtype == np.int64
    assert data.classes == CLASSES


def test_the_archive_is_read_in_place(tmp_path: Path, cifar: SmallCifar) -> None:
    cifar.put_tar(tmp_path).read(silent)
    assert listed(tmp_path) == [FILENAME]


def found(data_dir: Path) -> list[Path]:
    source = sources.find("cifar10", data_dir)
    assert isinstance(source, Files)
    return source.paths


def test_batches_come_before_a_tree_and_the_unpacked_folder_before_the_archive(
    tmp_path: Path, cifar: SmallCifar, grow_tree: Callable[..., Path]
) -> None:
    grow_tree(tmp_path)
    assert isinstance(sources.find("cifar10", tmp_path), Listing)
    cifar.put_tar(tmp_path)
    assert found(tmp_path) == [tmp_path / FILENAME]
    cifar.put_folder(tmp_path)
    assert found(tmp_path) == [tmp_path / FOLDER]


@pytest.mark.parametrize("keep", [0, 10, 5_000])
def test_a_damaged_archive_is_named(tmp_path: Path, cifar: SmallCifar, keep: int) -> None:
    source = cifar.put_tar(tmp_path)
    source.paths[0].write_bytes(cifar.tar[:keep])
    with pytest.raises(DataError, match=FILENAME):
        source.read(silent)


def test_a_damaged_batch_is_named(tmp_path: Path, cifar: SmallCifar) -> None:
    source = cifar.put_folder(tmp_path)
    (source.paths[0] / "data_batch_2").write_bytes(cifar.files["data_batch_2"][:-1] + b"?")
    with pytest.raises(DataError, match="data_batch_2 is damaged"):
        source.read(silent)


def test_a_missing_batch_is_named(tmp_path: Path, cifar: SmallCifar) -> None:
    source = cifar.put_folder(tmp_path)
    (source.paths[0] / "test_batch").unlink()
    with pytest.raises(DataError, match="lacks test_batch"):
        source.read(silent)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(os.getcwd, protocol=2),
        b"cos\nsystem\n(S'exit 1'\ntR.",
        pickled([1, 2]),
        pickled({b"data": np.zeros((3, 3072), np.uint8)}),
        pickled({b"data": np.zeros((3, 3071), np.uint8), b"labels": [0, 1, 2]}),
        pickled({b"data": np.zeros((3, 3072), np.float32), b"labels": [0, 1, 2]}),
        pickled({b"data": np.zeros((3, 3072), np.uint8), b"labels": [0, 1, 3]}),
        pickled({b"data": b"text", b"labels": [0, 1, 2]}),
        b"",
        b"\x80\x02}",
    ],
)
def test_a_batch_with_other_content_is_refused_and_runs_nothing(tmp_path: Path, content: bytes) -> None:
    source = SmallCifar(test_batch=content).put_tar(tmp_path)
    with pytest.raises(DataError, match=FILENAME):
        source.read(silent)


def test_members_outside_the_folder_and_links_are_ignored(tmp_path: Path, cifar: SmallCifar) -> None:
    path = tmp_path / "data" / FILENAME
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for name in ("../test_batch", "/test_batch", f"{FOLDER}/../../test_batch"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo(f"{FOLDER}/test_batch")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match=r"lacks batches\.meta"):
        Files("cifar10", cifar.published, path.parent).read(silent)
    assert listed(tmp_path) == ["data"]
    assert listed(tmp_path / "data") == [FILENAME]


def test_a_missing_archive_is_downloaded_with_progress_and_kept(
    tmp_path: Path, cifar: SmallCifar, serve: Callable[..., str]
) -> None:
    said: list[tuple[str, int, int]] = []
    published = at(cifar.published, serve(cifar.tar))
    data = load("cifar10", tmp_path / "data", tmp_path / "cache", lambda *event: said.append(event), published=published)
    np.testing.assert_array_equal(data.train.images, cifar.train_pixels)
    assert (tmp_path / "data" / FILENAME).read_bytes() == cifar.tar
    assert (f"downloading {FILENAME}", len(cifar.tar), len(cifar.tar)) in said

    without_network = load("cifar10", tmp_path / "data", tmp_path / "cache 2", published=cifar.published)
    assert without_network.digest == data.digest


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"content": b"half", "length": 8}, "connection ended after 4 of 8 bytes"),
        ({"content": b"<html>Sign in to the hotel's network</html>"}, "the downloaded file has MD5"),
        ({"content": b"", "status": 404}, "the server answered 404"),
        ({"content": None}, "closed connection without response"),
        ({"content": b"half", "length": 8, "hang": True}, "timed out"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_the_three_ways(
    tmp_path: Path,
    cifar: SmallCifar,
    serve: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    reason: str,
) -> None:
    monkeypatch.setattr("hpo.data.download.TIMEOUT", 0.3)
    data_dir = tmp_path / "data"
    with pytest.raises(DataError, match=reason) as raised:
        load("cifar10", data_dir, tmp_path / "cache", published=at(cifar.published, serve(**answer)))
    assert not data_dir.exists() or listed(data_dir) == []
    message = str(raised.value)
    assert len(message.splitlines()) == 2
    assert f"no CIFAR-10 in {data_dir}" in message
    assert "Connect to a network for the download" in message
    assert f"put {FILENAME} into {data_dir}" in message
    assert f"{data_dir / 'cifar10'}/{{train,test}}/<class>/" in message


def test_only_http_and_https_are_followed(tmp_path: Path, cifar: SmallCifar) -> None:
    source = cifar.put_tar(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="neither http nor https"):
        sources.fetch("cifar10", tmp_path, at(cifar.published, source.paths[0].as_uri()), silent)


def test_an_unreachable_host_is_a_data_error(tmp_path: Path, cifar: SmallCifar) -> None:
    with pytest.raises(DataError, match=r"failed: .*refused"):
        sources.fetch("cifar10", tmp_path, cifar.published, silent)


def test_an_archive_that_is_no_file_is_not_waited_for(tmp_path: Path, cifar: SmallCifar) -> None:
    source = cifar.put_tar(tmp_path)
    [place] = source.paths
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(DataError, match="is not a regular file"):
        source.read(silent)


def test_a_batch_that_is_no_file_is_not_waited_for(tmp_path: Path, cifar: SmallCifar) -> None:
    source = cifar.put_folder(tmp_path)
    (source.paths[0] / "data_batch_1").unlink()
    os.mkfifo(source.paths[0] / "data_batch_1")
    with pytest.raises(DataError, match="cannot be read"):
        source.read(silent)


@pytest.mark.parametrize(("name", "limits"), [("data_batch_1", {"most": 2**20}), ("unknown", {"unpacked": 2**20})])
def test_members_that_are_too_large_are_not_read(tmp_path: Path, name: str, limits: dict[str, int]) -> None:
    cifar = SmallCifar(**{name: bytes(2**20 + 1)})
    [tar] = cifar.published.files
    cifar.published = dataclasses.replace(cifar.published, files=(dataclasses.replace(tar, **limits),))
    with pytest.raises(DataError, match=f"contains more than it should: .*{name}"):
        cifar.put_tar(tmp_path).read(silent)
