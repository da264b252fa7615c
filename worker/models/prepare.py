"""The decoder's part of an input recipe, done with plain Pillow: what transformers' image processors do."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image

from worker.models.classifier import PixelBatch
from worker.recipe import InputRecipe


def fitted(recipe: InputRecipe, image: Image.Image) -> Image.Image:
    """The image resized and cropped to the model's input."""
    resample = Image.Resampling(recipe.resample)
    if recipe.shortest_edge is not None:
        edge, short = recipe.shortest_edge, min(image.size)
        width, height = (edge if side == short else int(edge * side / short) for side in image.size)
        image = image.resize((width, height), resample)
    elif recipe.resize_height is not None and recipe.resize_width is not None:
        image = image.resize((recipe.resize_width, recipe.resize_height), resample)
    if recipe.crop:
        left, top = (image.width - recipe.width) // 2, (image.height - recipe.height) // 2
        image = image.crop((left, top, left + recipe.width, top + recipe.height))
    return image


def pixels(recipe: InputRecipe, file: BinaryIO) -> PixelBatch:
    """A batch of the one image in a file of the package's own. A stranger's image belongs into a decode process."""
    with Image.open(file) as image:
        return np.asarray(fitted(recipe, image.convert("RGB")))[None].copy()
