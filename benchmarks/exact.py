"""The settings with which an image's pixels are exactly the reference's: all the work that the bare way does."""

from __future__ import annotations

from typing import Any

SETTINGS: dict[str, Any] = {"draft": 0, "skip_cropped": False, "simd_resize": False, "colour_profiles": False}
"""Of the section `images`."""
FLAGS = tuple(f"images.{name}={str(value).lower()}" for name, value in SETTINGS.items())
"""The same for a command line."""
