"""Images that end early, are damaged or lie: told apart, and accepted only as far as is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.bombs import chunk, iso
from tests.pictures import EVERYTHING, LIMITS, PLAIN, photo, pixels, refusal, saved
from worker.errors import Reason
from worker.images import damage
from worker.images.decode import decode

pytestmark = pytest.mark.usefixtures("prepared")
ALLOWED = replace(LIMITS, formats=EVERYTHING)
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("AVIF", {}),
    ("HEIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg"}),
]


@pytest.mark.parametrize("share", [0.9, 0.6, 0.3])
@pytest.mark.parametrize(("format", "options"), KINDS)
def test_an_image_that_ends_early_is_truncated_in_every_format(
    format: str, options: dict[str, Any], share: float
) -> None:
    data = saved(photo(200, 200), format, **options)
    assert refusal(data[: int(share * len(data))], ALLOWED).reason is Reason.TRUNCATED


@pytest.mark.parametrize("format", ["PNG", "WEBP", "AVIF", "HEIF", "GIF"])
def test_an_image_that_is_whole_but_damaged_is_broken(format: str) -> None:
    data = bytearray(saved(photo(200, 200), format))
    middle = len(data) // 2
    for at in range(middle - 2000, middle + 2000):
        data[at] ^= 0x55
    try:
        decode(bytes(data), PLAIN, ALLOWED)
    except Exception:
        assert refusal(bytes(data), ALLOWED).reason in (Reason.BROKEN_IMAGE, Reason.SIZE_MISMATCH)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_an_image_that_ends_early_is_taken_where_few_enough_rows_are_missing(format: str) -> None:
    image = photo(200, 200)
    data = saved(image, format)
    cut = data[: int(0.93 * len(data))]
    found = pixels(cut, PLAIN, replace(LIMITS, truncated_rows_missing=0.15))
    np.testing.assert_array_equal(found[:6], pixels(data)[:6])
    assert refusal(cut, replace(LIMITS, truncated_rows_missing=0.01)).reason is Reason.TRUNCATED
    assert refusal(cut).reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {"progressive": True}), ("GIF", {}), ("WEBP", {}), ("AVIF", {}), ("BMP", {}), ("TIFF", {}), ("HEIF", {})],
)
def test_a_format_that_cannot_say_how_much_is_missing_stays_refused(format: str, options: dict[str, Any]) -> None:
    data = saved(photo(200, 200), format, **options)
    generous = replace(ALLOWED, truncated_rows_missing=0.99)
    assert refusal(data[: int(0.95 * len(data))], generous).reason is Reason.TRUNCATED


def test_one_image_that_is_taken_short_leaves_the_next_one_as_strict() -> None:
    data = saved(photo(200, 200))
    cut = data[: int(0.93 * len(data))]
    decode(cut, PLAIN, replace(LIMITS, truncated_rows_missing=0.2))
    assert refusal(cut).reason is Reason.TRUNCATED


def test_a_png_with_its_end_was_not_cut_off_whatever_is_missing() -> None:
    data = saved(photo(64, 64))
    start = data.index(b"IDAT")
    pixels = data[start + 4 : start + 2000]
    whole = data[: start - 4] + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    assert refusal(whole).reason is Reason.BROKEN_IMAGE


def test_a_webp_whose_canvas_is_not_its_picture_lies() -> None:
    kinds: tuple[dict[str, Any], ...] = ({}, {"lossless": True})
    for options in kinds:
        data = bytearray(saved(photo(64, 64), "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", **options))
        assert decode(bytes(data), PLAIN, LIMITS).width == 64
        data[24] = 99
        assert refusal(bytes(data)).reason is Reason.SIZE_MISMATCH


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_a_picture_larger_than_its_container_says_lies(format: str) -> None:
    assert decode(iso(format, 200, 200, 200), PLAIN, ALLOWED).width == 200
    assert refusal(iso(format, 100, 100, 200), ALLOWED).reason is Reason.SIZE_MISMATCH


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("out of memory error when reading image file"), RuntimeError("Out of memory")]
)
def test_a_decoder_out_of_memory_says_so(error: Exception) -> None:
    assert damage.verdict(error, b"").reason is Reason.DECODE_OUT_OF_MEMORY
