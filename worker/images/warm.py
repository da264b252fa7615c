"""All that a decoding loads only when it is wanted, wanted once in the fork server: later no file can be opened."""

from __future__ import annotations

import codecs
import importlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO

from PIL import Image, ImageCms

from worker.errors import Rejected
from worker.images.decode import decode
from worker.images.formats import plugin_of
from worker.images.limits import DecodeLimits
from worker.recipe import InputRecipe

_LATE_MODULES = (
    "PIL.ImageCms",
    "PIL.ImageColor",
    "PIL.ImageFile",
    "PIL.ImageFilter",
    "PIL.ImageOps",
    "PIL.ImagePalette",
    "PIL.MpoImagePlugin",
    "PIL.TiffImagePlugin",
    "colorsys",
    "copy",
)
"""What Pillow's decoders, or ours, import inside a function."""
_CODECS = ("ascii", "latin-1", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp437")
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK")
_EDGE_PIXELS = 16


def warm(recipe: InputRecipe, limits: DecodeLimits) -> None:
    """Import the late modules and codecs, and decode tiny images of each allowed format."""
    for module in _LATE_MODULES:
        importlib.import_module(module)
    for name in _CODECS:
        codecs.lookup(name)
    for data in _images(limits.formats):
        with suppress(Rejected):
            decode(data, recipe, limits)
    with suppress(Rejected):
        decode(b"no image at all", recipe, limits)  # the way of a refusal


def _images(formats: tuple[str, ...]) -> Iterator[bytes]:
    """For each format that Pillow can write, an image of each mode that it has, with profile and orientation."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in formats:
        for mode in _MODES:
            image, stream = Image.new(mode, (_EDGE_PIXELS, _EDGE_PIXELS)), BytesIO()
            # A plugin raises one of these for a mode that its format does not have, or where it only reads.
            with suppress(KeyError, OSError, ValueError, RuntimeError):
                image.save(stream, plugin_of(name), icc_profile=profile, exif=exif)
                yield stream.getvalue()
