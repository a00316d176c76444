"""A person's own pictures: every odd kind of file and folder has its right value."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from running import Hpo

from hpo.cli.main import main
from hpo.data.arrays import DataSet, silent
from hpo.data.datasets import inspected, load, load_pictures, preview
from hpo.data.pictures import cores, decoding
from hpo.data.pictures.listing import TEST, TRAIN, VALIDATION, listed
from hpo.data.pictures.picture import Unusable, decode
from hpo.data.pictures.source import Wanted, chosen_size, split
from hpo.errors import DataError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def saved(path: Path, image: Image.Image, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)
    return path


def colour(path: Path, fit: str = "crop") -> tuple[int, ...]:
    """Return the colour in the middle of a decoded picture."""
    return tuple(decode(path, 8, fit).pixels[4, 4].tolist())


def halves(width: int, height: int) -> Image.Image:
    """Return a picture that is red on its left and blue on its right."""
    image = Image.new("RGB", (width, height), (0, 0, 255))
    image.paste(RED, (0, 0, width // 2, height))
    return image


def noise(seed: int, side: int = 12) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def grow(root: Path, n: int = 10, classes: tuple[str, ...] = ("bee", "ant"), suffix: str = ".png", side: int = 12) -> Path:
    """Write `n` different pictures per class."""
    for label, name in enumerate(classes):
        for i in range(n):
            saved(root / name / f"{i:02}{suffix}", noise(1000 * label + i, side))
    return root


def loaded(root: Path, cache: Path, **wanted: object):
    return load_pictures(root, Wanted(root.name, **{"size": 12} | wanted), cache)


GREY = {
    "L": (Image.new("L", (8, 8), 90), ".png", 90),
    "1": (Image.new("1", (8, 8), 1), ".png", 255),
    "1 bit TIFF": (Image.new("1", (8, 8), 1), ".tif", 255),
    "LA over white": (Image.new("LA", (8, 8), (0, 128)), ".png", 127),
    "16 bit PNG": (Image.fromarray(np.full((8, 8), 65535, np.uint16)), ".png", 255),
    "16 bit TIFF": (Image.fromarray(np.full((8, 8), 257 * 100, np.uint16)), ".tiff", 100),
    "16 bit PGM": (Image.fromarray(np.full((8, 8), 257 * 7, np.uint16)), ".pgm", 7),
    "32 bit TIFF of 16 bit values": (Image.fromarray(np.full((8, 8), 257 * 60, np.int32)), ".tif", 60),
    "float TIFF, 0 to 1": (Image.fromarray(np.full((8, 8), 0.4, np.float32)), ".tif", 102),
    "float TIFF, 0 to 255": (Image.fromarray(np.full((8, 8), 77.0, np.float32)), ".tif", 77),
    "float TIFF that is not a number": (Image.fromarray(np.full((8, 8), np.nan, np.float32)), ".tif", 0),
}


@pytest.mark.parametrize("kind", GREY)
def test_grey_pictures_of_every_depth_have_their_8_bit_value(tmp_path: Path, kind: str) -> None:
    image, suffix, value = GREY[kind]
    assert colour(saved(tmp_path / f"x{suffix}", image)) == (value,) * 3


def palette(transparent: bool) -> Image.Image:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    if transparent:
        image.info["transparency"] = 0
    return image


COLOURED = {
    "palette": (palette(transparent=False), ".png", RED),
    "palette with a transparent entry": (palette(transparent=True), ".gif", WHITE),
    "palette with alpha": (Image.new("RGBA", (8, 8), (255, 0, 0, 0)).quantize(4), ".png", WHITE),
    "alpha": (Image.new("RGBA", (8, 8), (0, 0, 0, 128)), ".png", (127,) * 3),
    "alpha, opaque": (Image.new("RGBA", (8, 8), (9, 8, 7, 255)), ".webp", (9, 8, 7)),
    "a transparent colour": (Image.new("RGB", (8, 8), (1, 2, 3)), ".png", WHITE),
    "CMYK": (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), ".tif", RED),
    "CMYK JPEG": (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), ".jpg", (254, 0, 0)),
    "YCbCr": (Image.new("YCbCr", (8, 8), (76, 85, 255)), ".tif", (254, 0, 0)),
    "LAB": (Image.new("LAB", (8, 8), (255, 128, 128)), ".tif", WHITE),
    "BMP": (Image.new("RGB", (8, 8), RED), ".BMP", RED),
    "PPM": (Image.new("RGB", (8, 8), RED), ".Ppm", RED),
    "TGA": (Image.new("RGB", (8, 8), RED), ".tga", RED),
    "ICO": (Image.new("RGB", (16, 16), RED), ".ico", RED),
    "JPEG 2000": (Image.new("RGB", (8, 8), RED), ".jp2", RED),
    "QOI": (Image.new("RGB", (8, 8), RED), ".qoi", RED),
    "PCX": (Image.new("RGB", (8, 8), RED), ".pcx", RED),
    "WebP, lossless": (Image.new("RGB", (8, 8), RED), ".webp", RED),
}


@pytest.mark.parametrize("kind", COLOURED)
def test_pictures_of_every_mode_become_rgb(tmp_path: Path, kind: str) -> None:
    image, suffix, value = COLOURED[kind]
    more = {"transparency": (1, 2, 3)} if kind == "a transparent colour" else {}
    path = saved(tmp_path / f"x{suffix}", image, **({"lossless": True} if suffix == ".webp" else more))
    assert max(abs(a - b) for a, b in zip(colour(path), value, strict=True)) <= 2


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_of_an_animation_the_first_frame_counts(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLACK)]
    path = saved(tmp_path / f"x{suffix}", frames[0], save_all=True, append_images=frames[1:], lossless=True)
    assert max(abs(a - b) for a, b in zip(colour(path), RED, strict=True)) <= 2


@pytest.mark.parametrize(
    ("orientation", "left_is_red"), [(1, True), (2, False), (3, False), (4, True), (5, None), (6, None), (7, None), (8, None)]
)
def test_exif_turns_a_picture_upright(tmp_path: Path, orientation: int, left_is_red: bool | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(saved(tmp_path / "x.png", halves(16, 8), exif=exif.tobytes()), 8, "stretch")
    if left_is_red is None:  # turned by a quarter
        assert (found.width, found.height) == (8, 16)
        above = orientation in (5, 6)
        assert found.pixels[1, 4].tolist() == ([255, 0, 0] if above else [0, 0, 255])
    else:
        assert (found.width, found.height) == (16, 8)
        assert found.pixels[4, 1].tolist() == ([255, 0, 0] if left_is_red else [0, 0, 255])


def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jpg", halves(16, 16), exif=b"Exif\0\0MM\0*\0\0\0\xff\xff\xff\xff\xff")
    assert decode(path, 8, "crop").pixels[4, 1, 0] > 200


def test_a_file_is_what_it_holds_whatever_its_ending_says(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), RED).save(tmp_path / "x.jpg", "PNG")
    assert colour(tmp_path / "x.jpg") == RED


@pytest.mark.parametrize(
    ("fit", "corner", "edge"), [("crop", (255, 0, 0), (0, 0, 255)), ("pad", BLACK, BLACK), ("stretch", (255, 0, 0), (0, 0, 255))]
)
def test_a_wide_picture_becomes_a_square(tmp_path: Path, fit: str, corner: tuple[int, ...], edge: tuple[int, ...]) -> None:
    pixels = decode(saved(tmp_path / "x.png", halves(32, 8)), 8, fit).pixels
    assert pixels.shape == (8, 8, 3)
    assert tuple(pixels[0, 0].tolist()) == corner
    assert tuple(pixels[7, 7].tolist()) == edge
    assert pixels[4, 1, 0] > 200 > pixels[4, 6, 0]  # red on the left in any case


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_tiny_and_thin_pictures_are_pictures(tmp_path: Path, size: tuple[int, int], fit: str) -> None:
    assert decode(saved(tmp_path / "x.png", Image.new("RGB", size, RED)), 8, fit).pixels.shape == (8, 8, 3)


def test_a_large_jpeg_has_the_size_that_it_has(tmp_path: Path) -> None:
    found = decode(saved(tmp_path / "x.jpg", halves(2400, 1200)), 8, "stretch")
    assert (found.width, found.height) == (2400, 1200)
    assert found.pixels[4, 0, 0] > 200 > found.pixels[4, 7, 0]


def bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(file, "PNG")
    return file.getvalue()


def png() -> bytes:
    file = io.BytesIO()
    noise(0, 64).save(file, "PNG")
    return file.getvalue()


BROKEN = {
    "empty": (b"", "it is empty"),
    "text": (b"<html>404</html>", "of no known format"),
    "zeros": (bytes(500), "of no known format"),
    "only a header": (b"\x89PNG\r\n\x1a\n", "cannot be read"),
    "half of a PNG": (png()[:3000], "truncated"),
    "damaged PNG": (png()[:1000] + bytes(1000) + png()[2000:], "cannot be read"),
    "200 megapixels": (bomb(), "too many pixels"),
    "a BMP that says it is huge": (
        b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 1, 1, 0, 0),
        "",
    ),
    "no pixels": (b"P5 0 0 255\n", "cannot be read"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_picture_is_named_and_left_out_only_on_request(tmp_path: Path, kind: str) -> None:
    content, why = BROKEN[kind]
    root = grow(tmp_path / "insects")
    (root / "ant" / "99.png").write_bytes(content)
    with pytest.raises(DataError, match=r"1 of 21 pictures in .*insects cannot be used: ant/99\.png .*" + why) as raised:
        loaded(root, tmp_path / "cache")
    assert "--skip-broken" in str(raised.value)
    data = loaded(root, tmp_path / "cache", skip_broken=True)
    assert len(data.train) + len(data.test) == 20
    assert "1 broken ones left out" in data.source


def test_a_pipe_and_a_link_to_nothing_are_broken_and_not_waited_for(tmp_path: Path) -> None:
    root = grow(tmp_path / "insects")
    os.mkfifo(root / "ant" / "pipe.png")
    (root / "ant" / "link.png").symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"2 of 22 pictures .*(link\.png is a link to nothing|pipe\.png is not a regular file)"):
        loaded(root, tmp_path / "cache")


def test_of_many_broken_pictures_ten_are_named(tmp_path: Path) -> None:
    root = grow(tmp_path / "insects")
    for i in range(13):
        (root / "ant" / f"b{i:02}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"13 of 33 pictures .*b00\.png .*b09\.png [^;]*; and 3 more\.") as raised:
        loaded(root, tmp_path / "cache")
    assert "b10" not in str(raised.value)


def test_what_systems_leave_in_folders_is_passed_over(tmp_path: Path) -> None:
    root = grow(tmp_path / "insects")
    before = listed(root).files
    (root / "empty").mkdir()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._00.png", "notes.txt", "ant.csv"):
        (root / "ant" / name).write_bytes(b"x")
    for name in ("__MACOSX", "@eaDir", ".git"):
        saved(root / name / "ant" / "0.png", noise(1))
    (root / "README.md").write_text("about")
    (root / "data.csv").write_text("a,b\n1,2\n")
    assert listed(root).files == before
    assert sorted(listed(root).passed_over) == ["README.md", "ant/ant.csv", "ant/notes.txt", "data.csv", "empty/ (no pictures)"]


def test_pictures_in_folders_of_a_class_belong_to_it(tmp_path: Path) -> None:
    root = grow(tmp_path / "insects")
    saved(root / "ant" / "queens" / "x.JPEG", noise(7))
    (root / "ant" / "again").symlink_to(root / "ant")  # a link to a folder is not followed: it may lead in circles
    found = listed(root)
    assert (found.classes, len(found.files)) == (("ant", "bee"), 21)
    assert found.files[-11][0] == "ant/queens/x.JPEG"


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "TEST"), ("training_set", "test_set")])
def test_train_and_test_folders_are_sides(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        grow(tmp_path / "insects" / name)
    found = listed(tmp_path / "insects")
    assert found.classes == ("ant", "bee")
    assert found.splits is not None
    assert np.bincount(found.splits).tolist() == [20, 0, 20]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    found = listed(grow(tmp_path, classes=("bus", "train")))
    assert (found.classes, found.splits) == (("bus", "train"), None)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_is_what_a_validation_score_is_measured_on(tmp_path: Path, name: str) -> None:
    import torch

    from hpo.settings import Settings
    from hpo.training.task import Task

    for side, n in (("train", 12), (name, 3), ("test", 2)):
        grow(tmp_path / "insects" / side, n)
    data = loaded(tmp_path / "insects", tmp_path / "cache")
    assert (len(data.train), data.n_validation, len(data.test)) == (30, 6, 4)
    task = Task.of(Settings(data=tmp_path / "insects", score="validation"), data, torch.device("cpu"), 2**30)
    assert task.score.chosen.tolist() == [24, 25, 26, 27, 28, 29]
    assert len(task.train) == 24


def test_train_and_validation_without_a_test_side_are_scored_on_validation(tmp_path: Path) -> None:
    for side, n in (("train", 12), ("val", 3)):
        grow(tmp_path / "insects" / side, n)
    data = loaded(tmp_path / "insects", tmp_path / "cache")
    assert (len(data.train), len(data.test), data.n_validation) == (24, 6, 0)


def test_a_train_folder_alone_is_split(tmp_path: Path) -> None:
    grow(tmp_path / "insects" / "train")
    data = loaded(tmp_path / "insects", tmp_path / "cache")
    assert (len(data.train), len(data.test)) == (16, 4)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "path,label\n{rows}"),
        ("labels.csv", "\ufefflabel;file\n{swapped}"),
        ("labels.tsv", "FileName\tClass\tnote\n{tabs}"),
        ("any name.CSV", '"image","label"\r\n{rows}\r\n\r\n'),
    ],
)
def test_a_table_names_pictures_and_classes(tmp_path: Path, name: str, text: str) -> None:
    root = grow(tmp_path / "insects", classes=("x",), n=20)
    rows = [(f"x/{i:02}.png", "ant" if i % 2 else "big bee") for i in range(20)]
    filled = text.format(
        rows="\n".join(f"{path},{label}" for path, label in rows),
        swapped="\n".join(f"{label};{path}" for path, label in rows),
        tabs="\n".join(f"{path}\t{label}\tx" for path, label in rows),
    )
    (root / name).write_text(filled, encoding="utf-8")
    for place in (root, root / name):
        found = listed(place)
        assert found.classes == ("ant", "big bee")
        assert [path for path, _, _ in found.files][:2] == ["x/01.png", "x/03.png"]
        assert np.bincount(found.labels).tolist() == [10, 10]


def test_a_table_may_have_sides(tmp_path: Path) -> None:
    root = grow(tmp_path / "insects", classes=("x",), n=12)
    sides = ["train", "Training", "val", "test"] * 3
    rows = [f"x/{i:02}.png,{'ant' if i < 6 else 'bee'},{side}" for i, side in enumerate(sides)]
    (root / "labels.csv").write_text("\n".join(["path,label,split", *rows]))
    found = listed(root)
    assert found.splits is not None
    assert [int((found.splits == side).sum()) for side in (TRAIN, VALIDATION, TEST)] == [6, 3, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\nx/00.png,\n", "line 2 lacks a path or a label"),
        ("path,label\nx/00.png,a\nx/00.png,b\n", r"line 3: x/00\.png has two labels"),
        ("path,label,split\nx/00.png,a,somewhere\n", "line 2: split is 'somewhere'; write train, validation or test"),
        ("path,label\nx/00.png,a\n", "a single class, 'a'"),
        ("path,label\n", "has no pictures"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    root = grow(tmp_path, classes=("x",), n=1)
    (root / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        listed(root)


def test_pictures_that_a_table_names_and_that_are_not_there_are_broken(tmp_path: Path) -> None:
    root = grow(tmp_path / "insects")
    rows = [f"{name}/{i:02}.png,{name}" for name in ("ant", "bee") for i in range(11)]
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.raises(DataError, match=r"2 of 22 pictures .* ant/10\.png is missing .*; bee/10\.png is missing"):
        loaded(root, tmp_path / "cache")


def test_two_tables_are_one_too_many(tmp_path: Path) -> None:
    for name in ("a.csv", "b.tsv"):
        (tmp_path / name).write_text("path,label\n" if name == "a.csv" else "path\tlabel\n")
    with pytest.raises(DataError, match=r"several tables of pictures: a\.csv and b\.tsv\. Name one of them: --data .*a\.csv"):
        listed(tmp_path)


def only(root: Path, **counts: int) -> Path:
    root.mkdir()
    for name, n in counts.items():
        grow(root, n, (name,))
    return root


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: root, r"is missing\. Expected is DIR/<class>"),
        (lambda root: saved(root / "x.png", noise(0)), r"x\.png is no folder\. Expected"),
        (lambda root: saved(root / "x.png", noise(0)).parent, r"has no folders of pictures\. Expected"),
        (lambda root: only(root, ant=9), r"a single class, 'ant': there is nothing to tell apart"),
        (lambda root: only(root, ant=9, bee=7), r"classes with fewer than 8 pictures: bee \(7\)\. Add pictures to it"),
        (
            lambda root: grow(root / "train") and grow(root / "test", classes=("ant", "cow")).parent,
            "only one of them has bee, cow",
        ),
        (lambda root: grow(root / "test").parent, "has a folder test/ of class folders, and no train/ beside it"),
        (lambda root: only(root, **{f"c{i}": 0 for i in range(3)}), "has no folders of pictures"),
    ],
)
def test_a_folder_that_makes_no_task_is_refused_with_what_to_do(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(DataError, match=said):
        loaded(make(tmp_path / "it"), tmp_path / "cache")


def test_more_than_a_thousand_classes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.data.pictures.listing.MAX_CLASSES", 3)
    with pytest.raises(DataError, match="has 4 classes; at most 3 are possible"):
        listed(grow(tmp_path, 1, ("a", "b", "c", "d")))


def test_a_split_depends_on_pixels_and_seed_alone(tmp_path: Path) -> None:
    first = loaded(grow(tmp_path / "a"), tmp_path / "cache")
    other = tmp_path / "b"
    for label, name in enumerate(("bee", "ant")):
        for i in range(10):
            saved(other / name / f"other {9 - i}.bmp", noise(1000 * label + i))
    renamed = loaded(other, tmp_path / "cache")
    assert renamed.digest == first.digest
    assert np.bincount(first.test.labels).tolist() == [2, 2]
    assert loaded(tmp_path / "a", tmp_path / "cache", seed=1).digest != first.digest


def test_equal_pictures_are_on_one_side() -> None:
    digests = [f"{i // 3:03}" for i in range(120)]  # each picture three times
    labels = np.repeat([0, 1], 60)
    train, test = split(digests, labels, seed=3)
    assert len(train) + len(test) == 120
    assert not {digests[i] for i in train} & {digests[i] for i in test}
    assert np.bincount(labels[test]).tolist() == [12, 12]


def test_equal_pictures_of_two_classes_are_for_training() -> None:
    digests = [f"{i}" for i in range(20)] + ["0", "20"]
    train, test = split(digests, np.repeat([0, 1], 11), seed=0)
    assert {0, 20} <= {*train}
    assert len(test) == 4


@pytest.mark.parametrize(
    ("short", "size", "why"),
    [
        ([500] * 100, 224, "at most 224"),
        ([100] * 100, 96, "median short side 100"),
        ([32] * 60_000, 32, "median short side 32"),
        ([20] * 100, 20, "median short side 20"),
        ([300] * 2_000, 160, "an epoch like CIFAR-10's"),
        ([500] * 1_000_000, 32, "an epoch like CIFAR-10's"),
    ],
)
def test_the_chosen_size_is_the_median_side_as_far_as_epochs_stay_short(short: list[int], size: int, why: str) -> None:
    assert chosen_size(short)[0] == size
    assert why in chosen_size(short)[1]


def steps(root: Path, cache: Path, **wanted: object) -> tuple[DataSet, dict[str, int]]:
    """Load a folder; return it, and by step how many pictures it was done with now."""
    told: dict[str, list[int]] = {}
    data = load_pictures(
        root, Wanted(root.name, **{"size": 12} | wanted), cache, lambda what, done, _: told.setdefault(what, []).append(done)
    )
    return data, {what.split()[0]: done[-1] - done[0] for what, done in told.items()}


def test_a_folder_is_looked_at_and_decoded_once(tmp_path: Path) -> None:
    root = grow(tmp_path / "insects")
    assert steps(root, tmp_path / "cache")[1] == {"looking": 20, "decoding": 20, "writing": 0}
    assert steps(root, tmp_path / "cache")[1] == {}


@pytest.mark.parametrize("how", ["moved", "copied", "touched"])
def test_the_same_contents_elsewhere_or_with_other_times_are_not_decoded_again(tmp_path: Path, how: str) -> None:
    root = grow(tmp_path / "insects")
    (root / "ant" / "broken.png").write_bytes(b"x")
    first, _ = steps(root, tmp_path / "cache", skip_broken=True)
    match how:
        case "moved":
            root = root.rename(tmp_path / "beasts")
        case "copied":
            root = shutil.copytree(root, tmp_path / "beasts", copy_function=shutil.copyfile)
        case "touched":
            for path in root.glob("*/*"):
                os.utime(path, (1, 1))
    again, done = steps(root, tmp_path / "cache", skip_broken=True)
    assert done == {"looking": 21}
    assert (again.name, again.digest) == (root.name, first.digest)
    assert str(root) in again.source
    assert steps(root, tmp_path / "cache", skip_broken=True)[1] == {}


def test_of_a_changed_folder_what_has_changed_is_decoded(tmp_path: Path) -> None:
    root = grow(tmp_path / "insects")
    first, _ = steps(root, tmp_path / "cache")
    saved(root / "ant" / "03.png", noise(99))
    saved(root / "bee" / "new.png", noise(100))
    (root / "bee" / "04.png").rename(root / "bee" / "zzz.png")
    (root / "bee" / "05.png").unlink()
    found, done = steps(root, tmp_path / "cache")
    assert done == {"looking": 3, "decoding": 2, "writing": 0}
    fresh, done = steps(root, tmp_path / "other cache")
    assert done["decoding"] == 20
    assert (found.digest, found.source) == (fresh.digest, fresh.source)
    assert found.digest != first.digest


def test_what_was_decoded_for_another_size_or_fit_is_not_taken_over(tmp_path: Path) -> None:
    root = grow(tmp_path / "insects", side=16)
    steps(root, tmp_path / "cache")
    assert steps(root, tmp_path / "cache", fit="pad")[1]["decoding"] == 20
    assert steps(root, tmp_path / "cache", size=8)[1]["decoding"] == 20
    assert (
        "looking" not in steps(root, tmp_path / "cache", size=10)[1] or steps(root, tmp_path / "cache", size=9)[1]["looking"] == 0
    )


@pytest.mark.parametrize("damage", ["files.json", "train-images.npy", "index"])
def test_a_damaged_entry_gives_nothing(tmp_path: Path, damage: str) -> None:
    root = grow(tmp_path / "insects")
    first, _ = steps(root, tmp_path / "cache")
    [path] = (tmp_path / "cache").glob("index-*" if damage == "index" else f"*/{damage}")
    path.write_bytes(b'{"how": 3, "ant/00.png": 7}')
    saved(root / "ant" / "new.png", noise(99))
    data, _ = steps(root, tmp_path / "cache")
    assert len(data.train) + len(data.test) == 21
    (root / "ant" / "new.png").unlink()
    assert steps(root, tmp_path / "cache")[0].digest == first.digest


def test_an_index_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(StorageError, match="HPO_CACHE_DIR"):
        loaded(grow(tmp_path / "insects"), tmp_path / "cache")


def test_decoding_goes_on_where_a_killed_process_left_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = grow(tmp_path / "insects", 80)
    names = [name for name, _, _ in listed(root).files]
    work = cores.Work(str(root), 12)

    def until(most: int) -> list[int]:
        """Decode until so many are done, and return what was said to be done."""
        said: list[int] = []

        def progress(_what: str, done: int, _total: int) -> None:
            said.append(done)
            if done >= most:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            decoding.decode_all(work, names, tmp_path / "work", progress)
        return said

    monkeypatch.setattr(decoding, "SAVE", 0.0)
    monkeypatch.setattr(cores, "TOLD", 0.0)
    assert until(64) == [0, 32, 64]
    with (tmp_path / "work" / decoding.JOURNAL).open("a") as journal:
        journal.write('[[64, 65], [["half of a li')
    assert until(128) == [32, 64, 96, 128]
    assert until(999)[0] == 96  # what was noted after half a line counts as well
    found = decoding.decode_all(work, names, tmp_path / "work", silent)
    whole = decoding.decode_all(work, names, tmp_path / "other", silent)
    np.testing.assert_array_equal(found.pixels, whole.pixels)
    assert found.digests == whole.digests


def test_children_decode_as_this_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = grow(tmp_path / "insects", 20)
    (root / "ant" / "99.png").write_bytes(b"x")
    names = [name for name, _, _ in listed(root).files]
    here = decoding.decode_all(cores.Work(str(root), 12), names, tmp_path / "here", silent)
    monkeypatch.setattr(cores, "ALONE", 1)
    there = decoding.decode_all(cores.Work(str(root), 12), names, tmp_path / "there", silent)
    np.testing.assert_array_equal(here.pixels, there.pixels)
    assert (here.digests, here.broken) == (there.digests, there.broken)


def test_a_picture_that_ends_its_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = grow(tmp_path / "insects", 4)
    deadly = "import os; from hpo.data.pictures import cores as d; real = d.decode; "
    deadly += "d.decode = lambda path, *a, **k: os.abort() if path.name == '02.png' else real(path, *a, **k); d.child()"
    monkeypatch.setattr(cores, "ALONE", 1)
    monkeypatch.setattr(cores, "python", lambda _code: __import__("hpo.system.children", fromlist=["x"]).python(deadly))
    names = [name for name, _, _ in listed(root).files]
    found = decoding.decode_all(cores.Work(str(root), 12), names, tmp_path / "work", silent)
    assert [name for name, _ in found.broken] == ["ant/02.png", "bee/02.png"]
    assert "the process that decoded it died" in found.broken[0].why


def test_cifar10_through_a_folder_is_the_built_in_cifar10(tmp_path: Path, grow_tree: Callable[..., Path]) -> None:
    built_in = load("cifar10", grow_tree(tmp_path, n=8), tmp_path / "cache")
    own = load_pictures(tmp_path / "cifar10", Wanted("cifar10"), tmp_path / "cache")
    assert own.digest == built_in.digest
    np.testing.assert_array_equal(own.train.images, built_in.train.images)


def test_a_picture_of_another_size_is_broken_where_the_size_is_known(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="is 12x12 pixels; every image must be 32x32"):
        decode(saved(tmp_path / "x.png", noise(0)), 32, "crop", exact=True)


def test_pictures_skipped_once_are_refused_the_next_time_nobody_says_so(tmp_path: Path) -> None:
    root = grow(tmp_path / "insects")
    (root / "ant" / "99.png").write_bytes(b"")
    loaded(root, tmp_path / "cache", skip_broken=True)
    with pytest.raises(DataError, match=r"ant/99\.png .* it is empty"):
        loaded(root, tmp_path / "cache")


def test_copies_on_both_sides_are_found_equal_and_nearly_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    root = tmp_path / "insects"
    for side, offset in (("train", 0), ("test", 500)):
        for label, name in enumerate(("ant", "bee")):
            for i in range(10):
                smooth = noise(offset + 100 * label + i, 6).resize((40, 40), Image.Resampling.BICUBIC)
                saved(root / side / name / f"{i}.png", smooth)
    saved(root / "train" / "bee" / "copy.bmp", Image.open(root / "test" / "ant" / "3.png"))
    saved(root / "train" / "ant" / "like.jpg", Image.open(root / "test" / "ant" / "5.png").resize((60, 60)), quality=70)
    data, found = inspected(root, Wanted("insects", 32))
    assert [(pair.train, pair.test) for pair in found.equal] == [("train/bee/copy.bmp", "test/ant/3.png")]
    assert [(pair.train, pair.test) for pair in found.near] == [("train/ant/like.jpg", "test/ant/5.png")]
    assert found.counts == {"ant": (11, 0, 10), "bee": (11, 0, 10)}
    assert (found.torn, found.repeated, len(found.sides)) == (1, 0, 42)
    preview(data, tmp_path / "preview.png", found.twins)
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.size == (8 * 104 + 8, 4 * 124 + 8)  # 22 pictures in three rows, and a row of pairs


def test_the_command_data_says_what_is_wrong_with_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    root = grow(tmp_path / "insects")
    (root / "ant" / "99.png").write_bytes(b"")
    (root / "ant" / "notes.txt").touch()
    assert main(["data", "--data", str(root)]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "ant 8 2 bee 8 2" in out
    assert "short 12, 12, 12, long 12, 12, 12 pixels" in out
    assert "broken: 1 ant/99.png cannot be read as an image: it is empty" in out
    assert "passed over: 1 ant/notes.txt" in out
    (root / "ant" / "99.png").unlink()
    assert main(["data", "--data", str(root), "--image-size", "8", "--preview", str(tmp_path / "p.png")]) == 0
    assert (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--data", "x", "--dataset", "digits"], "--dataset and --data name two sources of images. Leave one out"),
        (["run", "--image-size", "64"], "--image-size is for your own pictures. Name their folder: --data DIR"),
        (["run", "--data", "x", "--image-size", "7"], "--image-size = '7': should be 'auto' or a number of pixels from 8 to 512"),
        (["run", "--data", "x", "--fit", "corp"], "Did you mean 'crop'"),
    ],
)
def test_options_that_say_nothing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_is_tuned_reported_continued_where_it_was_moved_and_refused_once_it_is_changed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    hpo = Hpo(tmp_path / "run", tmp_path / "cache")
    root = grow(tmp_path / "My insects!", 30)
    few = ("--workers", 1, "--epochs", 2, "--space", "short.toml")
    try:
        first = hpo("run", "--data", root, "--trials", 2, *few)
        assert first.ended() == 0, first.err
        record = hpo.study("My-insects")
        assert (record.n_finished, record.attributes["environment"]["classes"]) == (2, ["ant", "bee"])
        assert record.attributes["environment"]["image_size"] == 12
        assert {"data", "image_size", "fit", "skip_broken"} <= record.attributes["settings"].keys()
        assert "dataset" not in record.attributes["settings"]
        page = (tmp_path / "run" / "reports" / "My-insects.html").read_text()
        assert "My insects!" in page
        moved = root.rename(tmp_path / "moved")
        again = hpo("run", "My-insects", "--data", moved, "--trials", 3, "--no-report")
        assert again.ended() == 0, again.err
        assert "decoding" not in again.err
        saved(moved / "ant" / "new.png", noise(77))
        for name in ("cifar10", "digits"):
            other = hpo("run", "My-insects", "--dataset", name, "--trials", 4, "--no-report")
            assert other.ended() == 2
            assert f"was run with data = {root}, and you asked for dataset = '{name}'." in other.err
        changed = hpo("resume", "My-insects", "--trials", 4, "--no-report")
        assert changed.ended() == 2
        assert "was run with data_digest" in changed.err
        assert hpo.study("My-insects").n_finished == 3
    finally:
        hpo.close()
