"""Resizing with SIMD gives what Pillow gives, but for a level or two here and there."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.pictures import CROPPED
from worker.images import simd
from worker.images.decode import decode
from worker.images.settings import ImagesSettings

pytestmark = pytest.mark.skipif(not simd.available(), reason="cykooz-resizer has no wheel for this machine")
R = Image.Resampling


def picture(width: int, height: int) -> Image.Image:
    """Noise that a lens has seen, with hard edges in it."""
    noise = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1))
    image.paste("white", (width // 4, height // 4, width // 2, height // 2))
    return image


@pytest.mark.parametrize("resample", [R.BOX, R.BILINEAR, R.BICUBIC, R.LANCZOS])
@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((500, 375), (341, 256)),
        ((375, 500), (256, 341)),
        ((97, 61), (256, 160)),
        ((1000, 30), (224, 224)),
        ((3, 3), (9, 9)),
    ],
)
def test_it_resizes_as_pillow_does(size: tuple[int, int], target: tuple[int, int], resample: Image.Resampling) -> None:
    image = picture(*size)
    assert simd.can_resize(image, resample)
    found = np.asarray(simd.resize(image, target, resample, 0.0, image.width)).astype(int)
    wanted = np.asarray(image.resize(target, resample)).astype(int)
    assert np.abs(found - wanted).max() <= 2
    assert (found != wanted).mean() < 0.02


def test_a_window_of_columns_is_that_of_the_whole() -> None:
    image = picture(500, 375)
    across = 500 / 341
    found = simd.resize(image, (224, 256), R.BICUBIC, 58 * across, 224 * across)
    whole = image.resize((341, 256), R.BICUBIC).crop((58, 0, 282, 256))
    differ = np.abs(np.asarray(found).astype(int) - np.asarray(whole).astype(int))
    assert differ.max() <= 2
    assert (differ > 0).mean() < 0.02


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "I;16"])
def test_other_modes_are_left_to_pillow(mode: str) -> None:
    assert not simd.can_resize(Image.new(mode, (8, 8)), R.BICUBIC)


def test_filters_that_it_lacks_and_images_that_are_huge_are_left_to_pillow() -> None:
    assert not simd.can_resize(picture(8, 8), R.HAMMING)
    assert not simd.can_resize(picture(8, 8), R.NEAREST)
    assert not simd.can_resize(Image.new("RGB", (4000, 2001)), R.BICUBIC)


def test_a_photograph_that_the_jpeg_decoder_scaled_down_is_left_to_pillow() -> None:
    stream = BytesIO()
    picture(3000, 2300).save(stream, "JPEG")
    made = [decode(stream.getvalue(), CROPPED, ImagesSettings(simd_resize=by).limits).pixels for by in (True, False)]
    assert made[0] == made[1]
