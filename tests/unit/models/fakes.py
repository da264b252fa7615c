"""Classifiers that keep the contract and misbehave on purpose. An image's label is the value of its first pixel."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from worker.errors import Fatal
from worker.models.classifier import OutOfMemory, PixelBatch, ScoreBatch
from worker.recipe import InputRecipe
from worker.records import ModelIdentity

RECIPE = InputRecipe(4, 4, 4, 4, None, 2, False, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
LABELS = tuple(f"value {value}" for value in range(256))

RAISES, NOT_FINITE, FATAL = 250, 251, 252
"""First pixels that make the model raise, answer with NaN, or lose its device."""


def pixels(value: int) -> npt.NDArray[np.uint8]:
    return np.full((4, 4, 3), value, np.uint8)


class Fake:
    """Scores 1 for the label of the first pixel, unless the pixel asks for trouble or the batch is too large."""

    identity = ModelIdentity("fake", "0" * 40, "f" * 64, "numpy", "fp32")
    labels = LABELS
    recipe = RECIPE

    def __init__(self, fits: int = 1_000) -> None:
        self.fits = fits
        self.sizes: list[int] = []

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        self.sizes.append(len(batch))
        if len(batch) > self.fits:
            raise OutOfMemory(f"{len(batch)} images did not fit")
        values = batch[:, 0, 0, 0]
        if FATAL in values:
            raise Fatal("the device is lost")
        if RAISES in values:
            raise ValueError("no such image")
        scores = np.zeros((len(batch), len(LABELS)), np.float32)
        scores[np.arange(len(batch)), values] = 1.0
        scores[values == NOT_FINITE] = np.nan
        return scores


class Held(Fake):
    """Waits in `predict` until it is let go, so that a test decides when the model is busy."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self._go = threading.Semaphore(0)

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        self.entered.release()
        self._go.acquire()
        return super().predict(batch)

    def let_go(self, batches: int = 1) -> None:
        self._go.release(batches)
