"""The way to a loaded model. A backend is imported when it is loaded: nothing here imports torch."""

from __future__ import annotations

import numpy as np

from worker.errors import Fatal
from worker.models.classifier import Classifier, OutOfMemory
from worker.models.settings import ModelSettings


def load(settings: ModelSettings) -> Classifier:
    """The model that the settings name, loaded and warm.

    Raises ConfigurationError where the settings are wrong, Fatal where the model cannot be used; both say what to do.
    """
    from worker.models.backends.torch import load as load_torch

    classifier = load_torch(settings)
    warm_up(classifier)
    return classifier


def warm_up(classifier: Classifier) -> None:
    """Runs one black image through the model. Raises Fatal where it fails or breaks the contract."""
    recipe, name = classifier.recipe, classifier.identity.name
    try:
        scores = classifier.predict(np.zeros((1, recipe.height, recipe.width, 3), np.uint8))
    except OutOfMemory as error:
        raise Fatal(f"model {name} does not fit the device with one image: {error}; use a smaller model") from error
    if scores.shape != (1, len(classifier.labels)):
        raise Fatal(f"model {name} gave scores of shape {scores.shape} for {len(classifier.labels)} labels")
