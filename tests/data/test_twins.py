"""Nearly equal pictures: what is a copy, however it was changed, and what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from hpo.data.pictures.twins import near_pairs


def scene(seed: int, side: int = 48) -> Image.Image:
    """Return a picture with details of its own."""
    points = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(points).resize((side, side), Image.Resampling.BICUBIC)


def array(image: Image.Image, side: int = 32) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


CHANGES = {
    "none": lambda image: image,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "paler": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    "grey": lambda image: image.convert("L"),
    "shifted": lambda image: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 4, 0, 1, -3)),
    "cropped": lambda image: image.crop((1, 1, image.width - 2, image.height - 2)),
    "smaller": lambda image: image.resize((30, 30)),
}


@pytest.mark.parametrize("side", [32, 40, 100])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_a_near_twin(change: str, side: int) -> None:
    train = np.stack([array(scene(seed), side) for seed in range(30)])
    test = np.stack([array(scene(100), side), array(CHANGES[change](scene(7)), side)])
    assert near_pairs(train, test) == [(7, 1)]


def test_pictures_of_the_same_outline_are_no_twins() -> None:
    ground = np.linspace(40, 220, 32)[:, None, None] * np.ones((32, 32, 3))  # a bright sky above a dark field

    def with_details(seed: int) -> np.ndarray:
        details = np.asarray(scene(seed, 32), float) - 128
        return np.clip(ground + 0.3 * details, 0, 255).astype(np.uint8)

    train = np.stack([with_details(seed) for seed in range(30)])
    assert near_pairs(train, np.stack([with_details(seed) for seed in range(100, 120)])) == []
    assert near_pairs(train, train[3:5]) == [(3, 0), (4, 1)]


def test_pictures_without_details_are_no_twins() -> None:
    random = np.random.default_rng(0)
    train, test = (random.integers(99, 102, (20, 32, 32, 3), dtype=np.uint8) for _ in range(2))
    assert near_pairs(train, test) == []


@pytest.mark.parametrize("side", [1, 5, 31, 33])
def test_pictures_of_every_size_and_number_are_compared(side: int) -> None:
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 256, (n, side, side, 3), dtype=np.uint8) for n in (3, 2))
    assert near_pairs(train, test) == []
