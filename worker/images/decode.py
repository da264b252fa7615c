"""Encoded bytes to the model's input: a pure function that runs in a process that can die.

Imports nothing heavy: a decode process starts from it in milliseconds.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageFile

from worker.errors import Reason, Rejected
from worker.images.colour import opaque
from worker.images.damage import load, verdict
from worker.images.formats import name_of, open_image, register
from worker.images.frames import count_frames, sampled, show
from worker.images.heads import refuse_head, refuse_larger_picture, refuse_other_canvas, refuse_scans
from worker.images.limits import DecodeLimits, refuse_frames, refuse_other_size, refuse_size
from worker.images.orientation import upright
from worker.images.profiles import in_srgb, to_srgb
from worker.images.resize import Size, cut, draft, pad, resize
from worker.recipe import InputRecipe


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image at the model's input size, and what the file was."""

    pixels: bytes
    """(N, H, W, 3) uint8, RGB, row after row: the sampled frames one after the other, N = 1 for a still image."""
    width: int
    """Of the file's image, after its orientation was applied."""
    height: int
    format: str
    sha256: str
    frames: tuple[int, ...]
    """Which of the animation's frames these are, from 0, rising."""
    frame_count: int
    """Frames the file has, 1 for a still image."""


def prepare(limits: DecodeLimits) -> None:
    """Set Pillow up for this process: every plugin loaded, one thread an image, no warnings."""
    register(limits.formats)
    # Pillow raises above twice this, inside plugins that look at no `size`; `refuse_size` refuses above once.
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    warnings.simplefilter("ignore")


def decode(data: bytes, recipe: InputRecipe, limits: DecodeLimits, expected_sha256: str | None = None) -> Decoded:
    """Check, decode, turn upright, convert to RGB, resize and crop one image, or some frames of an animation.

    Raises Rejected with the bytes' sha256 and DIGEST_MISMATCH or a reason of the decode stage.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        if expected_sha256 is not None and sha256 != expected_sha256.lower():
            raise Rejected(Reason.DIGEST_MISMATCH, "the image is not the one whose digest the event states")
        return _decode(data, recipe, limits, sha256)
    except Exception as error:  # noqa: BLE001 - decoders raise OSError, SyntaxError, ValueError, RuntimeError, struct.error
        rejected = verdict(error, data)
        raise Rejected(rejected.reason, rejected.detail, sha256=sha256) from None


def _decode(data: bytes, recipe: InputRecipe, limits: DecodeLimits, sha256: str) -> Decoded:
    many_scans = refuse_head(data)
    refuse_other_canvas(data)
    with open_image(data, limits.formats) as image:
        name, pixels = name_of(image), image.width * image.height
        refuse_size(*image.size, limits)
        if name == "jpeg" and many_scans:
            refuse_scans(data, pixels, limits)
        elif name == "avif":
            refuse_larger_picture(data, image.size)
        count = count_frames(image, name, data, limits.max_frames)
        indexes = sampled(name, count, limits.frames)
        refuse_frames(pixels, count, indexes[-1], limits)
        pictures = [_picture(image, index, data, recipe, limits) for index in indexes]
    width, height = pictures[0][1]
    return Decoded(b"".join(made for made, _ in pictures), width, height, name, sha256, indexes, count)


def _picture(
    image: ImageFile.ImageFile, index: int, data: bytes, recipe: InputRecipe, limits: DecodeLimits
) -> tuple[bytes, Size]:
    """One frame as the model takes it, and the size of what the file has, upright."""
    declared = image.size
    if index:
        show(image, index)
        refuse_other_size(declared, image.size)
    draft(image, recipe, limits.draft)
    drafted = image.size
    load(image, data, limits.truncated_rows_missing)
    transform = to_srgb(image) if limits.colour_profiles else None
    shown = upright(image)
    turned = shown.size != drafted
    refuse_other_size(drafted[::-1] if turned else drafted, shown.size)
    size = declared[::-1] if turned else declared
    if transform is None or shown.mode != "CMYK":  # inks stay what they are until their profile is asked
        shown = opaque(shown, limits.background)
    made = cut(resize(shown, size, recipe, limits), recipe)
    if transform is not None:
        made = in_srgb(made, transform)
    return pad(made, recipe).tobytes(), size


def recipe_from(values: dict[str, Any]) -> InputRecipe:
    """The recipe back from what JSON made of it."""
    return InputRecipe(**values | {"scale": tuple(values["scale"]), "shift": tuple(values["shift"])})
