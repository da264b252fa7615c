"""Colours with a profile come in sRGB, as they were meant, and a profile that means nothing changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.pictures import CROPPED, LIMITS, PLAIN, photo, pixels, saved

pytestmark = pytest.mark.usefixtures("prepared")
CONVERTING = replace(LIMITS, colour_profiles=True)
WHITE = b"".join(round(value * 65536).to_bytes(4) for value in (0.9642, 1.0, 0.8249))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped() -> bytes:
    """An RGB profile whose red is sRGB's blue, and the other way round: what it changes cannot be overlooked."""
    profile = SRGB.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")
    assert profile != SRGB
    return profile


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 with these tags."""
    table, body = len(tags).to_bytes(4), b""
    for name, data in tags.items():
        table += name + (128 + 4 + 12 * len(tags) + len(body)).to_bytes(4) + len(data).to_bytes(4)
        body += data.ljust(-(-len(data) // 4) * 4, b"\0")
    head = bytearray(128)
    head[8:12], head[12:16], head[36:40] = b"\2\x10\0\0", b"prtr" if space == b"CMYK" else b"mntr", b"acsp"
    head[16:20], head[20:24] = space, b"Lab " if space == b"CMYK" else b"XYZ "
    head[68:80] = WHITE
    whole = bytes(head) + table + body
    return len(whole).to_bytes(4) + whole[4:]


def dark() -> bytes:
    """A grey profile with a gamma of 4.0."""
    curve = b"curv" + bytes(4) + (1).to_bytes(4) + (4 * 256).to_bytes(2)
    return profile(b"GRAY", {b"wtpt": b"XYZ " + bytes(4) + WHITE, b"kTRC": curve})


def ink() -> bytes:
    """A print profile: paper is white, the first plate prints red, everything else black."""
    white, red, black = bytes([255, 128, 128]), bytes([130, 200, 180]), bytes([0, 128, 128])
    corners = b"".join({0: white, 8: red}.get(corner, black) for corner in range(16))
    straight = bytes(range(256))
    unity = b"".join((65536 * (place in (0, 4, 8))).to_bytes(4) for place in range(9))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unity + straight * 4 + corners + straight * 3
    return profile(b"CMYK", {b"wtpt": b"XYZ " + bytes(4) + WHITE, b"A2B0": lut})


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


@pytest.mark.parametrize("broken", [b"", b"no profile", swapped()[:200], swapped()[:128] + bytes(900), dark()])
def test_a_profile_that_is_broken_or_for_other_pixels_changes_nothing(broken: bytes) -> None:
    data = saved(photo(8, 8), icc_profile=broken)
    np.testing.assert_array_equal(pixels(data, PLAIN, CONVERTING), pixels(data))


def test_an_image_smaller_than_the_crop_has_black_round_it() -> None:
    data = saved(photo(100, 90), icc_profile=swapped())
    recipe = replace(CROPPED, shortest_edge=None)
    assert (pixels(data, recipe, CONVERTING)[:60] == 0).all()


def test_print_colours_are_those_of_their_profile() -> None:
    data = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", icc_profile=ink(), quality=100)
    red, _, blue = pixels(data, PLAIN, CONVERTING)[4, 4].astype(int)
    assert red > blue + 100, "the ink of the first plate is red in this profile"
    assert pixels(data)[4, 4, 2] > 200, "off, it is taken for cyan"


def test_a_profile_of_screens_is_not_used_on_print_colours() -> None:
    data = saved(photo(8, 8, "CMYK"), "JPEG", icc_profile=swapped())
    np.testing.assert_array_equal(pixels(data, PLAIN, CONVERTING), pixels(data))


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (255, 0, 0)), ("L", 7), ("P", 0)])
def test_a_profile_reveals_nothing_that_is_transparent(mode: str, colour: Any) -> None:
    for meant_for in (swapped(), dark()):
        data = saved(Image.new(mode, (8, 8), colour), transparency=0 if mode == "P" else colour, icc_profile=meant_for)
        limits = replace(CONVERTING, background="lime")
        assert (pixels(data, PLAIN, limits) == [0, 255, 0]).all()
