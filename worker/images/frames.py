"""The frames of an animation: how many there are, and which of them are looked at."""

from __future__ import annotations

from PIL import Image

from worker.images.containers import gif_frames, tiff_pages

_MOVING = ("gif", "webp", "png", "avif")
"""Formats whose frames are an animation. Of the pages of a TIFF and the pictures of a HEIC or MPO one is looked at."""


def count_frames(image: Image.Image, name: str, data: bytes, limit: int) -> int:
    """The number of frames or pages, at least 1, told by the file's structure: no frame is decoded.

    Of a GIF or TIFF, where frames can only be counted by walking from one to the next, no more than the limit and one.
    """
    if name == "gif":
        return max(1, gif_frames(data, limit)[0])
    if name == "tiff":
        return max(1, tiff_pages(data, limit))
    return 1 if name == "jpeg" else getattr(image, "n_frames", 1)


def sampled(image: Image.Image, name: str, count: int, wanted: int) -> tuple[int, ...]:
    """The indexes of at most this many frames, evenly spread from the first to the last, both of them included.

    Many animations come to rest on their last frame: that is the one people look at longest. The first of an animated
    PNG is not the picture for programs that know no animation, if it has one: people do not see it.
    """
    if name not in _MOVING:
        return (0,)
    first = 1 if count > 1 and _has_another_face(image) else 0
    steps = min(wanted, count - first) - 1
    return tuple(first + round(step * (count - 1 - first) / max(steps, 1)) for step in range(steps + 1))


def show(image: Image.Image, index: int) -> None:
    """Go to a frame; those before it are decoded where it builds on them."""
    if index and image.tell() == 0 and _has_another_face(image):
        image.load()
        image.paste(0, (0, 0, *image.size))  # Pillow would show it under the first frame
    image.seek(index)


def _has_another_face(image: Image.Image) -> bool:
    return bool(getattr(image, "default_image", False))
