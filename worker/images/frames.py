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


def sampled(name: str, count: int, wanted: int) -> tuple[int, ...]:
    """The indexes of at most this many frames, evenly spread from the first to the last, both of them included.

    Many animations come to rest on their last frame: that is the one people look at longest.
    """
    steps = min(wanted, count) - 1 if name in _MOVING else 0
    return tuple(round(step * (count - 1) / max(steps, 1)) for step in range(steps + 1))


def show(image: Image.Image, index: int) -> None:
    """Go to a frame; those before it are decoded where it builds on them."""
    if index and image.tell() == 0 and getattr(image, "default_image", False):
        # The picture of an animated PNG for programs that know no animation: no frame builds on it, but Pillow's would.
        image.load()
        image.paste(0, (0, 0, *image.size))
    image.seek(index)
