"""Which label is taken for which. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.trial.answers import Answers

MOST = 50
"""Confusions in a report."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Images of one label that the model took for another."""

    truth: str
    predicted: str
    count: int
    share: float
    """Of the true label's images."""
    confidence: float
    """Its mean: how sure the model was."""

    @property
    def weight(self) -> float:
        """What confusions are ordered by: the count times the mean confidence. A sure mistake escapes every review."""
        return self.count * self.confidence


def confusions(answers: Answers, names: Sequence[str]) -> list[Confusion]:
    """The gravest, by their weight."""
    images = np.bincount(answers.truth, minlength=answers.classes)
    wrong = ~answers.right
    pair = answers.truth[wrong] * answers.classes + answers.predicted[wrong]
    pairs, place, count = np.unique(pair, return_inverse=True, return_counts=True)
    confidence = np.bincount(place, answers.confidence[wrong], len(pairs)) / count
    found = []
    for both, many, sure in zip(pairs.tolist(), count.tolist(), confidence.tolist(), strict=True):
        truth, predicted = divmod(both, answers.classes)
        found.append(Confusion(names[truth], names[predicted], many, many / int(images[truth]), sure))
    return sorted(found, key=lambda confusion: -confusion.weight)[:MOST]
