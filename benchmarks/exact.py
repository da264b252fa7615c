"""The settings with which an image's pixels are exactly the reference's: all the work that the bare way does."""

from __future__ import annotations

from typing import Any

SETTINGS: dict[str, Any] = {"draft": 0, "skip_cropped": False, "colour_profiles": False}
"""Of the section `images`."""
FLAGS = ("images.draft=0", "images.skip_cropped=false", "images.colour_profiles=false")
"""The same for a command line."""
