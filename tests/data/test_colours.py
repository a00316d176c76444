"""Colours of pictures with a profile: as sRGB means them, or as they are where the profile cannot be used."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from hpo.data.pictures.colours import in_srgb
from hpo.data.pictures.picture import decode, squared

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = {b"rXYZ": (0.51512, 0.24120, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189), b"bXYZ": (0.15710, 0.06657, 0.78407)}
ADOBE = {b"rXYZ": (0.60974, 0.31111, 0.01947), b"gXYZ": (0.20528, 0.62567, 0.06087), b"bXYZ": (0.14919, 0.06322, 0.74457)}


def places(profile):
    (n,) = struct.unpack_from(">I", profile, 128)
    return {sig: (at, size) for sig, at, size in (struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(n))}


def with_primaries(primaries):
    """sRGB's profile with other primaries, in XYZ for D50."""
    made = bytearray(SRGB)
    for name, values in primaries.items():
        at, _ = places(SRGB)[name]
        struct.pack_into(">3i", made, at + 8, *(round(65536 * value) for value in values))
    return bytes(made)


def exchanged():
    """A profile in which red is blue."""
    (red, size), (blue, _) = (places(SRGB)[name] for name in (b"rXYZ", b"bXYZ"))
    made = bytearray(SRGB)
    made[red : red + size], made[blue : blue + size] = SRGB[blue : blue + size], SRGB[red : red + size]
    return bytes(made)


def profile_of(kind, space, pcs, tags):
    """A profile of version 2 made of these tags."""
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, kind, space, pcs)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


WHITE_POINT = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
GREY_LINEAR = profile_of(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": WHITE_POINT, b"kTRC": b"curv" + bytes(8)})


def printer():
    """A CMYK profile whose magenta ink is blue, Lab (40, 0, -60); cyan and yellow leave the paper white."""
    identity = bytes(range(256))
    black, blue, white = bytes((0, 128, 128)), bytes((102, 128, 68)), bytes((255, 128, 128))
    corners = b"".join(black if i & 1 else blue if i & 4 else white for i in range(16))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + identity * 4 + corners + identity * 3
    return profile_of(b"prtr", b"CMYK", b"Lab ", {b"wtpt": WHITE_POINT, b"A2B0": lut})


def middle(tmp_path, image, profile, suffix=".png", **how):
    path = tmp_path / f"picture{suffix}"
    image.save(path, icc_profile=profile, **how)
    return tuple(decode(path, 8, "crop").pixels[4, 4].tolist())


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_picture_is_seen_in_the_colours_of_its_profile(tmp_path, suffix):
    how = {"lossless": True} if suffix == ".webp" else {}
    assert middle(tmp_path, Image.new("RGB", (8, 8), (200, 0, 0)), exchanged(), suffix, **how) == pytest.approx(
        (0, 0, 200), abs=4
    )


@pytest.mark.parametrize("primaries", [P3, ADOBE], ids=["Display P3", "Adobe RGB"])
def test_colours_of_wide_gamuts_are_more_vivid_than_their_numbers(tmp_path, primaries):
    """A usual red, computed by hand: linear light, the profile's primaries, sRGB's (Adobe RGB here with sRGB's curve)."""
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:] = (200, 100, 100)
    linear = np.where(picture[0, 0] / 255 <= 0.04045, picture[0, 0] / 255 / 12.92, ((picture[0, 0] / 255 + 0.055) / 1.055) ** 2.4)
    own = {name: struct.unpack_from(">3i", SRGB, places(SRGB)[name][0] + 8) for name in primaries}
    theirs, ours = (np.array([one[name] for name in (b"rXYZ", b"gXYZ", b"bXYZ")], float).T for one in (primaries, own))
    values = np.linalg.solve(ours / 65536, theirs @ linear).clip(0, 1)
    expected = 255 * np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    assert middle(tmp_path, Image.fromarray(picture), with_primaries(primaries)) == pytest.approx(expected, abs=2.5)
    assert expected[0] > 205


def test_grey_and_cmyk_have_profiles_too(tmp_path):
    """A linear grey of a quarter is as bright as sRGB's 137; ink that is blue is blue."""
    assert middle(tmp_path, Image.new("L", (8, 8), 64), GREY_LINEAR) == pytest.approx((137, 137, 137), abs=2)
    red, green, blue = middle(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 0, 0)), printer(), ".tif")
    assert blue > 150
    assert max(red, green) < 110


def test_transparency_lies_over_white_after_the_colours_are_changed(tmp_path):
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    image.paste((255, 0, 0, 0), (0, 0, 8, 2))
    assert middle(tmp_path, image, exchanged()) == pytest.approx((0, 0, 255), abs=4)
    assert decode(tmp_path / "picture.png", 8, "crop").pixels[0, 0].tolist() == [255, 255, 255]
    palette = Image.new("RGB", (8, 8), (255, 0, 0)).convert("P")
    assert middle(tmp_path, palette, exchanged()) == pytest.approx((0, 0, 255), abs=4)


@pytest.mark.parametrize(
    "profile",
    [b"no profile", SRGB[:200], SRGB[:128] + b"\xff" * 300, GREY_LINEAR, printer(), bytes(500)],
    ids=["text", "cut", "garbled", "of grey", "of a printer", "zeros"],
)
def test_a_profile_that_cannot_be_used_is_passed_over(tmp_path, profile):
    assert middle(tmp_path, Image.new("RGB", (8, 8), (200, 100, 50)), profile) == (200, 100, 50)


def test_srgb_itself_changes_no_bit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    plain, profiled = tmp_path / "plain.png", tmp_path / "profiled.png"
    Image.fromarray(noise).save(plain)
    Image.fromarray(noise).save(profiled, icc_profile=SRGB)
    assert decode(plain, 16, "crop").digest == decode(profiled, 16, "crop").digest


def test_a_picture_without_a_profile_is_not_touched():
    image = Image.new("RGB", (8, 8), (200, 100, 50))
    assert in_srgb(image) is image


def test_a_picture_that_is_open_already_is_seen_as_its_file():
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(file, "PNG", icc_profile=exchanged())
    seen = squared(Image.open(file), 8, "crop")[4, 4].tolist()
    assert seen == pytest.approx([0, 0, 200], abs=4)
