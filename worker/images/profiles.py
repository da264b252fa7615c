"""Colours of an image with an ICC profile, in sRGB: as its author saw them, and as models were trained on them.

Converted after the resize, on the few pixels that the model takes; what is needed for it is kept for the profiles seen
last, of which cameras and programs have few.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from itertools import chain, product

from PIL import Image, ImageChops, ImageCms

_MAX_PROFILE_BYTES = 4 * 1024 * 1024
"""Above the largest of printers (2 MB). What is kept of the profiles, and the time to read one, follow from it."""
_KEPT = 16
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
"""An ICC profile's colour space, at byte 16, to the mode of the pixels it is for."""
_GREY = ("1", "L", "I", "F")
"""Where nothing of them is transparent: what is composited on a colour is grey no more."""
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_SAME = 2
"""Levels: profiles of sRGB itself, written by different programs, are this close to one another."""


def to_srgb(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The way from the image's profile to sRGB.

    None where there is no profile, where it is sRGB's own, or one that viewers ignore: broken, or for other pixels.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or len(profile) > _MAX_PROFILE_BYTES:
        return None
    mode = _SPACES.get(profile[16:20])
    return _transform(profile, mode) if mode is not None and mode == _space_of(image) else None


def in_srgb(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    """Pixels in RGB, or in the mode that the transform takes, to sRGB."""
    if image.mode != transform.input_mode:
        image = image.convert(transform.input_mode)
    return transform.apply(image)


def _space_of(image: Image.Image) -> str:
    if (image.mode in _GREY or image.mode.startswith("I;16")) and not image.has_transparency_data:
        return "L"
    return "CMYK" if image.mode == "CMYK" else "RGB"


@lru_cache(maxsize=_KEPT)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way to sRGB, None where the profile is sRGB's or cannot be read."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.ImageCmsTransform(source, _SRGB, mode, "RGB")
    except Exception:  # noqa: BLE001 - a broken profile breaks no viewer
        return None
    return None if mode == "RGB" and _changes_nothing(transform) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a cube of colours comes out as it went in."""
    colours = product(range(0, 256, 15), repeat=3)
    cube = Image.frombytes("RGB", (18, 18 * 18), bytes(chain.from_iterable(colours)))
    different = ImageChops.difference(cube, transform.apply(cube)).point(lambda level: level > _SAME)
    return different.getbbox() is None
