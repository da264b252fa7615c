"""The libraries that scores depend on."""

from __future__ import annotations

from importlib.metadata import version

_LIBRARIES = ("image-worker", "numpy", "pillow", "torch", "transformers")


def versions() -> dict[str, str]:
    """Name and version of each, without what is of the build (`+cpu`, `+cu130`)."""
    return {name: version(name).partition("+")[0] for name in _LIBRARIES}
