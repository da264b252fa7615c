"""The contract that a model's backend keeps, and the way to a loaded one.

Nothing here imports torch: a backend is imported when it is loaded.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from worker.errors import Fatal, WorkerError
from worker.models.settings import ModelSettings
from worker.recipe import InputRecipe
from worker.records import ModelIdentity

PixelBatch = npt.NDArray[np.uint8]
"""(N, H, W, 3) uint8, RGB, C-contiguous, at the size of the model's input recipe."""
ScoreBatch = npt.NDArray[np.float32]
"""(N, L) float32: for each image one score for each label."""


class OutOfMemory(WorkerError):
    """The device's memory was too small for this batch. Nothing is broken: a smaller batch may fit."""


class Classifier(Protocol):
    """A loaded model. `predict` is called by one thread at a time, not always the one that loaded it."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the scores, in their order. Two may be equal: ImageNet has two cranes."""

    @property
    def recipe(self) -> InputRecipe:
        """What the decoder makes of an image; scale and shift are the backend's own business."""

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        """Probabilities of each image: softmax over the labels, or a sigmoid each where the model is multi-label.

        The batch is the caller's: it may be overwritten as soon as this returns, and is never written to here.
        A row does not depend on the other images. Raises OutOfMemory when a smaller batch may do, Fatal when the
        device is lost; any other exception is taken as the fault of an image in the batch.
        """


def load(settings: ModelSettings) -> Classifier:
    """The model that the settings name, loaded and warm.

    Raises ConfigurationError where the settings are wrong, Fatal where the model cannot be used; both say what to do.
    """
    from worker.models.torch import load as load_torch

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
