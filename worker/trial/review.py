"""What a person would have to look at: all that the model is less sure of than a threshold. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.trial.answers import Answers
from worker.trial.labels import ENOUGH

THRESHOLDS = np.arange(100) / 100


@dataclass(frozen=True, slots=True)
class Review:
    """One threshold on the confidence, whatever the label."""

    threshold: float
    reviewed: float
    """Share of all images whose confidence is below it."""
    left: int
    """The images that are not reviewed."""
    error: float | None
    """Share of those that are wrong; None where none are left."""


def review(answers: Answers) -> list[Review]:
    """From threshold 0, where nothing is reviewed, to 0.99."""
    return [_at(answers, float(threshold)) for threshold in THRESHOLDS]


def cheapest(points: Sequence[Review], error: float) -> Review | None:
    """The lowest threshold that leaves no more than this share of errors, and enough images to say so, if any does."""
    good = (point for point in points if point.error is not None and point.error <= error)
    return next((point for point in good if point.left >= ENOUGH), None)


def _at(answers: Answers, threshold: float) -> Review:
    sure = answers.confidence >= np.float32(threshold)
    left = int(sure.sum())
    error = 1 - float(answers.right[sure].mean()) if left else None
    return Review(threshold, 1 - left / len(sure), left, error)
