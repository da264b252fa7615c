"""The libraries that scores depend on."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

_ALWAYS = ("image-worker", "numpy", "pillow")
OF_TRANSFORMERS = (*_ALWAYS, "torch", "transformers")
OF_ONNX = (*_ALWAYS, "onnxruntime")


def versions(names: Iterable[str]) -> dict[str, str]:
    """Name and version of each that is installed, without what is of the build (`+cpu`, `+cu130`)."""
    return {name: found.partition("+")[0] for name in names if (found := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
