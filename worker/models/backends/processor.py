"""transformers' image processor, read as an input recipe and held against it.

A recipe read from attributes could miss a step that a processor does in its own code. So the processor and the recipe
are both run on a few images, and a processor whose numbers the recipe does not give is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from worker.errors import ConfigurationError
from worker.models.lines import first_line
from worker.models.prepare import fitted
from worker.recipe import Colour, InputRecipe

Floats = npt.NDArray[np.float64]

_TOLERANCE = 1e-5
_PROBES = ((301, 467), (449, 320), (97, 64))
_WARPED_FROM = 384
"""From this size on ConvNeXT's processor warps the image and crops nothing (its `resize`)."""
_LARGEST = 4096
"""Pixels of an edge: beyond them one image takes the memory of a machine."""
_LARGER = "Levit"
"""Whose processor resizes to 256/224 of the edge that it states (its `resize`)."""


def read(directory: Path) -> InputRecipe:
    """The recipe of the processor in a model's directory.

    Raises ConfigurationError where there is none, or where it does what the recipe cannot say.
    """
    processor = _processor(directory)
    try:
        recipe = recipe_of(processor)
        with np.errstate(all="ignore"):
            difference = _difference(processor, recipe)
    except Exception as error:
        raise _refused(directory, processor, f"it cannot be read: {first_line(error)}") from error
    if not difference <= _TOLERANCE:  # nor is a difference that is no number
        raise _refused(directory, processor, f"it does more than that: its numbers differ by {difference:.2g}")
    return recipe


def recipe_of(processor: Any) -> InputRecipe:
    """The recipe that a processor's attributes state. Raises ValueError where the input's size is not fixed."""
    geometry = _convnext(processor) if hasattr(processor, "crop_pct") else _geometry(processor)
    scale, shift = _affine(processor)
    colour: Colour = "BGR" if getattr(processor, "do_flip_channel_order", False) else "RGB"
    return InputRecipe(**geometry, resample=int(processor.resample), scale=scale, shift=shift, colour=colour)


def _processor(directory: Path) -> Any:
    import transformers

    auto: Any = transformers.AutoImageProcessor
    try:
        processor = auto.from_pretrained(directory, backend="pil", local_files_only=True, trust_remote_code=False)
    except Exception as error:
        reason = first_line(error)
        raise ConfigurationError(f"model.source: no image processor can be read in {directory}: {reason}") from error
    if getattr(processor, "backend", None) != "pil":
        raise _refused(directory, processor, "it does not use Pillow")
    return processor


def _refused(directory: Path, processor: Any, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"model.source: the image processor {type(processor).__name__} of {directory} is not a resize, a centre crop"
        f" and a normalisation to one fixed size ({why}); use a model whose processor is"
    )


def _geometry(processor: Any) -> dict[str, Any]:
    size, crop = processor.size, processor.crop_size if processor.do_center_crop else None
    height, width = (size.height, size.width) if processor.do_resize else (None, None)
    edge = size.shortest_edge if processor.do_resize else None
    if edge and type(processor).__name__.startswith(_LARGER):
        edge = int(256 / 224 * edge)
    final = (crop.height, crop.width) if crop else (height, width)
    if size.longest_edge or not (final[0] and final[1]):
        raise ValueError(f"its images come out in more than one size ({size})")
    return _sizes(final, (height, width), edge, crop is not None)


def _convnext(processor: Any) -> dict[str, Any]:
    edge = processor.size.shortest_edge
    if edge < _WARPED_FROM:
        return _sizes((edge, edge), (None, None), int(edge / processor.crop_pct), True)
    return _sizes((edge, edge), (edge, edge), None, False)


def _sizes(
    final: tuple[Any, Any], resize: tuple[int | None, int | None], edge: int | None, crop: bool
) -> dict[str, Any]:
    if max(filter(None, (*final, *resize, edge))) > _LARGEST:
        raise ValueError(f"an edge of its images is longer than {_LARGEST}")
    return {
        "height": int(final[0]),
        "width": int(final[1]),
        "resize_height": resize[0],
        "resize_width": resize[1],
        "shortest_edge": edge,
        "crop": crop,
    }


def _affine(processor: Any) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Rescale, offset and one or two normalisations folded into one scale and shift for each channel."""
    scale, shift = np.ones(3), np.zeros(3)
    mean, std = np.asarray(processor.image_mean, float), np.asarray(processor.image_std, float)
    if processor.do_rescale:
        scale = scale * processor.rescale_factor
        shift = shift - (1.0 if getattr(processor, "rescale_offset", False) else 0.0)
    if processor.do_normalize:
        scale, shift = scale / std, (shift - mean) / std
    if getattr(processor, "include_top", False):
        scale, shift = scale / std, shift / std
    return _triple(scale), _triple(shift)


def _triple(values: Floats) -> tuple[float, float, float]:
    red, green, blue = np.broadcast_to(values, (3,)).tolist()
    return red, green, blue


def _difference(processor: Any, recipe: InputRecipe) -> float:
    """The largest difference between processor and recipe on the probes, relative to the numbers' size."""
    random = np.random.default_rng(0)
    differences = []
    for height, width in _PROBES:
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        expected = np.asarray(processor(image, return_tensors="np")["pixel_values"][0], float)
        found = _applied(recipe, image)
        if expected.shape != found.shape:
            raise ValueError(f"it makes {expected.shape} of an image, not {found.shape}")
        differences.append(np.abs(expected - found).max() / max(1.0, np.abs(expected).max()))
    return float(max(differences))


def _applied(recipe: InputRecipe, image: Image.Image) -> Floats:
    pixels = np.asarray(fitted(recipe, image), float)
    in_order = pixels[..., ::-1] if recipe.colour == "BGR" else pixels
    return np.moveaxis(in_order * np.array(recipe.scale) + np.array(recipe.shift), -1, 0)
