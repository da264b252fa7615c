"""The model sees what people see: any depth, any mode, nothing that is hidden under alpha."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.bombs import chunk
from tests.pictures import EVERYTHING, LIMITS, PLAIN, photo, pixels, saved
from worker.images.colour import opaque

pytestmark = pytest.mark.usefixtures("prepared")
ALLOWED = replace(LIMITS, formats=EVERYTHING)
EIGHT = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4 + 3
SIXTEEN = EIGHT.astype(np.uint16) * 257


def png16(kind: int, samples: int) -> bytes:
    """A PNG of 16 bits a sample, 8x8, the ramp in every colour; alpha, where there is one, full."""
    colours = np.repeat(SIXTEEN[..., None], samples, axis=2)
    if kind & 4:
        colours[..., -1] = 0xFFFF
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    head = struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "make",
    [
        lambda: saved(Image.fromarray(SIXTEEN)),
        lambda: saved(Image.fromarray(SIXTEEN), "TIFF"),
        lambda: saved(Image.fromarray(SIXTEEN.astype(">u2")), "TIFF"),
        lambda: saved(Image.fromarray(SIXTEEN.astype(np.int32)), "TIFF"),
        lambda: saved(Image.fromarray(EIGHT.astype(np.float32) / 255), "TIFF"),
        lambda: saved(Image.fromarray(EIGHT.astype(np.float32)), "TIFF"),
        lambda: png16(2, 3),
        lambda: png16(4, 2),
        lambda: png16(6, 4),
    ],
)
def test_a_ramp_of_more_bits_is_the_ramp_of_eight(make: Callable[[], bytes]) -> None:
    found = pixels(make(), PLAIN, ALLOWED)
    np.testing.assert_array_equal(found, np.repeat(EIGHT[..., None], 3, axis=2))


def test_sixteen_bits_become_the_upper_eight() -> None:
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024 + 513
    found = pixels(saved(Image.fromarray(ramp)))
    np.testing.assert_array_equal(found[..., 0], (ramp >> 8).astype(np.uint8))


def test_thirty_two_bits_become_the_upper_eight() -> None:
    ramp = np.arange(64, dtype=np.int32).reshape(8, 8) << 25
    found = pixels(saved(Image.fromarray(ramp), "TIFF"), PLAIN, ALLOWED)
    np.testing.assert_array_equal(found[..., 0], (ramp >> 24).astype(np.uint8))


def test_the_transparent_grey_of_sixteen_bits_is_the_background() -> None:
    ramp = np.full((8, 8), 0x1234, np.uint16)
    ramp[:4] = 0x8000
    data = saved(Image.fromarray(ramp), transparency=0x1234)
    assert (pixels(data)[4:] == 255).all()
    assert (pixels(data)[:4] == 128).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_colours_under_alpha_are_not_revealed(mode: str) -> None:
    hidden = photo(8, 8).convert(mode)
    hidden.putalpha(0)
    assert (pixels(saved(hidden)) == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_no_mode_with_alpha_reveals_what_is_hidden(mode: str) -> None:
    hidden = photo(8, 8).convert("LA" if mode == "La" else "RGBA")
    hidden.putalpha(0)
    assert set(opaque(hidden.convert(mode), "lime").getdata()) == {(0, 255, 0)}


def test_a_transparent_colour_of_a_palette_is_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([9, 9, 9, 200, 0, 0])
    assert (pixels(saved(image, transparency=1)) == 255).all()


@pytest.mark.parametrize(("mode", "colour"), [("1", 1), ("L", 7), ("RGB", (1, 2, 3))])
def test_a_transparent_colour_is_transparent_in_every_mode(mode: str, colour: int) -> None:
    data = saved(Image.new(mode, (8, 8), colour), transparency=colour)
    assert (pixels(data, PLAIN, replace(LIMITS, background="#102030")) == [16, 32, 48]).all()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "AVIF", "TIFF", "HEIF"])
def test_what_is_transparent_has_the_background_that_is_asked_for(format: str) -> None:
    data = saved(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), format)
    limits = replace(ALLOWED, background="navy")
    assert (pixels(data, PLAIN, limits) == [0, 0, 128]).all()


def test_half_of_the_background_shows_through_half_an_alpha() -> None:
    data = saved(Image.new("RGBA", (8, 8), (255, 0, 0, 128)))
    assert np.abs(pixels(data)[0, 0].astype(int) - [255, 127, 127]).max() <= 1


@pytest.mark.parametrize(
    ("mode", "format"),
    [("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("CMYK", "JPEG"), ("L", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")],
)
def test_other_colours_become_rgb(mode: str, format: str) -> None:
    data = saved(photo(8, 8).convert(mode), format)
    expected = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(pixels(data, PLAIN, ALLOWED), expected)


def test_a_print_file_of_adobes_is_not_its_negative() -> None:
    """Pillow writes CMYK JPEGs inverted, as Adobe does."""
    assert (pixels(saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG")) >= 250).all()
    assert (pixels(saved(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG")) <= 5).all()


@pytest.mark.parametrize("mode", ["LAB", "HSV", "RGBX", "I;16B", "I;16L", "I", "F", "1", "PA"])
def test_every_mode_of_pillow_has_a_way_to_rgb(mode: str) -> None:
    assert opaque(Image.new(mode, (8, 8)), "white").mode == "RGB"


def test_a_value_that_is_no_number_does_no_harm() -> None:
    values = np.array([[np.nan, np.inf], [-np.inf, 1e38]], np.float32)
    assert opaque(Image.fromarray(values), "white").mode == "RGB"
