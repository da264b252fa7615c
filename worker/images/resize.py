"""From an image's size to the model's: resize and crop as the recipe says, and no more work than is seen."""

from __future__ import annotations

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from worker.images import simd
from worker.images.limits import DecodeLimits, refuse_pixels
from worker.recipe import InputRecipe

Size = tuple[int, int]


def draft(image: Image.Image, recipe: InputRecipe, ratio: int) -> None:
    """Let libjpeg scale down by 2, 4 or 8 where at least `ratio` times the wanted size is left. 0: not at all.

    Not for other formats: what HEIC's plugin calls a draft is a thumbnail, which may show something else.
    """
    edge = recipe.shortest_edge or max(recipe.resize_height or 0, recipe.resize_width or 0)
    if edge and ratio and isinstance(image, JpegImageFile):
        image.draft(image.mode, (ratio * edge, ratio * edge))


def resize(image: Image.Image, size: Size, recipe: InputRecipe, limits: DecodeLimits) -> Image.Image:
    """The image resized as the recipe says. `size` is the file's, which a draft has made smaller.

    Raises Rejected with TOO_MANY_PIXELS: a sliver of 1x50000 would grow to 256x12800000.
    """
    target = _resized(size, recipe)
    if target is None:
        return image
    refuse_pixels(*target, limits)
    resample = Image.Resampling(recipe.resample)
    width, left, columns = _window(image.width, target[0], recipe, limits)
    # Not after a draft: one approximation is enough, and there the time goes elsewhere.
    if limits.simd_resize and image.size == size and simd.can_resize(image, resample):
        return simd.resize(image, (width, target[1]), resample, left, columns)
    # Pillow takes the box in 32-bit floats: of a window, some pixels in a thousand differ by a level.
    box = None if columns == image.width else (left, 0, left + columns, image.height)
    return image.resize((width, target[1]), resample=resample, box=box)


def cut(image: Image.Image, recipe: InputRecipe) -> Image.Image:
    """The centre of a resized image, if the recipe crops; smaller than the model's input where the image is."""
    if not recipe.crop:
        return image
    width, height = min(image.width, recipe.width), min(image.height, recipe.height)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def pad(image: Image.Image, recipe: InputRecipe) -> Image.Image:
    """An image of the model's size: black around one that was smaller than the crop.

    Raises ValueError where what comes out is of another size.
    """
    if recipe.crop and image.size != (recipe.width, recipe.height):
        left, top = (image.width - recipe.width) // 2, (image.height - recipe.height) // 2
        image = image.crop((left, top, left + recipe.width, top + recipe.height))
    if image.size != (recipe.width, recipe.height):
        raise ValueError(f"the recipe gives {image.width}x{image.height}, the model takes other sizes")
    return image


def _window(image_width: int, target_width: int, recipe: InputRecipe, limits: DecodeLimits) -> tuple[int, float, float]:
    """The columns that will not be cropped away: their number in the target, and in the image the first and how many.

    A fifth less CPU for a usual photograph. Not so with rows: of a window of rows most pixels differ, by up to 6 levels
    (seen in Pillow 13.0).
    """
    left = (target_width - recipe.width) // 2
    if not (recipe.crop and limits.skip_cropped) or left <= 0 or recipe.resample == Image.Resampling.NEAREST:
        return target_width, 0.0, float(image_width)
    across = image_width / target_width
    return recipe.width, left * across, min(recipe.width * across, image_width - left * across)


def _resized(size: Size, recipe: InputRecipe) -> Size | None:
    """Width and height after the resize, None where there is none: transformers' `get_resize_output_image_size`."""
    if recipe.resize_height is not None and recipe.resize_width is not None:
        return recipe.resize_width, recipe.resize_height
    if recipe.shortest_edge is None:
        return None
    width, height = size
    longest = int(recipe.shortest_edge * max(size) / min(size))
    return (recipe.shortest_edge, longest) if width <= height else (longest, recipe.shortest_edge)
