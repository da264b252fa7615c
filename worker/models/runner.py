"""One batch through the model, whatever the model does with it. Called in the inference thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from worker.errors import Fatal, Reason, Rejected
from worker.models.batch import Bisection, Ceiling
from worker.models.classifier import (
    Classifier,
    OutOfMemory,
    PixelBatch,
    Renews,
    ScoreBatch,
    WorksAhead,
    black,
    head_of,
    no_numbers,
)
from worker.records import Head

Scores = npt.NDArray[np.float32]
"""(L,) float32: one image's score for each label."""
Result = Scores | Rejected
"""The scores of an image, or why it has none."""
Compute = Callable[[], ScoreBatch]


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch that is under way."""

    pixels: PixelBatch
    head: Head
    begun_s: float
    scores: Compute | None
    """Waits for the scores where the device works on them already."""


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a batch."""

    results: list[Result]
    """One for each image, in their order."""
    head: Head
    started_s: float
    """When the device was free for it, by the monotonic clock."""
    compute_s: float
    splits: int
    """How often the batch or a part of it was split because the model failed on it."""


class Runner:
    """Runs batches so that a failure costs no image but the one that causes it. The inference thread owns it."""

    def __init__(self, classifier: Classifier, max_size: int) -> None:
        self._classifier = classifier
        self._free_s = 0.0
        self._under_way = 0
        self.ceiling = Ceiling(max_size)
        self.head = head_of(classifier)
        """Of the batches to come. May be read in any thread."""

    @property
    def at_once(self) -> int:
        """Batches that may be under way: two where one comes to the device while the other is computed there."""
        renewal_waits = isinstance(self._classifier, Renews) and self._classifier.renewal_waits
        return 2 if isinstance(self._classifier, WorksAhead) and not renewal_waits else 1

    def begin(self, pixels: PixelBatch) -> Begun:
        """Start on (N, H, W, 3) uint8 pixels, which stay as they are until `finish`. Raises Fatal."""
        if not self._under_way:
            self._renew()
        self._under_way += 1
        return Begun(pixels, self.head, time.monotonic(), self._ahead(pixels))

    def finish(self, begun: Begun) -> Run:
        """Every image's end. Batches finish in the order in which they began. Raises Fatal where no model is left."""
        started_s, splits = max(begun.begun_s, self._free_s), 0
        results: dict[int, Result] = {}
        work = Bisection(len(begun.pixels))
        while (span := work.next(self.ceiling.size)) is not None:
            pixels = begun.pixels[span.start : span.stop]
            ahead = begun.scores if len(span) == len(begun.pixels) else None
            outcome = self._attempt(ahead or partial(self._classifier.predict, pixels), len(span), begun.head)
            if not isinstance(outcome, Rejected):
                results.update(zip(range(span.start, span.stop), _checked(outcome), strict=True))
            elif work.failed(span):
                splits += 1
            else:
                results[span.start] = outcome
        self._free_s = time.monotonic()
        self._under_way -= 1
        in_order = [results[index] for index in range(len(begun.pixels))]
        self._doubt(in_order)
        return Run(in_order, begun.head, started_s, self._free_s - started_s, splits)

    def _renew(self) -> None:
        if isinstance(self._classifier, Renews):
            self._classifier.renew()
            if self._classifier.labels is not self.head.labels:
                self.head = head_of(self._classifier)

    def _ahead(self, pixels: PixelBatch) -> Compute | None:
        """The batch, begun beside the one under way. What cannot begin so is tried alone, and fails or not then."""
        if not isinstance(self._classifier, WorksAhead) or len(pixels) > self.ceiling.size:
            return None
        try:
            return self._classifier.begin(pixels)
        except Fatal:
            raise
        except Exception:  # noqa: BLE001  (a backend may raise anything; `finish` meets it again)
            return None

    def _attempt(self, compute: Compute, count: int, head: Head) -> ScoreBatch | Rejected:
        """The scores, or what to say of the image if it turns out to be alone."""
        try:
            scores = compute()
        except OutOfMemory as error:
            self.ceiling.fell(count)
            return Rejected(Reason.MODEL_FAILED, str(error))
        except Fatal:
            raise
        except Exception as error:  # noqa: BLE001  (a backend may raise anything; bisection finds the image)
            return Rejected(Reason.MODEL_FAILED, f"{type(error).__name__}: {error}")
        if scores.shape != (count, len(head.labels)):
            raise Fatal(f"the model gave scores of shape {scores.shape} for {count} images: its backend is broken")
        self.ceiling.fitted(count)
        return scores

    def _doubt(self, results: list[Result]) -> None:
        """Where a batch gave no finite scores at all, ask whether it is the model or the images.

        Strangers could send images that make a model overflow: those become dead letters. A model that fails on a
        black image too is broken, and the whole topic would become dead letters: that is fatal.
        """
        if not all(isinstance(result, Rejected) and result.reason is Reason.MODEL_OUTPUT_INVALID for result in results):
            return
        if not np.isfinite(self._classifier.predict(black(self._classifier.recipe))).all():
            raise no_numbers(self.head.identity)


def _checked(scores: ScoreBatch) -> list[Result]:
    if np.isfinite(scores).all():
        return list(scores)
    return [row if np.isfinite(row).all() else _not_finite(row) for row in scores]


def _not_finite(row: Scores) -> Rejected:
    count = int(np.count_nonzero(~np.isfinite(row)))
    return Rejected(Reason.MODEL_OUTPUT_INVALID, f"{count} of {len(row)} scores are not finite numbers")
