"""Colours as a picture's own profile means them (Display P3, Adobe RGB, a printer's CMYK), brought to sRGB by LittleCMS.

A network sees numbers: the same red of two cameras should be the same numbers. Most pictures have no profile, and cost nothing;
most profiles are sRGB itself under some name, and are recognized by what they do to a few colours. A profile that is damaged, or
of another kind of colours than its picture, says nothing, as in viewers.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsTransform

KNOWN = ("RGB", "L", "CMYK")  # modes that profiles are for; palettes and modes with alpha are of one of these
SAME = 2  # levels of 255: a profile that changes no colour by more is sRGB


def in_srgb(image: Image) -> Image:
    """Return a picture in sRGB, with its transparency; one without a usable profile as it is."""
    profile = image.info.get("icc_profile")
    if not profile or not isinstance(profile, bytes):
        return image
    alpha = None
    if image.mode in ("P", "PA", "RGBA", "LA") or image.has_transparency_data:
        grey = image.mode in ("L", "LA")
        whole = image.convert("RGBA")
        alpha, image = whole.getchannel("A"), whole.convert("L" if grey else "RGB")
    change = _change(profile, image.mode) if image.mode in KNOWN else None
    if change is not None:
        image = change.apply(image)
        image.info.pop("transparency", None)
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(alpha)
    return image


@functools.lru_cache(8)
def _change(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """Return what brings pictures of a mode from a profile to sRGB; None where they are in sRGB, or it cannot be used."""
    from PIL import Image, ImageCms

    try:
        there = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        change = ImageCms.buildTransform(there, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode == "CMYK":
            return change
        levels = np.arange(0, 256, 17, dtype=np.uint8)
        red, green, blue = (axis.reshape(1, -1) for axis in np.meshgrid(levels, levels, levels))
        some = Image.fromarray(np.stack((red, green, blue), 2)).convert(mode)
        changed, same = (np.asarray(one, dtype=int) for one in (change.apply(some), some.convert("RGB")))
    except Exception:  # noqa: BLE001  # LittleCMS and Pillow raise many kinds; a profile that cannot be used says nothing
        return None
    return change if np.abs(changed - same).max() > SAME else None
