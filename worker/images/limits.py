"""What a decoding may take, and what of it is refused before any pixel is decoded. Knows no decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker.errors import Reason, Rejected


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What is decoded at all, how much work it may be, and how it is shown. Named and explained as in the settings."""

    formats: tuple[str, ...]
    max_pixels: int
    max_edge_pixels: int
    max_aspect_ratio: float
    max_frames: int
    max_scan_pixels: int
    frames: int
    truncated_rows_missing: float
    background: str
    colour_profiles: bool
    draft: int
    skip_cropped: bool
    simd_resize: bool


def limits_from(values: dict[str, Any]) -> DecodeLimits:
    """The limits back from what JSON made of them."""
    return DecodeLimits(**values | {"formats": tuple(values["formats"])})


def refuse_size(width: int, height: int, limits: DecodeLimits) -> None:
    """Raises Rejected with BROKEN_IMAGE, EDGE_TOO_LONG, ASPECT_TOO_EXTREME or TOO_MANY_PIXELS."""
    if width <= 0 or height <= 0:
        raise Rejected(Reason.BROKEN_IMAGE, "the image has no pixels")
    longest, shortest = max(width, height), min(width, height)
    if longest > limits.max_edge_pixels:
        raise Rejected(Reason.EDGE_TOO_LONG, f"{width}x{height} has an edge above {limits.max_edge_pixels} pixels")
    if longest > limits.max_aspect_ratio * shortest:
        raise Rejected(Reason.ASPECT_TOO_EXTREME, f"{width}x{height} is beyond {limits.max_aspect_ratio:g} to 1")
    refuse_pixels(width, height, limits)


def refuse_pixels(width: int, height: int, limits: DecodeLimits) -> None:
    """Raises Rejected with TOO_MANY_PIXELS."""
    if width * height > limits.max_pixels:
        raise Rejected(Reason.TOO_MANY_PIXELS, f"{width}x{height} is more than {limits.max_pixels} pixels")


def refuse_frames(pixels: int, count: int, last: int, limits: DecodeLimits) -> None:
    """Raises Rejected with TOO_MANY_FRAMES, for their number or for the work up to frame `last`.

    Frames build on one another, so to see a late one is to decode those before it.
    """
    if count > limits.max_frames:
        raise Rejected(Reason.TOO_MANY_FRAMES, f"the animation has more than {limits.max_frames} frames")
    if last and pixels * (last + 1) > limits.max_scan_pixels:
        raise Rejected(
            Reason.TOO_MANY_FRAMES,
            f"{last + 1} frames of {pixels} pixels are more than {limits.max_scan_pixels} pixels",
        )


def refuse_other_size(declared: tuple[int, int], found: tuple[int, int]) -> None:
    """Raises Rejected with SIZE_MISMATCH where the pixels are not as many as the head said: nobody checked these."""
    if found != declared:
        raise Rejected(Reason.SIZE_MISMATCH, "{}x{} declared, {}x{} found".format(*declared, *found))
