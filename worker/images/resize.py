"""From an image's size to the model's: resize and crop as the recipe says, and no more work than is seen."""

from __future__ import annotations

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

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
    if recipe.crop and limits.skip_cropped and resample != Image.Resampling.NEAREST:
        return _resize_columns(image, target, recipe)
    return image.resize(target, resample=resample)


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


def _resize_columns(image: Image.Image, target: Size, recipe: InputRecipe) -> Image.Image:
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


def _resized(size: Size, recipe: InputRecipe) -> Size | None:
    """Width and height after the resize, None where there is none: transformers' `get_resize_output_image_size`."""
    if recipe.resize_height is not None and recipe.resize_width is not None:
        return recipe.resize_width, recipe.resize_height
    if recipe.shortest_edge is None:
        return None
    width, height = size
    longest = int(recipe.shortest_edge * max(size) / min(size))
    return (recipe.shortest_edge, longest) if width <= height else (longest, recipe.shortest_edge)
