"""Backends of other people: entry points of the group `image_worker.classifiers`, by the name in model.runtime."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast

from worker.errors import ConfigurationError
from worker.models.classifier import Classifier
from worker.models.lines import first_line
from worker.models.settings import ModelSettings

GROUP = "image_worker.classifiers"
OURS = ("torch", "onnx", "auto")
"""Names of model.runtime that no plugin can take."""

Loader = Callable[[ModelSettings], Classifier]


def loader(runtime: str) -> Loader | None:
    """Loads a model with the backend of this name; None where it is one of OURS. Raises ConfigurationError."""
    if runtime in OURS:
        return None
    found = {point.name: point for point in entry_points(group=GROUP)}
    if runtime not in found:
        others = ", ".join(sorted(found)) or "none"
        raise ConfigurationError(
            f"model.runtime: there is no {runtime!r}: write {', '.join(OURS)}, or one of an installed package's entry"
            f" points in {GROUP} ({others})"
        )
    try:
        return cast(Loader, found[runtime].load())
    except Exception as error:
        raise ConfigurationError(
            f"model.runtime: {runtime!r} ({found[runtime].value}) cannot be imported: {first_line(error)}"
        ) from error
