"""Answers for the tests of figures: made through the sheet that a trial fills."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from worker.trial.answers import Answers, AnswerSheet
from worker.trial.classes import Classes


def classes(count: int) -> Classes:
    return Classes(tuple("abcdefghijklmnopqrstuvwxyz"[:count]), np.arange(count))


def answers(truth: Sequence[int], scores: Sequence[Sequence[float]]) -> Answers:
    sheet = AnswerSheet(classes(len(scores[0])))
    for one, row in zip(truth, scores, strict=True):
        sheet.add(one, np.array(row, np.float32))
    return sheet.answers()


def sure(truth: Sequence[int], predicted: Sequence[int], confidence: Sequence[float] | float, labels: int) -> Answers:
    """Each image's predicted class has this confidence, and the others share the rest."""
    confidences = np.broadcast_to(np.array(confidence), (len(truth),))
    rows = []
    for label, score in zip(predicted, confidences.tolist(), strict=True):
        row = [(1 - score) / (labels - 1)] * labels
        row[label] = score
        rows.append(row)
    return answers(truth, rows)


@st.composite
def any_answers(draw: st.DrawFn) -> Answers:
    """Of 1 to 40 images and 2 to 8 labels, softmax of anything, ties among them."""
    images, labels = draw(st.integers(1, 40)), draw(st.integers(2, 8))
    logits = draw(arrays.arrays(np.float32, (images, labels), elements=st.sampled_from([-3.0, 0.0, 0.5, 1.0, 4.0])))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = draw(st.lists(st.integers(0, labels - 1), min_size=images, max_size=images))
    return answers(truth, scores.tolist())
