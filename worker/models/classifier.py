"""The contract that a model's backend keeps."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from worker.errors import WorkerError
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
