"""One picture: opened with suspicion, turned upright, brought to 8-bit RGB, and to a square.

Every format and mode that Pillow reads has a defined result: transparency lies over white, 16-bit values are scaled to 8 bits,
of an animation the first frame counts. Pillow's decoders raise a dozen types of errors on damaged files; all become `Unusable`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpo.data.pictures.colours import in_srgb
from hpo.data.pictures.listing import formats
from hpo.system.files import read_regular

if TYPE_CHECKING:
    from PIL.Image import Image

    from hpo.data.arrays import Pixels

MAX_PIXELS = 100_000_000  # of a picture: 300 MB as RGB
MAX_BYTES = 1 << 29  # of its file
MAX_SIDE = 512  # of what is made of it: a larger JPEG is decoded at an eighth, a quarter or a half, down to this, which is faster
_ORIENTATION = 0x0112  # EXIF's tag
_UPRIGHT = {  # what undoes an orientation: names in PIL.Image.Transpose
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip


class Unusable(Exception):  # noqa: N818  # it says what the picture is
    """A picture cannot be used; the message continues a sentence that begins with its path."""


class Decoded(NamedTuple):
    """A picture as networks get it.

    Attributes:
        pixels: (size, size, 3) uint8.
        digest: Hexadecimal; the same for files with the same pixels, whatever their format.
        width, height: Of the picture, upright.
    """

    pixels: Pixels
    digest: str
    width: int
    height: int


def content_of(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        Unusable: It cannot be read, or is no regular file.
    """
    with _complaints():
        return read_regular(path, MAX_BYTES)


def sides(content: bytes) -> tuple[int, int]:
    """Return width and height as they are stored, from the content's beginning.

    Raises:
        Unusable: It is no picture, or too large.
    """
    with _complaints():
        return _opened(content).size


def decode(path: Path, size: int, fit: str, *, exact: bool = False) -> Decoded:
    """Decode a picture.

    Args:
        path: Its file.
        size: Edge of the result, pixels.
        fit: `crop`: the short side is scaled, the middle is kept; `pad`: the long side is scaled, the margins are black;
            `stretch`: both are scaled.
        exact: Refuse pictures of another size.

    Raises:
        Unusable: It cannot be read, or is too large; says why.
    """
    with _complaints():
        image = _opened(content_of(path))
        stored = image.size
        if exact and stored != (size, size):
            raise Unusable(f"is {stored[0]}x{stored[1]} pixels; every image must be {size}x{size}")
        image.draft(None, (MAX_SIDE, MAX_SIDE))
        whole = rgb(in_srgb(_upright(image)))
        turned = (whole.width > whole.height) != (stored[0] > stored[1])
        width, height = stored[::-1] if turned else stored
        digest = hashlib.sha256(b"%d %d " % whole.size + whole.tobytes()).hexdigest()
        return Decoded(np.asarray(fitted(whole, size, fit)), digest, width, height)


def squared(image: Image, size: int, fit: str) -> Pixels:
    """Return an image that is open already as `decode` makes one: (size, size, 3) uint8.

    Raises:
        Unusable: It cannot be read, or is too large; says why.
    """
    with _complaints():
        _check_size(image)
        return np.asarray(fitted(rgb(in_srgb(_upright(image))), size, fit))


@contextlib.contextmanager
def _complaints() -> Iterator[None]:
    """Turn what Pillow raises into `Unusable`, and what it warns of into nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Unusable:
            raise
        except Exception as error:
            raise Unusable(_why(error)) from error


def _why(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "cannot be read as an image: its content is of no known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"has too many pixels; at most {MAX_PIXELS // 10**6} million are read"
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot be read as an image: {said.rstrip('.')[:200]}"


def _opened(content: bytes) -> Image:
    from PIL import Image

    if not content:
        raise Unusable("cannot be read as an image: it is empty")
    image = Image.open(io.BytesIO(content), formats=formats())
    _check_size(image)
    return image


def _check_size(image: Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unusable(f"is {width}x{height} pixels; at most {MAX_PIXELS // 10**6} million pixels are read")


def _upright(image: Image) -> Image:
    """Turn a picture as its EXIF data say; data that cannot be read say nothing."""
    from PIL.Image import Transpose

    image.load()
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  # of data that no viewer minds
        turn = None
    return image.transpose(Transpose[turn]) if turn else image


def rgb(image: Image) -> Image:
    """Return a picture of any mode as 8-bit RGB."""
    from PIL import Image as Module

    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return Module.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        return _from_lab(image)
    if image.has_transparency_data or image.mode in ("RGBa", "La"):
        over = image.convert("RGBA") if image.mode != "La" else image.convert("LA").convert("RGBA")
        white = Module.new("RGBA", over.size, "white")
        return Module.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")


def _eight_bits(grey: np.ndarray) -> Pixels:
    """Bring grey values of 16 or more bits to 8: from 0..1 or 0..65535 or, where they are larger, from 0 to the largest."""
    values = np.nan_to_num(grey.astype(np.float64), posinf=0.0, neginf=0.0)
    largest = values.max(initial=0.0)
    scale = 255 / max(65535.0, largest)
    if grey.dtype.kind == "f" and largest <= 255:
        scale = 255.0 if largest <= 1 else 1.0
    made: Pixels = np.rint(np.clip(values * scale, 0, 255)).astype(np.uint8)
    return made


def _from_lab(image: Image) -> Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if made is None:
        raise Unusable("cannot be read as an image: its colours are LAB, and cannot be converted")
    return made


def fitted(image: Image, size: int, fit: str) -> Image:
    """Return a square of `size` pixels; a picture that has this size already stays as it is."""
    from PIL import Image as Module

    if image.size == (size, size):
        return image
    width, height = image.size
    if fit == "pad":
        scale = size / max(width, height)
        inner = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), Module.Resampling.BICUBIC)
        square = Module.new("RGB", (size, size))
        square.paste(inner, ((size - inner.width) // 2, (size - inner.height) // 2))
        return square
    edge = min(width, height)
    left, top = ((width - edge) / 2, (height - edge) / 2) if fit == "crop" else (0, 0)
    box = (left, top, left + edge, top + edge) if fit == "crop" else (0, 0, width, height)
    return image.resize((size, size), Module.Resampling.BICUBIC, box=box, reducing_gap=3.0)
