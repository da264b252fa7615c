"""Resizing with SIMD, as Pillow does it: the same filters, across first and then down, in fixed point.

Four times as fast as Pillow. Its coefficients have 16 bits where Pillow's have more, so some 4 pixels in a thousand
differ, by 2 levels at most. (In one step the library goes down first, which gives other pixels: up to 13 levels.)
The image goes over as bytes: a copy costs 0.1 ms, and needs nothing of what is inside Pillow.
"""

from __future__ import annotations

from PIL import Image

try:
    import cykooz_resizer
except ImportError:  # there is no wheel for every machine: Pillow does it then
    cykooz_resizer = None

_MAX_PIXELS = 8_000_000
"""Above, the copy would cost more memory than the time is worth."""
_BYTES_A_PIXEL = "RGBX"
_FILTERS = {
    Image.Resampling.BOX: "box",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "catmull_rom",
    Image.Resampling.LANCZOS: "lanczos3",
}
"""Pillow's filters that the library has, by its names; its Catmull-Rom is Pillow's bicubic."""


def available() -> bool:
    """Whether the library is there for this machine."""
    return cykooz_resizer is not None


def can_resize(image: Image.Image, resample: Image.Resampling) -> bool:
    """Whether this image can be resized here with this filter."""
    return available() and image.mode == "RGB" and image.width * image.height <= _MAX_PIXELS and resample in _FILTERS


def resize(
    image: Image.Image, size: tuple[int, int], resample: Image.Resampling, left: float, width: float
) -> Image.Image:
    """An RGB image resized to `size`, of its columns from `left` on, `width` of them, all rows."""
    across = _new(size[0], image.height)
    source = cykooz_resizer.ImageData(
        image.width, image.height, cykooz_resizer.PixelType.U8x4, image.tobytes("raw", _BYTES_A_PIXEL)
    )
    resizer = cykooz_resizer.Resizer()
    columns = cykooz_resizer.CropBox(left, 0, width, image.height)
    resizer.resize(source, across, _options(resample, columns))
    down = _new(*size)
    resizer.resize(across, down, _options(resample, None))
    return Image.frombytes("RGB", size, down.get_buffer(), "raw", _BYTES_A_PIXEL)


def _new(width: int, height: int) -> cykooz_resizer.ImageData:
    return cykooz_resizer.ImageData(width, height, cykooz_resizer.PixelType.U8x4)


def _options(resample: Image.Resampling, columns: cykooz_resizer.CropBox | None) -> cykooz_resizer.ResizeOptions:
    convolution = cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType[_FILTERS[resample]])
    return cykooz_resizer.ResizeOptions(resize_alg=convolution, crop_box=columns, use_alpha=False)
