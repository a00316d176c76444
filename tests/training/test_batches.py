import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import config, noise

from hpo.builtin.recipe import RECIPES
from hpo.data.arrays import DataSet, Split
from hpo.networks.device import home_of_pixels
from hpo.settings import Settings
from hpo.training.batches import Images, Scale, scoring_batches, training_batches
from hpo.training.steps.tables import n_batches
from hpo.training.task import Task

AS_THEY_ARE = Scale(torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1), (0.0, 0.0, 0.0))


def numbered(n, edge=32):
    """Images of which each has its own number for a label."""
    return replace(noise(n, edge), labels=torch.arange(n))


def epoch_of(images, configuration, *, epoch=1, seed=0, scale=AS_THEY_ARE):
    return list(training_batches(images, configuration, scale, epoch, seed))


def by_label(batches):
    """Return {label: (H, W, channels) array} of an epoch."""
    return {label: x for inputs, labels in batches for x, label in zip(pixels(inputs), labels.tolist(), strict=True)}


def pixels(inputs):
    return inputs.permute(0, 2, 3, 1).numpy()


def view(image, down=0, right=0, *, mirrored=False):
    """The slow way: mirror an image, then cut its window out of a copy with reflected borders."""
    height, width = image.shape[:2]
    wide = np.pad(image[:, ::-1] if mirrored else image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    return wide[4 + down : 4 + down + height, 4 + right : 4 + right + width]


@pytest.mark.parametrize("n", [64, 65, 70, 31, 1])
def test_an_epoch_shows_every_image_exactly_once(n):
    images = numbered(n)
    batches = epoch_of(images, config(flip=True, shift=2))
    assert sorted(label for _, labels in batches for label in labels.tolist()) == list(range(n))


def test_batches_have_the_size_that_was_asked_for_and_the_last_has_the_rest():
    sizes = [len(labels) for _, labels in epoch_of(numbered(70), config(batch_size=32))]
    assert sizes == [32, 32, 6]


def test_a_single_image_that_is_left_over_joins_the_last_batch_since_one_image_has_no_variance():
    assert [len(labels) for _, labels in epoch_of(numbered(65), config(batch_size=32))] == [32, 33]
    assert [len(labels) for _, labels in epoch_of(numbered(3), config(batch_size=1))] == [1, 1, 1]


@pytest.mark.parametrize(("n", "size"), [(64, 32), (65, 32), (66, 32), (31, 32), (1, 32), (1, 1), (3, 1), (33, 32), (4, 3)])
def test_batches_are_counted_as_they_come(n, size):
    assert n_batches(n, size) == len(epoch_of(numbered(n), config(batch_size=size)))


def test_only_chosen_images_are_shown():
    images = replace(numbered(20), chosen=torch.tensor([3, 5, 7]))
    assert by_label(epoch_of(images, config())).keys() == {3, 5, 7}
    assert [labels.tolist() for _, labels in scoring_batches(images, AS_THEY_ARE, 2)] == [[3, 5], [7]]


def test_images_keep_their_labels_and_their_pixels():
    images = numbered(40)
    for label, shown in by_label(epoch_of(images, config())).items():
        assert np.array_equal(shown, images.pixels[label])


def test_the_same_seed_and_epoch_are_the_same_batches_and_others_are_not():
    images, everything = numbered(64), config(flip=True, shift=2, cutout=8)
    one = epoch_of(images, everything, epoch=3, seed=5)
    again = epoch_of(images, everything, epoch=3, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(itertools.chain(*one), itertools.chain(*again), strict=True))
    for changed in ({"epoch": 4, "seed": 5}, {"epoch": 3, "seed": 6}):
        assert not torch.equal(epoch_of(images, everything, **changed)[0][1], one[0][1])


@pytest.mark.parametrize(("flip", "shift"), [(False, 0), (True, 0), (False, 1), (True, 2), (True, 4)])
def test_each_image_is_shown_as_one_of_the_views_that_its_flip_and_shift_allow(flip, shift):
    images = numbered(60, edge=10)
    moves = range(-shift, shift + 1)
    allowed = list(itertools.product(moves, moves, (False, True) if flip else (False,)))
    seen = set()
    for label, shown in by_label(epoch_of(images, config(flip=flip, shift=shift))).items():
        original = images.pixels[label].numpy()
        matching = [v for v in allowed if np.array_equal(view(original, v[0], v[1], mirrored=v[2]), shown)]
        assert len(matching) == 1
        seen |= set(matching)
    assert {down for down, _, _ in seen} == {right for _, right, _ in seen} == set(moves)
    assert {mirrored for _, _, mirrored in seen} == ({False, True} if flip else {False})


def test_an_image_is_mirrored_in_every_other_epoch_and_half_of_them_in_each():
    images = numbered(200)
    mirrored = []
    for epoch in (1, 2, 3):
        shown = by_label(epoch_of(images, config(flip=True), epoch=epoch))
        mirrored.append({label for label in shown if not np.array_equal(shown[label], images.pixels[label])})
    assert mirrored[0] == mirrored[2]
    assert mirrored[0] | mirrored[1] == set(range(200))
    assert not mirrored[0] & mirrored[1]
    assert 70 < len(mirrored[0]) < 130


@pytest.mark.parametrize("edge", [1, 5, 8, 32])
def test_cutout_blanks_one_square_and_nothing_else(edge):
    images = replace(noise(100), labels=torch.arange(100))
    images.pixels.clamp_(min=1)
    widths = set()
    for label, shown in by_label(epoch_of(images, config(cutout=edge))).items():
        blank = (shown == 0).all(2)
        rows, columns = np.flatnonzero(blank.any(1)), np.flatnonzero(blank.any(0))
        assert np.array_equal(blank, np.outer(blank.any(1), blank.any(0)))
        for side in (rows, columns):  # squares may reach over the border, with at most half of them
            assert edge // 2 <= len(side) <= edge
            assert side[-1] - side[0] == len(side) - 1
        assert np.array_equal(shown[~blank], images.pixels[label].numpy()[~blank])
        widths.add(len(columns))
    assert max(widths) == min(edge, 32)


@pytest.mark.parametrize(
    ("standardize", "version", "expected"), [(False, 2, "mean"), (True, 2, "mean"), (False, 1, "black"), (True, 1, "mean")]
)
def test_cutout_blanks_to_the_images_mean_whatever_their_scale(standardize, version, expected):
    """Recipe 1 blanked to the value 0, which is black where images are not standardized."""
    images = noise(200, edge=8)
    images.pixels[..., 1] //= 4
    images = replace(images, chosen=torch.arange(100))
    scale = Scale.of(images, standardize=standardize, recipe=RECIPES[version])
    means = images.pixels[:100].float().mean((0, 1, 2)).view(1, 3, 1, 1) if expected == "mean" else torch.zeros(1, 3, 1, 1)
    blanks = (means * scale.factor + scale.offset).flatten()
    for inputs, _ in epoch_of(images, config(cutout=32), scale=scale):  # a square this large leaves nothing at its centre
        centre = inputs[:, :, 4, 4]
        torch.testing.assert_close(centre, blanks.expand_as(centre), atol=1e-5, rtol=1e-5)


def test_pixels_become_values_from_0_to_1():
    images = noise(16)
    images.pixels[0, 0, 0] = torch.tensor([0, 51, 255], dtype=torch.uint8)
    scale = Scale.of(images, standardize=False)
    inputs, _ = next(scoring_batches(images, scale, 16))
    assert inputs[0, :, 0, 0].tolist() == pytest.approx([0, 0.2, 1])
    assert inputs.min() >= 0
    assert inputs.max() <= 1


def test_standardized_images_have_mean_0_and_variance_1_a_channel_over_those_that_are_trained_on():
    images = noise(5000, edge=8)
    images.pixels[..., 1] //= 3
    images.pixels[..., 2] = images.pixels[..., 2] // 8 + 200
    images = replace(images, chosen=torch.arange(0, 5000, 2))
    images.pixels[1::2] = 255  # not chosen: they must not count
    scale = Scale.of(images, standardize=True)
    inputs = torch.cat([inputs for inputs, _ in scoring_batches(images, scale, 1000)])
    assert inputs.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-4)
    assert inputs.var((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-3)


def test_a_channel_without_contrast_stays_finite():
    images = noise(16)
    images.pixels[..., 0] = 7
    inputs, _ = next(scoring_batches(images, Scale.of(images, standardize=True), 16))
    assert inputs.isfinite().all()


def test_images_are_scored_in_order_and_unchanged():
    images = numbered(25)
    batches = list(scoring_batches(images, AS_THEY_ARE, 10))
    assert [len(labels) for _, labels in batches] == [10, 10, 5]
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels)
    assert np.array_equal(np.concatenate([pixels(inputs) for inputs, _ in batches]), images.pixels)


def test_batches_are_laid_out_channels_last_and_the_images_are_not_copied():
    pixels = np.zeros((4, 32, 32, 3), np.uint8)
    images = Images.of(pixels, np.zeros(4, np.int64), np.arange(4), torch.device("cpu"))
    inputs, _ = epoch_of(images, config(flip=True, shift=1))[0]
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert images.pixels.data_ptr() == pixels.ctypes.data


def test_pixels_that_stay_on_the_host_are_sent_batch_by_batch():
    there = noise(25)
    images = replace(there, labels=there.labels.to("meta"))  # a device that only knows shapes
    scale = Scale(*(tensor.to("meta") for tensor in AS_THEY_ARE[:2]), AS_THEY_ARE.blank)
    for batches in (
        epoch_of(images, config(flip=True, shift=2, cutout=4, batch_size=10), scale=scale),
        scoring_batches(images, scale, 10),
    ):
        for inputs, labels in batches:
            assert inputs.device.type == labels.device.type == "meta"
            assert inputs.shape == (len(labels), 3, 32, 32)
    assert images.pixels.device.type == "cpu"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_batches_are_the_same_whether_the_pixels_are_on_the_gpu_or_on_the_host():
    random, gpu = np.random.default_rng(0), torch.device("cuda")
    split = random.integers(0, 256, (300, 32, 32, 3), np.uint8), random.integers(0, 10, 300), np.arange(300)
    resident, mapped = Images.of(*split, gpu), Images.of(*split, gpu, torch.device("cpu"))
    scales = [Scale.of(images, standardize=True) for images in (resident, mapped)]
    knobs = config(flip=True, shift=2, cutout=4, batch_size=64)
    for one, other in zip(epoch_of(resident, knobs, scale=scales[0]), epoch_of(mapped, knobs, scale=scales[1]), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


@pytest.mark.parametrize(
    ("device", "n_bytes", "home"), [("cpu", 10**12, "cpu"), ("cuda:0", 5 * 10**9, "cuda"), ("cuda:0", 5 * 10**9 + 1, "cpu")]
)
def test_pixels_that_take_more_than_half_of_a_gpus_memory_stay_on_the_host(device, n_bytes, home):
    assert home_of_pixels(torch.device(device), n_bytes, memory=10**10).type == home


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pixels_that_would_not_fit_into_memory_are_mapped_and_only_what_a_batch_needs_is_read(tmp_path):
    def own_memory() -> int:
        told = Path("/proc/self/status").read_text()
        return 1024 * int(told.partition("RssAnon:")[2].split()[0])

    n, side = 40_000, 224  # 6 GB, of which the file system keeps what was written: nothing
    with (tmp_path / "images.bin").open("wb") as file:
        file.truncate(n * side * side * 3)
    pixels = np.memmap(tmp_path / "images.bin", np.uint8, "c", shape=(n, side, side, 3))
    split = Split(pixels, np.arange(n) % 2)
    settings = Settings(data=tmp_path, limit_train=64, limit_test=32)
    before = own_memory()
    task = Task.of(settings, DataSet("mine", ("a", "b"), split, split, "", ""), torch.device("cpu"), memory=10**9)
    scale = Scale.of(task.train, standardize=True)
    seen = sum(len(labels) for _, labels in epoch_of(task.train, config(flip=True, shift=2, batch_size=16), scale=scale))
    seen += sum(len(labels) for _, labels in scoring_batches(task.score, scale, 16))
    assert seen == 96
    assert task.train.pixels.data_ptr() == pixels.ctypes.data
    assert own_memory() - before < 500_000_000
