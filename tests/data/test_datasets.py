"""Loading through the cache, choosing images, and the preview."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hpo.data import cache
from hpo.data.arrays import silent
from hpo.data.datasets import DataSet, Split, hold_out, load, preview, take
from hpo.errors import StorageError, UsageError
from hpo.settings import data_folder

if TYPE_CHECKING:
    from collections.abc import Callable

Event = tuple[str, int, int]


def decoded(name: str, data_dir: Path, cache_dir: Path) -> tuple[DataSet, bool]:
    """Load and tell whether anything had to be read from its source."""
    said: list[Event] = []
    data = load(name, data_dir, cache_dir, lambda *event: said.append(event))
    return data, any(what.startswith(("decoding", "reading")) for what, _, _ in said)


def same(a: DataSet, b: DataSet) -> bool:
    splits = [(a.train, b.train), (a.test, b.test)]
    equal = all(np.array_equal(x.images, y.images) and np.array_equal(x.labels, y.labels) for x, y in splits)
    return equal and (a.classes, a.digest, a.source) == (b.classes, b.digest, b.source)


def test_an_unknown_name_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'cifar10'"):
        load("cifar", tmp_path, tmp_path)


def test_the_second_load_comes_from_the_cache(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    first, was_decoded = decoded("cifar10", grow_tree(tmp_path / "data"), tmp_path / "cache")
    assert was_decoded
    second, was_decoded = decoded("cifar10", tmp_path / "data", tmp_path / "cache")
    assert not was_decoded
    assert same(first, second)
    assert second.name == "cifar10"
    assert second.source == f"18 image files in {tmp_path / 'data' / 'cifar10'}."


def test_images_are_mapped_copy_on_write(tmp_path: Path) -> None:
    data = load("digits", tmp_path, tmp_path / "cache")
    assert isinstance(data.train.images, np.memmap)
    assert data.train.images.flags.writeable
    assert data.train.images.flags.c_contiguous
    data.train.images[:] = 0
    assert load("digits", tmp_path, tmp_path / "cache").train.images.any()


def test_a_changed_image_is_decoded_anew(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    before = load("cifar10", grow_tree(tmp_path / "data"), tmp_path / "cache")
    Image.new("RGB", (32, 32), (1, 2, 3)).save(tmp_path / "data" / "cifar10" / "train" / "cat" / "0000.png")
    after = load("cifar10", tmp_path / "data", tmp_path / "cache")
    assert after.train.images[0, 0, 0].tolist() == [1, 2, 3]
    assert after.digest != before.digest


def test_the_digest_knows_the_data_and_not_their_place(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    here, there = (load("cifar10", grow_tree(tmp_path / place), tmp_path / "cache") for place in ("a", "b"))
    renamed = load("cifar10", grow_tree(tmp_path / "c", ("cat", "dog", "toad")), tmp_path / "cache")
    assert here.digest == there.digest
    assert renamed.digest != here.digest


def damage(entry: Path, how: str) -> None:
    images, about = entry / "train-images.npy", entry / "about.json"
    match how:
        case "truncated":
            images.write_bytes(images.read_bytes()[:-1])
        case "longer":
            images.write_bytes(images.read_bytes() + b"\0")
        case "overwritten":
            images.write_bytes(bytes(images.stat().st_size))
        case "gone":
            (entry / "test-labels.npy").unlink()
        case "other shape":
            images.write_bytes(images.read_bytes().replace(b"(12, 32, 32, 3)", b"(24, 16, 32, 3)"))
        case _:
            about.write_text(how)


@pytest.mark.parametrize(
    "how", ["truncated", "longer", "overwritten", "gone", "other shape", "", "{", "{}", "[]", "7", '{"sizes": 3}', "\0"]
)
def test_a_damaged_entry_is_made_again(tmp_path: Path, grow_tree: Callable[..., Path], how: str) -> None:
    first = load("cifar10", grow_tree(tmp_path / "data"), tmp_path / "cache")
    pristine = DataSet(
        first.name,
        first.classes,
        *(Split(np.array(split.images), split.labels) for split in (first.train, first.test)),
        first.digest,
        first.source,
    )
    [entry] = (tmp_path / "cache").glob("cifar10-*")
    damage(entry, how)
    again, was_decoded = decoded("cifar10", tmp_path / "data", tmp_path / "cache")
    assert was_decoded
    assert same(again, pristine)
    assert not decoded("cifar10", tmp_path / "data", tmp_path / "cache")[1]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    load("digits", tmp_path, tmp_path / "cache")
    [entry] = (tmp_path / "cache").glob("digits-*")
    entry.rename(entry.with_name(f".{entry.name}.tmp"))
    load("digits", tmp_path, tmp_path / "cache")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [entry.name, "digits.lock"]


@pytest.mark.parametrize("below", [".", "folder"])
def test_a_cache_that_cannot_be_written_is_a_storage_error(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="HPO_CACHE_DIR") as raised:
        load("digits", tmp_path, tmp_path / "file" / below)
    assert str(tmp_path / "file") in str(raised.value)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has its own place")
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HPO_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        ({"HPO_CACHE_DIR": "", "XDG_CACHE_HOME": "/x"}, "/x/hpo"),
        ({"HOME": "/h"}, "/h/.cache/hpo"),
    ],
)
def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ("HPO_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache.default_folder().as_posix() == expected


LOAD = """
import sys
from pathlib import Path
from hpo.data.datasets import load
data = load("cifar10", Path(sys.argv[1]), Path(sys.argv[2]), lambda what, *_: print(what, flush=True))
print(data.digest, "torch" in sys.modules)
"""


def test_of_processes_that_load_at_once_one_decodes_and_none_needs_torch(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    places = [str(grow_tree(tmp_path / "data")), str(tmp_path / "cache")]
    with cache.locked(tmp_path / "cache", "cifar10", silent):  # until all stand at the door
        processes = [subprocess.Popen([sys.executable, "-c", LOAD, *places], stdout=subprocess.PIPE, text=True) for _ in range(3)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("waiting")
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert len({lines[-1] for lines in outputs}) == 1
    assert outputs[0][-1].endswith(" False")
    assert sum("decoding images to 32x32" in lines for lines in outputs) == 1


@pytest.mark.cifar10
def test_real_cifar10_has_its_size_and_classes() -> None:
    data = load("cifar10", Path(os.environ["HPO_DATA_DIR"]))
    assert data.train.images.shape == (50_000, 32, 32, 3)
    assert np.bincount(data.train.labels).tolist() == [5_000] * 10
    assert np.bincount(data.test.labels).tolist() == [1_000] * 10
    assert data.classes[0] == "airplane"
    assert data.classes[-1] == "truck"


labels_of_some_classes = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda x: np.array(x, np.int64))
seeds = st.integers(0, 2**63)


def test_no_limit_takes_all() -> None:
    assert take(np.array([0, 1, 1]), None, seed=0).tolist() == [0, 1, 2]


@given(labels_of_some_classes, st.data(), seeds)
def test_a_limit_takes_an_equal_share_of_each_class(labels: np.ndarray, data: st.DataObject, seed: int) -> None:
    classes, available = np.unique(labels, return_counts=True)
    limit = data.draw(st.integers(len(classes), len(labels)))
    chosen = take(labels, limit, seed)
    assert chosen.dtype == np.int64
    assert len(chosen) == limit
    assert (np.diff(chosen) > 0).all()
    counts = np.array([(labels[chosen] == label).sum() for label in classes])
    fair = counts.max()
    assert ((counts >= fair - 1) | (counts == available)).all()
    np.testing.assert_array_equal(chosen, take(labels, limit, seed))


@given(labels_of_some_classes, st.data(), seeds)
def test_a_larger_limit_keeps_what_a_smaller_one_took(labels: np.ndarray, data: st.DataObject, seed: int) -> None:
    n_classes = len(np.unique(labels))
    small = data.draw(st.integers(n_classes, len(labels)))
    large = data.draw(st.integers(small, len(labels)))
    assert set(take(labels, small, seed)) <= set(take(labels, large, seed))


def test_another_seed_takes_other_images() -> None:
    labels = np.arange(100) % 2
    assert take(labels, 20, seed=0).tolist() != take(labels, 20, seed=1).tolist()


def test_a_seed_takes_the_same_images_in_every_year() -> None:
    assert take(np.arange(30) % 3, 6, seed=7).tolist() == [12, 14, 15, 22, 23, 25]


@pytest.mark.parametrize(("limit", "reason"), [(4, "more than the 3"), (1, "too small"), (0, "too small"), (-1, "too")])
def test_an_impossible_limit_is_a_usage_error(limit: int, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        take(np.array([0, 1, 1]), limit, seed=0)


@given(labels_of_some_classes.filter(lambda labels: len(labels) > 1), st.data(), seeds)
def test_held_out_images_are_the_same_fraction_of_each_class(labels: np.ndarray, data: st.DataObject, seed: int) -> None:
    n = data.draw(st.integers(1, len(labels) - 1))
    rest, held_out = hold_out(labels, n, seed)
    assert len(held_out) == n
    assert sorted([*rest, *held_out]) == list(range(len(labels)))
    assert (np.diff(rest) > 0).all()
    assert (np.diff(held_out) > 0).all()
    for label in np.unique(labels):
        exact = n * (labels == label).mean()
        assert abs((labels[held_out] == label).sum() - exact) < 1 + 1e-9


@pytest.mark.parametrize("n", [-1, 0, 3, 4])
def test_holding_out_nothing_or_everything_is_a_usage_error(n: int) -> None:
    with pytest.raises(UsageError, match="cannot hold out"):
        hold_out(np.array([0, 1, 1]), n, seed=0)


def test_the_preview_shows_64_captioned_images_eight_a_row(tmp_path: Path) -> None:
    data = load("digits", tmp_path, tmp_path / "cache")
    preview(data, tmp_path / "new folder" / "digits.png")
    with Image.open(tmp_path / "new folder" / "digits.png") as picture:
        assert picture.format == "PNG"
        width, height = picture.size
        assert (width, height) == (8 * 104 + 8, 8 * 124 + 8)
        cells = [picture.crop((8 + 104 * x, 8 + 124 * y, 104 + 104 * x, 104 + 124 * y)) for y in range(8) for x in range(8)]
        captions = [picture.crop((8, 104 + 124 * y, 104, 124 + 124 * y)).convert("L") for y in range(8)]
    shown = {np.asarray(cell.resize((32, 32), Image.Resampling.NEAREST)).tobytes() for cell in cells}
    assert shown <= {image.tobytes() for image in data.train.images}
    assert len(shown) == 64
    assert all(caption.getextrema()[0] < 100 for caption in captions)


def test_a_small_data_set_with_long_names_has_a_preview_too(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    data = load("cifar10", grow_tree(tmp_path, ("a" * 100, "猫")), tmp_path / "cache")
    preview(data, tmp_path / "small.png")
    with Image.open(tmp_path / "small.png") as picture:
        assert picture.size == (8 * 104 + 8, 124 + 8)


def test_a_preview_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write the picture"):
        preview(load("digits", tmp_path, tmp_path / "cache"), tmp_path / "file" / "picture.png")


def test_a_cache_on_a_file_system_without_locks_is_an_error_that_names_the_variable(tmp_path, monkeypatch):
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StorageError, match=r"has no locks .*HPO_CACHE_DIR=FOLDER"):
        load("digits", tmp_path, tmp_path / "cache")


def test_without_a_home_folder_the_variable_for_decoded_images_is_named(tmp_path, monkeypatch):
    for name in ("HOME", "HPO_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)  # of nobody in the system's list
    with pytest.raises(StorageError, match=r"no home folder.*HPO_CACHE_DIR=FOLDER"):
        load("digits", tmp_path)


def test_a_tilde_in_the_folders_of_data_is_the_home_folder(tmp_path, monkeypatch, grow_tree):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HPO_CACHE_DIR", "~/cache")
    grow_tree(tmp_path / "data")
    preview(load("cifar10", data_folder(Path("~/data"))), Path("~/preview.png"))
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "data", "preview.png"}
