"""What people see: any mode of Pillow's as RGB, on a background where it is transparent, in sRGB if asked for."""

from __future__ import annotations

from typing import cast

from PIL import Image, ImageMath

_SIXTEEN_TO_EIGHT = 1 / 256
_THIRTY_TWO_TO_EIGHT = 1 / (1 << 24)
_LARGEST_OF_SIXTEEN = 0xFFFF
_PLAIN = {"RGBa": "RGBA", "La": "LA"}
"""Modes with colours multiplied by alpha, and those without."""


def opaque(image: Image.Image, background: str) -> Image.Image:
    """A loaded image in RGB, as a viewer shows it on this background.

    More than 8 bits are scaled down, not clipped; colours under alpha stay hidden; a transparent colour is transparent.
    """
    if image.mode in _PLAIN:
        image = image.convert(_PLAIN[image.mode])
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _from_integers(image)
    elif image.mode == "F":
        image = _from_floats(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    canvas = Image.new("RGB", layer.size, background)
    canvas.paste(layer, mask=layer.getchannel("A"))
    return canvas


def _from_integers(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of 32 where a pixel says so, to L or LA."""
    wide = image if image.mode == "I" else image.convert("I")
    above = _highest(wide) > _LARGEST_OF_SIXTEEN
    scale = _THIRTY_TWO_TO_EIGHT if above else _SIXTEEN_TO_EIGHT
    grey = wide.point(lambda value: value * scale).convert("L")
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(ImageMath.lambda_eval(lambda of: of["convert"]((of["wide"] != clear) * 255, "L"), wide=wide))
    return grey


def _from_floats(image: Image.Image) -> Image.Image:
    """Grey from black 0 to white 1 where no pixel is above 1, else to white 255."""
    if _highest(image) <= 1:
        image = image.point(lambda value: value * 255)
    return image.convert("L")


def _highest(image: Image.Image) -> float:
    """The highest value of an image with one band."""
    _, highest = cast("tuple[float, float]", image.getextrema())
    return highest
