"""Crops and jitter: what they keep, what they change, and how often."""

import math

import numpy as np
import pytest
import torch
from tiny import config, noise

from hpo.training.augmentation import RATIO, boxes, cropped, tinted
from hpo.training.batches import Images, Scale, training_batches
from hpo.training.train import Training

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
PHOTOS = config(flip=True, crop=0.35, jitter=0.4)


def values(n=6, edge=20, seed=0):
    return torch.rand((n, 3, edge, edge), generator=torch.Generator().manual_seed(seed)) * 255


def drawn(images, configuration, epoch=1, seed=0):
    """An epoch's images and labels, as pixel values."""
    scale = Scale.of(images, standardize=False)
    parts = list(training_batches(images, configuration, scale, epoch, seed))
    return torch.cat([inputs for inputs, _ in parts]) * 255, torch.cat([labels for _, labels in parts])


def test_a_crop_of_the_whole_picture_is_the_picture():
    before = values()
    assert torch.allclose(cropped(before, WHOLE.expand(6, 4)), before, atol=0.01)


def test_a_crop_shows_its_part_of_the_picture():
    """A picture whose values are its coordinates shows where a crop lies; borders are half a pixel short."""
    edge = 64
    across = ((torch.arange(edge) + 0.5) / edge).expand(1, 1, edge, edge)
    made = cropped(torch.cat((across, across.transpose(2, 3)), 1), torch.tensor([[0.25, 0.5, 0.5, 0.25]]))
    centres = (torch.arange(edge) + 0.5) / edge
    assert torch.allclose(made[0, 0], (0.25 + 0.5 * centres).expand(edge, edge), atol=1e-5)
    assert torch.allclose(made[0, 1], (0.5 + 0.25 * centres)[:, None].expand(edge, edge), atol=1e-5)


@pytest.mark.parametrize("least", [0.08, 0.35, 0.9])
def test_areas_are_uniform_and_ratios_within_their_bounds_and_no_crop_leaves_the_picture(least):
    left, top, width, height = boxes(20_000, least, torch.Generator().manual_seed(1)).double().unbind(1)
    area, ratio = width * height, width / height
    assert least - 1e-6 <= area.min()
    assert area.max() <= 1 + 1e-6
    for share in (0.25, 0.5, 0.75):
        assert area.quantile(share).item() == pytest.approx(least + (1 - least) * share, abs=0.02)
    assert ratio.max() <= RATIO + 1e-5
    assert ratio.min() >= 1 / RATIO - 1e-5
    assert ratio.log().mean().item() == pytest.approx(0, abs=0.01)  # as often wide as high
    wide = ratio[area < 1 / RATIO].log()  # these may have any ratio
    if len(wide):
        assert wide.std().item() == pytest.approx(math.log(RATIO) / math.sqrt(3), rel=0.05)
    for start, size in ((left, width), (top, height)):
        assert start.min() >= 0
        assert (start + size).max() <= 1 + 1e-6
        room = (1 - size) > 0.01
        assert (start / (1 - size))[room].mean().item() == pytest.approx(0.5, abs=0.02)


def test_jitter_keeps_the_range_of_values_and_grey_stays_grey():
    factors = 1 + 0.9 * (torch.rand((6, 3), generator=torch.Generator().manual_seed(2)) * 2 - 1)
    made = tinted(values(), factors)
    assert made.min() >= 0
    assert made.max() <= 255
    grey = tinted(values()[:, :1].expand(-1, 3, -1, -1), factors)
    assert torch.allclose(grey, grey[:, :1].expand_as(grey), atol=1e-3)
    assert tinted(values()[:, :1], factors).shape == (6, 1, 20, 20)  # images of one channel


def test_jitter_of_nothing_is_nothing_and_each_factor_does_what_it_says():
    before = values() / 4 + 64  # nothing is cut at the ends of the range
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)

    def changed(*factors):
        return tinted(before, torch.tensor([factors]).expand(6, 3))

    grey = (before * weights).sum(1, keepdim=True)
    assert torch.allclose(changed(1.0, 1.0, 1.0), before, atol=1e-3)
    assert torch.allclose(changed(1.2, 1.0, 1.0), 1.2 * before, atol=1e-3)
    mean = grey.mean((2, 3), keepdim=True)
    assert torch.allclose(changed(1.0, 0.5, 1.0), mean + 0.5 * (before - mean), atol=1e-3)
    assert torch.allclose(changed(1.0, 1.0, 0.0), grey.expand_as(before), atol=1e-3)


def test_labels_and_the_order_of_images_are_untouched():
    images = noise(100)
    plain, labels = drawn(images, config())
    augmented, same = drawn(images, PHOTOS)
    assert torch.equal(labels, same)
    assert plain.shape == augmented.shape
    assert not torch.allclose(plain, augmented, atol=5)


def test_half_of_the_pictures_are_mirrored_and_the_other_half_in_the_next_epoch():
    """Pictures that are dark at the left: a crop and jitter leave that, and a mirror does not."""
    row = np.linspace(40, 200, 32).astype(np.uint8)
    pixels = np.broadcast_to(row[None, None, :, None], (400, 32, 32, 3)).copy()
    images = Images.of(pixels, np.arange(400), np.arange(400), torch.device("cpu"))
    seen = []
    for epoch in (1, 2):
        made, which = drawn(images, PHOTOS, epoch)
        mirrored = made[:, 0, :, :8].mean((1, 2)) > made[:, 0, :, -8:].mean((1, 2))
        seen.append(mirrored[which.argsort()])
    assert 0.4 < seen[0].double().mean() < 0.6
    assert torch.equal(seen[0], ~seen[1])


def test_an_epoch_is_the_same_whenever_it_is_drawn_and_another_one_differs():
    images = noise(64)
    assert torch.equal(drawn(images, PHOTOS)[0], drawn(images, PHOTOS)[0])
    assert not torch.equal(drawn(images, PHOTOS)[0], drawn(images, PHOTOS, epoch=3)[0])
    assert not torch.equal(drawn(images, PHOTOS)[0], drawn(images, PHOTOS, seed=1)[0])


def test_an_image_is_augmented_in_the_same_way_in_batches_of_any_size():
    images = noise(96)
    small, large = (drawn(images, PHOTOS.model_copy(update={"batch_size": size}))[0] for size in (32, 96))
    assert torch.allclose(small, large, atol=1e-3)


def test_a_training_on_photographs_goes_on_as_if_it_had_not_stopped():
    knobs = PHOTOS.model_copy(update={"class_weights": 0.5, "norm": "batch"})
    images = noise(64)
    whole = Training(knobs, images, images, 10, 3, seed=4)
    expected = [epoch.metrics for epoch in whole.epochs()]
    first = Training(knobs, images, images, 10, 3, seed=4)
    next(first.epochs())
    second = Training(knobs, images, images, 10, 3, seed=4)
    second.restore(first.state())
    assert [epoch.metrics for epoch in second.epochs()] == expected[1:]
