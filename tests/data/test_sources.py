"""Where pixels come from: image trees with whatever lies in them, and the digits."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from hpo.data import sources
from hpo.data.arrays import DataSet, silent
from hpo.data.datasets import load
from hpo.data.pictures.contents import looked_at
from hpo.data.pictures.source import Pictures
from hpo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def read(root: Path, work: Path) -> DataSet:
    work.mkdir()
    tree = sources.tree(root)
    return Pictures(tree, sources.IN_TREE, looked_at(tree, work, silent)).read(silent, work)


def test_a_tree_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label, name in enumerate(["ant", "bee"]):
            for i, suffix in enumerate([".png", ".JPG", ".jpeg"]):
                path = tmp_path / split / name / f"{i}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (100 * label, 50 * i, 7)).save(path)
    data = read(tmp_path, tmp_path / "work")
    assert data.classes == ("ant", "bee")
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    colours = data.test.images[:, 16, 16].astype(int)
    expected = [[100 * label, 50 * i, 7] for label in (0, 1) for i in (0, 1, 2)]
    np.testing.assert_allclose(colours, expected, atol=3)  # JPEG is not exact


def test_grey_and_palette_images_become_rgb(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    root = grow_tree(tmp_path) / "cifar10"
    Image.new("L", (32, 32), 90).save(root / "test" / "cat" / "0000.png")
    Image.new("RGB", (32, 32), (9, 8, 7)).quantize().save(root / "test" / "cat" / "0001.png")
    images = read(root, tmp_path / "work").test.images
    assert images[:2, 0, 0].tolist() == [[90, 90, 90], [9, 8, 7]]


def test_dot_files_and_other_files_are_ignored(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    root = grow_tree(tmp_path) / "cifar10"
    before = sources.tree(root)
    (root / ".complete").touch()
    (root / "train" / "README.txt").touch()
    (root / "train" / ".thumbnails").mkdir()
    (root / "train" / "cat" / "._0000.png").touch()
    (root / "train" / "cat" / "Thumbs.db").touch()
    (root / "train" / "cat" / "folder.png").mkdir()
    assert sources.tree(root).files == before.files


@pytest.mark.parametrize("name", ["with space", "Kätzchen 猫", "100% {a}?#"])
def test_odd_names_are_names(tmp_path: Path, grow_tree: Callable[..., Path], name: str) -> None:
    data = load("cifar10", grow_tree(tmp_path / name, (name, "z")), tmp_path / f"cache {name}")
    assert set(data.classes) == {name, "z"}
    assert load("cifar10", tmp_path / name, tmp_path / f"cache {name}").classes == data.classes


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_file_name_that_is_not_unicode_is_read(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    folder = grow_tree(tmp_path / "data") / "cifar10" / "train" / "cat"
    (folder / "0000.png").rename(folder / os.fsdecode(b"\xff.png"))
    assert len(load("cifar10", tmp_path / "data", tmp_path / "cache").train) == 12


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_a_damaged_image_is_named(tmp_path: Path, grow_tree: Callable[..., Path], content: bytes) -> None:
    path = grow_tree(tmp_path) / "cifar10" / "train" / "dog" / "0001.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"dog.0001\.png cannot be read as an image"):
        read(tmp_path / "cifar10", tmp_path / "work")


def test_a_truncated_image_is_named(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    path = grow_tree(tmp_path) / "cifar10" / "train" / "dog" / "0001.png"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"dog.0001\.png cannot be read as an image"):
        read(tmp_path / "cifar10", tmp_path / "work")


@pytest.mark.parametrize("size", [(32, 31), (64, 64), (1, 1)])
def test_an_image_of_another_size_is_named(tmp_path: Path, grow_tree: Callable[..., Path], size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(grow_tree(tmp_path) / "cifar10" / "test" / "frog" / "0000.png")
    with pytest.raises(DataError, match=rf"frog.0000\.png is {size[0]}x{size[1]} pixels"):
        read(tmp_path / "cifar10", tmp_path / "work")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split_is_named(tmp_path: Path, grow_tree: Callable[..., Path], split: str) -> None:
    root = grow_tree(tmp_path) / "cifar10"
    (root / split).rename(root / "elsewhere")
    with pytest.raises(DataError, match=f"{split} is missing"):
        sources.find("cifar10", tmp_path)


def test_a_tree_without_pictures_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="has no pictures in its folders"):
        sources.tree(tmp_path)


def test_train_and_test_must_have_the_same_classes(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    root = grow_tree(tmp_path) / "cifar10"
    (root / "test" / "dog").rename(root / "test" / "horse")
    with pytest.raises(DataError, match="same classes; only one of them has dog, horse"):
        sources.tree(root)


def test_a_class_without_images_is_no_class(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    root = grow_tree(tmp_path) / "cifar10"
    for split in ("train", "test"):
        (root / split / "newt").mkdir()
    assert sources.tree(root).classes == ("cat", "dog", "frog")
    assert sources.tree(root).passed_over == ["newt/ (no pictures)"]


def test_digits_are_always_the_same_1437_and_360_images() -> None:
    data = sources.Digits().read(silent)
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.classes == tuple("0123456789")
    assert data.digest == "a513f2738e56ca844c23b9e2f115c3b79c67ce5c41447487f6608906102cd74d"
    counts = np.bincount(data.test.labels)
    assert (counts.min(), counts.max()) == (35, 37)


def test_digits_are_enlarged_to_32_by_32_grey_pixels() -> None:
    images = sources.Digits().read(silent).train.images
    assert images.shape == (1437, 32, 32, 3)
    assert (images.min(), images.max()) == (0, 255)
    corners = images[:, ::4, ::4, :1]
    np.testing.assert_array_equal(images, corners.repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3))


def test_a_class_whose_name_is_not_utf_8_is_refused_with_a_sentence(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    root = grow_tree(tmp_path) / "cifar10"
    for split in ("train", "test"):
        (root / split / "cat").rename(root / split / "caf\udce9")  # as Python spells a byte that is no UTF-8
    with pytest.raises(DataError, match=r"class folder whose name is not UTF-8: 'caf\\udce9'\. Rename it\."):
        sources.tree(root)
