"""Precision and recall of each label. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.trial.answers import Answers
from worker.trial.bootstrap import Draw, Estimate, Numbers, counts, interval, of_figure, resample

ENOUGH = 10
"""Images below which a share of them has no interval, and their label gets no threshold."""

_Interval = tuple[float | None, float | None]
_NONE: tuple[_Interval, _Interval] = ((None, None), (None, None))


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """How one label fares."""

    label: str
    images: int
    """That have this label."""
    predicted: int
    """That the model gave this label."""
    hits: int
    """Both."""
    precision: Estimate
    """Hits among those predicted; of a label that is never predicted there is none."""
    recall: Estimate
    """Hits among the label's images."""
    f1: float
    """Their harmonic mean."""


def labels(answers: Answers, names: Sequence[str]) -> list[LabelFigures]:
    """The figures of all labels that have images or were predicted, in the model's order."""
    images, predicted, hits = (
        np.bincount(group, minlength=answers.classes)
        for group in (answers.truth, answers.predicted, answers.truth[answers.right])
    )
    enough = np.flatnonzero(images >= ENOUGH)
    intervals = dict(zip(enough.tolist(), _intervals(answers, enough), strict=True))
    found = []
    for label in np.flatnonzero(images + predicted).tolist():
        precise, recalled = intervals.get(label, _NONE)
        many, taken, right = int(images[label]), int(predicted[label]), int(hits[label])
        precision = _ratio(right, taken, precise if taken >= ENOUGH else _NONE[0])
        estimates = precision, _ratio(right, many, recalled)
        found.append(LabelFigures(names[label], many, taken, right, *estimates, 2 * right / (many + taken)))
    return found


def mean_recall(answers: Answers) -> Estimate:
    """The mean of the recalls of all labels that have images: each counts alike, however many it has."""
    present, group = np.unique(answers.truth, return_inverse=True)
    right = answers.right.astype(float)

    def figure(draw: Draw) -> Numbers:
        images, hits = counts(draw, group, len(present)), counts(draw, group, len(present), right)
        recalls: Numbers = (hits / np.maximum(images, 1)).sum(axis=1) / (images > 0).sum(axis=1)
        return recalls

    return of_figure(len(group), figure)


def _ratio(part: int, whole: int, between: _Interval) -> Estimate:
    return Estimate(part / whole, *between) if whole else Estimate(None)


def _intervals(answers: Answers, chosen: npt.NDArray[np.intp]) -> list[tuple[_Interval, _Interval]]:
    """Of each of the chosen labels the intervals of its precision and of its recall."""
    if not len(chosen):
        return []
    groups = len(chosen) + 1  # the last one holds all other labels
    group = np.full(answers.classes, len(chosen), np.intp)
    group[chosen] = np.arange(len(chosen))
    truth, predicted, right = group[answers.truth], group[answers.predicted], answers.right.astype(float)

    def figure(draw: Draw) -> Numbers:
        hits = counts(draw, truth, groups, right)
        with np.errstate(invalid="ignore"):
            both = np.stack([hits / counts(draw, predicted, groups), hits / counts(draw, truth, groups)], axis=1)
        return both[:, :, :-1].astype(np.float32)

    found = resample(len(truth), figure)
    return [(interval(found[:, 0, place]), interval(found[:, 1, place])) for place in range(len(chosen))]
