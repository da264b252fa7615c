"""What containers say of themselves, without a decoder."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.bombs import scans, segments
from tests.pictures import FORMATS, photo, saved
from worker.images import containers
from worker.images.formats import is_heic

pytestmark = pytest.mark.usefixtures("prepared")


@pytest.mark.parametrize("format", ["GIF", "TIFF"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_frames_and_pages_are_counted_as_pillow_counts_them(format: str, count: int) -> None:
    frames = [photo(30, 20).rotate(10 * number) for number in range(count)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    with Image.open(BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == count
    counted = containers.gif_frames(data, 100)[0] if format == "GIF" else containers.tiff_pages(data, 100)
    assert counted == count


@pytest.mark.parametrize("format", ["GIF", "TIFF"])
def test_counting_ends_one_above_the_limit(format: str) -> None:
    data = saved(photo(8, 8), format, save_all=True, append_images=[photo(8, 8).rotate(90 * turn) for turn in range(9)])
    assert (containers.gif_frames(data, 3)[0] if format == "GIF" else containers.tiff_pages(data, 3)) == 4


def test_pages_that_lead_to_one_another_are_counted_once() -> None:
    data = bytearray(saved(photo(8, 8), "TIFF"))
    first = int.from_bytes(data[4:8], "little")
    link = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[link : link + 4] = data[4:8]
    assert containers.tiff_pages(bytes(data), 100) == 1


def test_the_segments_of_a_jpeg_end_with_its_first_picture() -> None:
    data = scans(20, 16)
    markers = [marker for marker, _ in containers.jpeg_segments(data + segments(5))]
    assert markers.count(containers.SOS) == data.count(b"\xff\xda")


@pytest.mark.parametrize(("format", "options"), [*((format, {}) for format in FORMATS), ("TIFF", {"big_tiff": True})])
def test_a_whole_file_does_not_end_early_and_a_half_one_does(format: str, options: dict[str, Any]) -> None:
    data = saved(photo(64, 64), format, **options)
    assert not containers.ends_early(data)
    says = format in ("PNG", "WEBP", "GIF", "AVIF", "HEIF")
    assert containers.ends_early(data[: len(data) // 2]) == says


@pytest.mark.parametrize(
    ("major", "others", "heic"),
    [
        (b"heic", [b"mif1"], True),
        (b"mif1", [b"mif1", b"heic"], True),
        (b"msf1", [b"hevc"], True),
        (b"mif1", [], True),
        (b"mif1", [b"avif"], False),
        (b"avif", [b"mif1"], False),
        (b"isom", [b"mp42"], False),
    ],
)
def test_heic_is_told_by_its_brands(major: bytes, others: list[bytes], heic: bool) -> None:
    brands = b"".join(others)
    data = (16 + len(brands)).to_bytes(4) + b"ftyp" + major + bytes(4) + brands + b"\0\0\0\x08mdat"
    assert is_heic(data) is heic
