"""What a model answered to images whose class is known, kept small. PURE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.trial.classes import Classes

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]

FLOOR = 0.01
"""Scores under it are not kept: no threshold is ever suggested there, and a model of 1000 labels has hundreds."""
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers to N images. Classes are those of `Classes`."""

    classes: int
    truth: Indices
    """(N,): the class of each image."""
    predicted: Indices
    """(N,): the class with the highest score, the first of equals."""
    confidence: Floats
    """(N,): that score."""
    rank: Indices
    """(N,): how many classes come before the true one by their scores; of equals the first comes first."""
    image: Indices
    """(S,): the image of each score that was kept; `label` is its class, `score` the score."""
    label: Indices
    score: Floats
    distribution: bool
    """Whether the scores of each image sum to 1; else each label has a probability of its own (multi-label)."""

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(N,): whether the predicted class is the true one."""
        right: npt.NDArray[np.bool_] = self.predicted == self.truth
        return right


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one image."""

    truth: int
    predicted: int
    confidence: float
    rank: int
    truth_score: float
    """The score of the true class."""


class AnswerSheet:
    """Takes answers one by one. Holds of each some scores above the floor, not all of them."""

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self._taken: list[Answer] = []
        self._labels: list[Indices] = []
        self._scores: list[Floats] = []
        self._distribution = True

    def add(self, truth: int, raw: Floats) -> Answer:
        """Take the scores of an image of that class, (L,) in the order of the model's labels."""
        self._distribution &= bool(abs(float(raw.sum()) - 1) <= _SUM_TOLERANCE)
        scores = self._classes.scores(raw)
        predicted, kept = int(scores.argmax()), np.flatnonzero(scores >= np.float32(FLOOR))
        answer = Answer(truth, predicted, float(scores[predicted]), _rank(scores, truth), float(scores[truth]))
        self._taken.append(answer)
        self._labels.append(kept)
        self._scores.append(scores[kept])
        return answer

    def answers(self) -> Answers:
        """All that was taken, one at least."""
        return Answers(
            classes=len(self._classes.names),
            truth=np.array([answer.truth for answer in self._taken], np.intp),
            predicted=np.array([answer.predicted for answer in self._taken], np.intp),
            confidence=np.array([answer.confidence for answer in self._taken], np.float32),
            rank=np.array([answer.rank for answer in self._taken], np.intp),
            image=np.repeat(np.arange(len(self._taken)), [len(kept) for kept in self._labels]),
            label=np.concatenate(self._labels),
            score=np.concatenate(self._scores),
            distribution=self._distribution,
        )


def _rank(scores: Floats, truth: int) -> int:
    ahead = scores > scores[truth]
    ahead[:truth] |= scores[:truth] == scores[truth]
    return int(np.count_nonzero(ahead))
