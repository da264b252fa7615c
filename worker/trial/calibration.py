"""Is the model as often right as it is sure? PURE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.trial.answers import Answers, Indices
from worker.trial.bootstrap import Draw, Estimate, Numbers, counts, of_figure

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers with a confidence above `low` and up to `high`."""

    low: float
    high: float
    count: int
    confidence: float | None
    """Mean; None in an empty bin."""
    accuracy: float | None


def bins(answers: Answers) -> list[Bin]:
    """All bins, of equal width, from 0 to 1."""
    place = _in_bin(answers)
    return [_bin(answers, index, place == index) for index in range(BINS)]


def ece(answers: Answers) -> Estimate:
    """Expected calibration error: how far confidence is from accuracy, in the mean over bins by their images.

    (Guo et al., On Calibration of Modern Neural Networks, 2017.)
    """
    place, excess = _in_bin(answers), answers.confidence - answers.right.astype(float)

    def figure(draw: Draw) -> Numbers:
        off: Numbers = np.abs(counts(draw, place, BINS, excess)).sum(axis=1) / len(place)
        return off

    return of_figure(len(place), figure)


def _in_bin(answers: Answers) -> Indices:
    """(N,): each answer's bin."""
    above = np.ceil(answers.confidence.astype(np.float64) * BINS).astype(np.intp)
    return np.clip(above - 1, 0, BINS - 1)


def _bin(answers: Answers, index: int, inside: npt.NDArray[np.bool_]) -> Bin:
    count = int(inside.sum())
    confidence = float(answers.confidence[inside].mean()) if count else None
    accuracy = float(answers.right[inside].mean()) if count else None
    return Bin(index / BINS, (index + 1) / BINS, count, confidence, accuracy)
