"""Encoded bytes to the model's input: a pure function that runs in a process that can die.

Imports nothing heavy: a decode process starts from it in milliseconds.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import AvifImagePlugin, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from worker.errors import Reason, Rejected
from worker.recipe import InputRecipe

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image of each EXIF orientation upright; 1 is upright."""
_DRAFT_RATIO = 3


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a decoding may take, and what is decoded at all."""

    formats: tuple[str, ...]
    """In lower case, as in the settings."""
    max_pixels: int
    draft: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image at the model's input size, and what the file was."""

    pixels: bytes
    """(N, H, W, 3) uint8, RGB: the sampled frames one after the other, each row after row."""
    width: int
    """Of the file's image, after its orientation was applied."""
    height: int
    format: str
    sha256: str
    frames: tuple[int, ...] = (0,)
    """Indexes of the sampled frames in the file, from 0."""
    frame_count: int = 1
    """Frames in the file."""


def prepare(limits: DecodeLimits) -> None:
    """Set Pillow up for this process: every plugin loaded, one thread an image, no warnings."""
    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    # Pillow raises above twice this, inside plugins that look at no `size`; `_open` refuses above once.
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    warnings.simplefilter("ignore")


def decode(data: bytes, recipe: InputRecipe, limits: DecodeLimits, expected_sha256: str | None = None) -> Decoded:
    """Check, decode, turn upright, convert to RGB, resize and crop one image.

    Raises Rejected with the bytes' sha256 and a reason: DIGEST_MISMATCH, NOT_AN_IMAGE, UNSUPPORTED_FORMAT,
    TOO_MANY_PIXELS or BROKEN_IMAGE. A truncated image is broken.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        if expected_sha256 is not None and sha256 != expected_sha256.lower():
            raise Rejected(Reason.DIGEST_MISMATCH, "the image is not the one whose digest the event states")
        return _decode(data, recipe, limits, sha256)
    except Rejected as rejected:
        raise Rejected(rejected.reason, rejected.detail, sha256=sha256) from None
    except Image.DecompressionBombError as error:
        raise Rejected(Reason.TOO_MANY_PIXELS, str(error), sha256=sha256) from None
    except MemoryError:
        raise Rejected(Reason.BROKEN_IMAGE, "decoding needs more memory than allowed", sha256=sha256) from None
    except Exception as error:  # noqa: BLE001 - decoders raise OSError, SyntaxError, ValueError, RuntimeError, struct.error
        raise Rejected(Reason.BROKEN_IMAGE, f"{type(error).__name__}: {error}", sha256=sha256) from None


def _decode(data: bytes, recipe: InputRecipe, limits: DecodeLimits, sha256: str) -> Decoded:
    with _open(data, limits) as image:
        width, height = image.size
        # A JPEG with a second picture in it (MPO, from phones and stereo cameras) is a JPEG to all who look at it.
        kind = "jpeg" if isinstance(image, JpegImageFile) else (image.format or "").lower()
        _refuse_huge(width, height, limits)
        if limits.draft and kind == "jpeg":
            _draft(image, recipe)
        image.load()
        turn = _TURNS.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        if turn is not None and turn >= Image.Transpose.ROTATE_90 and turn != Image.Transpose.ROTATE_180:
            width, height = height, width
        pixels = _fit(_to_rgb(upright), (width, height), recipe, limits).tobytes()
    return Decoded(pixels, width, height, kind, sha256)


def _open(data: bytes, limits: DecodeLimits) -> Image.Image:
    allowed = [name.upper() for name in limits.formats]
    try:
        return Image.open(BytesIO(data), formats=allowed)
    except UnidentifiedImageError:
        raise _unidentified(data, allowed) from None


def _unidentified(data: bytes, allowed: list[str]) -> Rejected:
    """Why no allowed format fits: the header of one is damaged, it is another format, or it is no image."""
    for name in allowed:
        accept = Image.OPEN[name][1]
        if accept is not None and accept(data[:16]) is True:
            return Rejected(Reason.BROKEN_IMAGE, f"the header of the {name.lower()} is damaged")
    try:
        with Image.open(BytesIO(data)) as image:
            return Rejected(
                Reason.UNSUPPORTED_FORMAT, f"{(image.format or 'unknown').lower()} is not in images.formats"
            )
    except Image.DecompressionBombError:
        return Rejected(Reason.UNSUPPORTED_FORMAT, "the format is not in images.formats")
    except Exception:  # noqa: BLE001 - whatever a decoder of some odd format says, it recognised nothing
        return Rejected(Reason.NOT_AN_IMAGE, f"no image format is recognised in {len(data)} bytes")


def _refuse_huge(width: int, height: int, limits: DecodeLimits) -> None:
    if width * height > limits.max_pixels:
        raise Rejected(Reason.TOO_MANY_PIXELS, f"{width}x{height} is more than {limits.max_pixels} pixels")
    if width == 0 or height == 0:
        raise Rejected(Reason.BROKEN_IMAGE, "the image has no pixels")


def _draft(image: Image.Image, recipe: InputRecipe) -> None:
    """Let libjpeg scale down by 2, 4 or 8 where at least three times the wanted size is left."""
    edge = recipe.shortest_edge or max(recipe.resize_height or 0, recipe.resize_width or 0)
    if edge:
        image.draft(image.mode, (_DRAFT_RATIO * edge, _DRAFT_RATIO * edge))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or it cannot be read. A loaded TIFF was turned by its decoder."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - broken EXIF breaks no viewer, and raises nearly anything
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """What a viewer shows: 16 bits shifted to 8, alpha composited on white."""
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    if image.mode == "I":
        return image.point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    canvas = Image.new("RGB", layer.size, "white")
    canvas.paste(layer, mask=layer.getchannel("A"))
    return canvas


def _fit(image: Image.Image, size: tuple[int, int], recipe: InputRecipe, limits: DecodeLimits) -> Image.Image:
    """Resize and crop an RGB image as the recipe says. `size` is the file's, which a draft has made smaller."""
    target = _resized(size, recipe)
    if target is not None:
        # A sliver of 1x50000 would grow to 256x12800000.
        _refuse_huge(*target, limits)
    if target is not None and recipe.crop and limits.draft and recipe.resample != Image.Resampling.NEAREST:
        image = _resize_columns(image, target, recipe)
    else:
        image = image if target is None else image.resize(target, resample=Image.Resampling(recipe.resample))
    image = _crop(image, recipe) if recipe.crop else image
    if image.size != (recipe.width, recipe.height):
        raise ValueError(f"the recipe gives {image.width}x{image.height}, the model takes other sizes")
    return image


def _resize_columns(image: Image.Image, target: tuple[int, int], recipe: InputRecipe) -> Image.Image:
    """The resized image without the columns that will be cropped away: a fifth less CPU for a usual photograph.

    Pillow takes the window as a box in the source's coordinates, in 32-bit floats: some pixels in a thousand differ by
    one level from those of the whole image. (With a window of rows most do, by up to 6 levels: seen in 13.0.)
    """
    resample = Image.Resampling(recipe.resample)
    left = (target[0] - recipe.width) // 2
    if left <= 0:
        return image.resize(target, resample=resample)
    across = image.width / target[0]
    box = (left * across, 0, min((left + recipe.width) * across, image.width), image.height)
    return image.resize((recipe.width, target[1]), resample=resample, box=box)


def _crop(image: Image.Image, recipe: InputRecipe) -> Image.Image:
    """The centre, with black where the image is smaller."""
    left, top = (image.width - recipe.width) // 2, (image.height - recipe.height) // 2
    return image.crop((left, top, left + recipe.width, top + recipe.height))


def _resized(size: tuple[int, int], recipe: InputRecipe) -> tuple[int, int] | None:
    """Width and height after the resize, None where there is none: transformers' `get_resize_output_image_size`."""
    if recipe.resize_height is not None and recipe.resize_width is not None:
        return recipe.resize_width, recipe.resize_height
    if recipe.shortest_edge is None:
        return None
    width, height = size
    longest = int(recipe.shortest_edge * max(size) / min(size))
    return (recipe.shortest_edge, longest) if width <= height else (longest, recipe.shortest_edge)


def limits_from(values: dict[str, Any]) -> DecodeLimits:
    """The limits back from what JSON made of them."""
    return DecodeLimits(**values | {"formats": tuple(values["formats"])})


def recipe_from(values: dict[str, Any]) -> InputRecipe:
    """The recipe back from what JSON made of it."""
    return InputRecipe(**values | {"scale": tuple(values["scale"]), "shift": tuple(values["shift"])})
