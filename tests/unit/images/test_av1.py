"""The size of an AVIF's picture as its own head has it."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from tests.bombs import iso
from tests.pictures import saved
from worker.images.av1 import largest_picture


@pytest.mark.parametrize("options", [{}, {"save_all": True}, {"quality": 100}, {"icc_profile": bytes(200)}])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (65, 33), (300, 200)])
def test_it_is_the_size_of_the_picture(size: tuple[int, int], mode: str, options: dict[str, Any]) -> None:
    image = Image.new(mode, size)
    more = {"append_images": [Image.new(mode, size, 3)] * 2} if "save_all" in options else {}
    assert largest_picture(saved(image, "AVIF", speed=10, **options, **more)) == size


def test_it_is_not_what_the_container_says() -> None:
    assert largest_picture(iso("AVIF", 10, 10, 64)) == (64, 64)


@pytest.mark.parametrize("data", [b"", b"\0\0\0\x18ftypavif", iso("HEIF", 64, 64), b"ftyp" * 99])
def test_where_there_is_none_nothing_is_found(data: bytes) -> None:
    assert largest_picture(data) is None


def test_bytes_cut_off_anywhere_do_no_harm() -> None:
    data = iso("AVIF", 64, 64)
    for end in range(len(data)):
        found = largest_picture(data[:end])
        assert found is None or found <= (64, 64)


def test_more_obus_than_any_animation_has_are_not_walked() -> None:
    data = iso("AVIF", 64, 64)
    at = data.index(b"mdat") + 4
    with pytest.raises(ValueError, match="OBUs"):
        largest_picture(data[:at] + b"\x12\x00" * 100_001 + data[at:])
