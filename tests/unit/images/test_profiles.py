"""Colours with a profile come in sRGB, as they were meant, and a profile that means nothing changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.pictures import CROPPED, LIMITS, PLAIN, photo, pixels, saved

pytestmark = pytest.mark.usefixtures("prepared")
CONVERTING = replace(LIMITS, colour_profiles=True)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped() -> bytes:
    """An RGB profile whose red is sRGB's blue, and the other way round: what it changes cannot be overlooked."""
    profile = SRGB.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")
    assert profile != SRGB
    return profile


def dark() -> bytes:
    """A grey profile with a gamma of 4.0, of the fewest tags that are one."""
    curve = b"curv" + bytes(4) + (1).to_bytes(4) + (4 * 256).to_bytes(2) + bytes(2)
    white = b"XYZ " + bytes(4) + b"".join(round(v * 65536).to_bytes(4) for v in (0.9642, 1.0, 0.8249))
    tags = (2).to_bytes(4) + b"wtpt" + (156).to_bytes(4) + (20).to_bytes(4)
    tags += b"kTRC" + (176).to_bytes(4) + (14).to_bytes(4)
    head = bytearray(128)
    head[8:12], head[12:16], head[16:20], head[20:24], head[36:40] = b"\2\x10\0\0", b"mntr", b"GRAY", b"XYZ ", b"acsp"
    head[68:80] = white[8:]
    whole = bytes(head) + tags + white + curve
    return len(whole).to_bytes(4) + whole[4:]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_colours_are_converted_in_every_format(format: str) -> None:
    data = saved(Image.new("RGB", (8, 8), "red"), format, icc_profile=swapped(), quality=100)
    red, green, blue = pixels(data, PLAIN, CONVERTING)[4, 4]
    assert (blue > 240, red < 20, green < 20) == (True, True, True)
    assert pixels(data)[4, 4, 0] > 240, "off, the numbers stay as they are in the file"


def test_a_profile_of_srgb_changes_no_pixel() -> None:
    data = saved(photo(300, 260), icc_profile=SRGB)
    np.testing.assert_array_equal(pixels(data, CROPPED, CONVERTING), pixels(data, CROPPED))


def test_grey_has_profiles_too() -> None:
    data = saved(Image.new("L", (8, 8), 128), icc_profile=dark())
    assert (pixels(data, PLAIN, CONVERTING) < 80).all()


@pytest.mark.parametrize("profile", [b"", b"no profile", swapped()[:200], swapped()[:128] + bytes(900), dark()])
def test_a_profile_that_is_broken_or_for_other_pixels_changes_nothing(profile: bytes) -> None:
    data = saved(photo(8, 8), icc_profile=profile)
    np.testing.assert_array_equal(pixels(data, PLAIN, CONVERTING), pixels(data))


def test_an_image_smaller_than_the_crop_has_black_round_it() -> None:
    data = saved(photo(100, 90), icc_profile=swapped())
    recipe = replace(CROPPED, shortest_edge=None)
    assert (pixels(data, recipe, CONVERTING)[:60] == 0).all()


def test_print_colours_are_converted_before_they_become_rgb() -> None:
    """Without a CMYK profile at hand (they are large): a profile of another space is not used on CMYK."""
    data = saved(photo(8, 8, "CMYK"), "JPEG", icc_profile=swapped())
    np.testing.assert_array_equal(pixels(data, PLAIN, CONVERTING), pixels(data))
