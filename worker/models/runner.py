"""One batch through the model, whatever the model does with it. Called in the inference thread."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.errors import Fatal, Reason, Rejected
from worker.models.batch import Bisection
from worker.models.classifier import Classifier, OutOfMemory, PixelBatch, ScoreBatch

Scores = npt.NDArray[np.float32]
"""(L,) float32: one image's score for each label."""
Result = Scores | Rejected
"""The scores of an image, or why it has none."""


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a batch."""

    results: list[Result]
    """One for each image, in their order."""
    started_s: float
    """By the monotonic clock."""
    compute_s: float
    splits: int
    """How often the batch or a part of it was split because the model failed on it."""


class Runner:
    """Runs batches so that a failure costs no image but the one that causes it.

    `ceiling` is the largest batch that is tried: it starts without bound and falls when the device's memory is too
    small. The inference thread owns it.
    """

    def __init__(self, classifier: Classifier, max_size: int) -> None:
        self._classifier = classifier
        self.ceiling = max_size

    def run(self, pixels: PixelBatch) -> Run:
        """Scores (N, H, W, 3) uint8 pixels. Raises Fatal where the model cannot go on at all."""
        started_s, splits = time.monotonic(), 0
        results: dict[int, Result] = {}
        work = Bisection(len(pixels))
        while (span := work.next(self.ceiling)) is not None:
            outcome = self._attempt(pixels[span.start : span.stop])
            if not isinstance(outcome, Rejected):
                results.update(zip(range(span.start, span.stop), _checked(outcome), strict=True))
            elif work.failed(span):
                splits += 1
            else:
                results[span.start] = outcome
        in_order = [results[index] for index in range(len(pixels))]
        return Run(in_order, started_s, time.monotonic() - started_s, splits)

    def _attempt(self, pixels: PixelBatch) -> ScoreBatch | Rejected:
        """The scores, or what to say of the image if it turns out to be alone."""
        try:
            scores = self._classifier.predict(pixels)
        except OutOfMemory as error:
            self.ceiling = max(1, len(pixels) // 2)
            return Rejected(Reason.MODEL_FAILED, str(error))
        except Fatal:
            raise
        except Exception as error:  # noqa: BLE001  (a backend may raise anything; bisection finds the image)
            return Rejected(Reason.MODEL_FAILED, f"{type(error).__name__}: {error}")
        if scores.shape != (len(pixels), len(self._classifier.labels)):
            raise Fatal(
                f"the model gave scores of shape {scores.shape} for {len(pixels)} images: its backend is broken"
            )
        return scores


def _checked(scores: ScoreBatch) -> list[Result]:
    if np.isfinite(scores).all():
        return list(scores)
    return [row if np.isfinite(row).all() else _not_finite(row) for row in scores]


def _not_finite(row: Scores) -> Rejected:
    count = int(np.count_nonzero(~np.isfinite(row)))
    return Rejected(Reason.INVALID_SCORES, f"{count} of {len(row)} scores are not finite numbers")
