"""The bits behind a trial's accuracy: exact, small, and worth nothing unless they are what they say."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpo.scoring import correct


def answers(n=10_000, accuracy=0.88, seed=0):
    return np.random.default_rng(seed).random(n) < accuracy


@given(arrays(bool, st.integers(1, 100)))
def test_what_was_written_is_read(tmp_path_factory, given_bits):
    path = tmp_path_factory.mktemp("bits") / "x.bits"
    correct.write(path, given_bits)
    assert np.array_equal(correct.read(path, len(given_bits), given_bits.mean()), given_bits)


def test_ten_thousand_images_take_little_more_than_a_kilobyte(tmp_path):
    correct.write(tmp_path / "x.bits", answers())
    assert (tmp_path / "x.bits").stat().st_size < 1400


def test_bits_of_another_epoch_or_of_other_images_are_not_used(tmp_path):
    path, bits = tmp_path / "x.bits", answers()
    correct.write(path, bits)
    assert correct.read(path, 10_000, bits.mean() + 1e-4) is None
    assert correct.read(path, 9_999, bits.mean()) is None
    assert correct.read(path, 9_993, bits.mean()) is None  # as many bytes
    assert correct.read(path, 10**30, bits.mean()) is None
    assert correct.read(path, 10_000, float("nan")) is None
    assert correct.read(tmp_path / "missing", 10_000, bits.mean()) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 0x18])),
        lambda path: path.write_bytes(b""),
        lambda path: os.truncate(path, 1 << 40),  # sparse: a terabyte that takes no room
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.rename(path.with_name("elsewhere")), path.symlink_to("elsewhere")),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_not_used(tmp_path, damage):
    path, bits = tmp_path / "x.bits", answers()
    correct.write(path, bits)
    damage(path)
    assert correct.read(path, 10_000, bits.mean()) is None
