"""Limits on an image's size and on the work it is, held before anything is decoded."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from zipfile import ZipFile

import pytest
from PIL import Image

from tests.bombs import png, saved, scans, segments, small
from tests.pictures import LIMITS, PLAIN, photo, refusal
from worker.errors import Reason
from worker.images.decode import decode

pytestmark = pytest.mark.usefixtures("prepared")


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((1001, 1000), Reason.TOO_MANY_PIXELS),
        ((32_769, 10), Reason.EDGE_TOO_LONG),
        ((10, 32_769), Reason.EDGE_TOO_LONG),
        ((1001, 10), Reason.ASPECT_TOO_EXTREME),
        ((10, 1001), Reason.ASPECT_TOO_EXTREME),
    ],
)
def test_a_size_beyond_a_limit_has_its_reason(size: tuple[int, int], reason: Reason) -> None:
    assert refusal(png(*size)).reason is reason


@pytest.mark.parametrize("size", [(1000, 1000), (1000, 10), (1, 100), (7000, 100)])
def test_a_size_at_a_limit_is_within_it(size: tuple[int, int]) -> None:
    assert decode(png(*size), PLAIN, LIMITS).width == size[0]


def test_scans_are_counted_against_the_pixels() -> None:
    data = scans(90, 100)
    work = 100 * 100 * data.count(b"\xff\xda")
    assert decode(data, PLAIN, replace(LIMITS, max_scan_pixels=work)).width == 100
    assert refusal(data, replace(LIMITS, max_scan_pixels=work - 1)).reason is Reason.TOO_MANY_SCANS


def test_scans_of_a_thumbnail_or_of_a_second_picture_are_none_of_the_jpegs() -> None:
    many = scans(50, 16)
    hidden = saved(photo(100, 100), "JPEG", exif=b"Exif\0\0" + many) + many
    assert hidden.count(b"\xff\xda") > 100
    assert decode(hidden, PLAIN, replace(LIMITS, max_scan_pixels=100 * 100)).width == 100


def test_a_jpeg_may_have_a_large_profile_and_no_endless_head() -> None:
    data = saved(Image.new("RGB", (8, 8)), "JPEG", icc_profile=bytes(10_000_000))
    assert decode(data, PLAIN, LIMITS).width == 8
    assert decode(segments(4000), PLAIN, LIMITS).width == 64
    assert refusal(segments(4100)).reason is Reason.BROKEN_IMAGE


@pytest.mark.parametrize("appended", [True, False])
def test_a_jpeg_that_is_a_zip_too_is_the_jpeg(appended: bool) -> None:
    stream = BytesIO(small("JPEG"))
    with ZipFile(stream, "a" if appended else "w") as archive:
        archive.writestr("bomb", bytes(1_000_000))
    data = stream.getvalue() if appended else b"\xff\xd8\xff" + stream.getvalue()
    if appended:
        assert decode(data, PLAIN, LIMITS).format == "jpeg"
    else:
        assert refusal(data).reason in (Reason.BROKEN_IMAGE, Reason.TRUNCATED)
