"""Animations: the frames that are looked at, as a viewer composes them, and the limits on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from tests.bombs import animation
from tests.pictures import EVERYTHING, LIMITS, PLAIN, photo, refusal, saved
from worker.errors import Reason, Rejected
from worker.images.decode import Decoded, decode

pytestmark = pytest.mark.usefixtures("prepared")
MOVING = ("GIF", "PNG", "WEBP", "AVIF")
LOSSLESS = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}


def film(format: str, count: int, **options: object) -> bytes:
    """An animation whose frames are ever brighter."""
    frames = [Image.new("RGB", (8, 8), (10 * number, 10 * number, 10 * number)) for number in range(count)]
    more = LOSSLESS.get(format, {}) | options
    return saved(frames[0], format, save_all=True, append_images=frames[1:], duration=40, **more)


def arrays(decoded: Decoded) -> npt.NDArray[np.uint8]:
    return np.frombuffer(decoded.pixels, np.uint8).reshape(len(decoded.frames), 8, 8, 3)


@pytest.mark.parametrize("format", MOVING)
def test_an_animation_is_its_first_frame(format: str) -> None:
    found = decode(film(format, 5), PLAIN, LIMITS)
    assert (found.frames, found.frame_count) == ((0,), 5)
    assert arrays(found).max() <= 2


@pytest.mark.parametrize("format", MOVING)
@pytest.mark.parametrize(
    ("wanted", "indexes"), [(2, (0, 9)), (3, (0, 4, 9)), (4, (0, 3, 6, 9)), (64, tuple(range(10)))]
)
def test_frames_are_spread_from_the_first_to_the_last(format: str, wanted: int, indexes: tuple[int, ...]) -> None:
    found = decode(film(format, 10), PLAIN, replace(LIMITS, frames=wanted))
    assert (found.frames, found.frame_count) == (indexes, 10)
    levels = arrays(found).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [10 * index for index in indexes], atol=3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "HEIF"])
def test_a_still_image_is_one_frame_however_many_are_wanted(format: str) -> None:
    found = decode(saved(photo(8, 8), format), PLAIN, replace(LIMITS, formats=EVERYTHING, frames=4))
    assert (found.frames, found.frame_count, len(found.pixels)) == ((0,), 1, 8 * 8 * 3)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_frames_are_composed_as_a_viewer_shows_them(format: str) -> None:
    """Each frame adds a dot to what is there; the file holds the dots only."""
    frames = []
    for number in range(4):
        frames.append((frames[-1] if frames else Image.new("RGB", (8, 8), "white")).copy())
        ImageDraw.Draw(frames[-1]).point((number, number), "black")
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], **LOSSLESS.get(format, {}))
    found = decode(data, PLAIN, replace(LIMITS, frames=4))
    for array, frame in zip(arrays(found), frames, strict=True):
        np.testing.assert_array_equal(array, np.asarray(frame))


@pytest.mark.parametrize("blend", [0, 1])
def test_a_picture_for_programs_without_animation_is_looked_at_and_shows_under_no_frame(blend: int) -> None:
    face = Image.new("RGBA", (8, 8), "red")
    frames = [Image.new("RGBA", (8, 8), colour) for colour in ((0, 0, 255, 128), (0, 255, 0, 255))]
    data = saved(face, save_all=True, default_image=True, append_images=frames, blend=blend)
    found = decode(data, PLAIN, replace(LIMITS, frames=3))
    assert (found.frames, found.frame_count) == ((0, 1, 2), 3)
    seen = arrays(found).astype(int)
    assert (seen[0] == [255, 0, 0]).all()
    assert (seen[1][..., 0] == seen[1][..., 1]).all(), "nothing of the red one shows through the blue one"


@pytest.mark.parametrize("format", [*MOVING, "TIFF"])
def test_more_frames_than_allowed_are_refused_by_their_number(format: str) -> None:
    limits = replace(LIMITS, formats=EVERYTHING, max_frames=4)
    assert refusal(film(format, 5), limits).reason is Reason.TOO_MANY_FRAMES
    assert decode(film(format, 4), PLAIN, limits).frame_count == 4


def test_the_pages_of_a_tiff_are_no_animation() -> None:
    found = decode(film("TIFF", 3), PLAIN, replace(LIMITS, formats=EVERYTHING, frames=3))
    assert (found.frames, found.frame_count) == ((0,), 3)


def test_a_second_picture_in_a_jpeg_does_not_count() -> None:
    data = saved(photo(8, 8), "MPO", save_all=True, append_images=[photo(8, 8)] * 3)
    found = decode(data, PLAIN, replace(LIMITS, frames=2, max_frames=1))
    assert (found.format, found.frames, found.frame_count) == ("jpeg", (0,), 1)


def test_frames_up_to_the_last_one_wanted_are_work() -> None:
    limits = replace(LIMITS, max_scan_pixels=100 * 100 * 9)
    assert decode(animation(10, 100), PLAIN, limits).frame_count == 10
    assert refusal(animation(10, 100), replace(limits, frames=2)).reason is Reason.TOO_MANY_FRAMES
    assert decode(animation(9, 100), PLAIN, replace(limits, frames=2)).frames == (0, 8)


def test_a_later_frame_larger_than_the_screen_is_refused() -> None:
    data = animation(3, 8)
    last = data.rindex(b",")
    data = data[: last + 5] + b"\x40\0\x40\0" + data[last + 9 :]
    assert decode(data, PLAIN, LIMITS).frame_count == 3
    with pytest.raises(Rejected) as caught:
        decode(data, PLAIN, replace(LIMITS, frames=3))
    assert caught.value.reason is Reason.SIZE_MISMATCH
