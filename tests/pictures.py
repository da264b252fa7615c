"""Pictures for the tests of decoding: made in memory, saved in any format, decoded and looked at."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from worker.errors import Rejected
from worker.images.decode import decode
from worker.images.limits import DecodeLimits
from worker.images.settings import ImagesSettings
from worker.recipe import InputRecipe

LIMITS = ImagesSettings(
    max_pixels=1_000_000, draft=0, skip_cropped=False, simd_resize=False, colour_profiles=False
).limits
PLAIN = InputRecipe(8, 8, 8, 8, None, 0, False, (1, 1, 1), (0, 0, 0))
CROPPED = InputRecipe(224, 224, None, None, 256, 3, True, (1, 1, 1), (0, 0, 0))
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "HEIF")
"""Pillow's names of all that can be allowed."""
EVERYTHING = ("jpeg", "png", "webp", "gif", "avif", "bmp", "tiff", "heic")


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Noise over a slope: every resampling mistake shows."""
    noise = np.random.default_rng(7).integers(0, 64, (height, width, 3))
    slope = np.linspace(0, 191, width)[None, :, None] + np.zeros((height, 1, 1))
    return Image.fromarray((noise + slope).astype(np.uint8), "RGB").convert(mode)


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(data: bytes, recipe: InputRecipe = PLAIN, limits: DecodeLimits = LIMITS) -> npt.NDArray[np.uint8]:
    """The pixels of a still image, (H, W, 3) uint8."""
    decoded = decode(data, recipe, limits)
    return np.frombuffer(decoded.pixels, np.uint8).reshape(recipe.height, recipe.width, 3)


def refusal(data: bytes, limits: DecodeLimits = LIMITS, expected: str | None = None) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(data, PLAIN, limits, expected)
    assert caught.value.sha256 == hashlib.sha256(data).hexdigest()
    return caught.value
