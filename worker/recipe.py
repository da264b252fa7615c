"""How an image becomes the model's input: what the decode processes and the reference implementation agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = Literal["RGB", "BGR"]


@dataclass(frozen=True, slots=True)
class InputRecipe:
    """Resize and crop on uint8 RGB in the decoder; scale and shift on the device.

    The steps are those of transformers' image processors with their Pillow backend: convert to RGB, resize, centre
    crop, then `pixel * scale[channel] + shift[channel]`. The decoder always gives RGB.
    """

    height: int
    """Of the model's input, in pixels, after the crop."""
    width: int
    resize_height: int | None
    """Resize to exactly this height and width. None where `shortest_edge` rules, or nothing is resized."""
    resize_width: int | None
    shortest_edge: int | None
    """Resize so that the shorter edge has this length, keeping the aspect ratio. None otherwise."""
    resample: int
    """Pillow's number of the filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming."""
    crop: bool
    """Whether the centre is cropped to height and width after the resize (padded with zeros where it is smaller)."""
    scale: tuple[float, float, float]
    """For the model's three channels, in the order that `colour` names; so is `shift`."""
    shift: tuple[float, float, float]
    colour: Colour = "RGB"
    """The order of the channels that the model takes: its backend turns the decoder's RGB round."""
