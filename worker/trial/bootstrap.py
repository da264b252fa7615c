"""Intervals by the percentile bootstrap: the images are drawn anew, with replacement, and the figure taken again. PURE.

The seed is fixed, so the same answers give the same intervals. Where all images agree there is none: the bootstrap
cannot see what is in none of them, and ten of ten right is not 100 % to 100 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Draw = npt.NDArray[np.int32]
"""(B, N): B times N indices of the N images."""
Numbers = npt.NDArray[np.floating[Any]]
Figure = Callable[[Draw], Numbers]
"""Takes (B, N) draws to (B, ...)."""

ROUNDS = 2000
LEVEL = 0.95
_SEED = 20_250
_NO_WIDTH = 1e-9
_DRAWN_AT_ONCE = 500_000
"""Indices: bounds the memory of a pass to some twenty megabytes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval of 95 %. None where there is none to say."""

    value: float | None
    low: float | None = None
    high: float | None = None


def draws(images: int, rounds: int = ROUNDS) -> Iterator[Draw]:
    """All draws, some at a time, always the same ones."""
    random = np.random.default_rng(_SEED)
    at_once = max(1, _DRAWN_AT_ONCE // images)
    for begun in range(0, rounds, at_once):
        yield random.integers(0, images, (min(at_once, rounds - begun), images), np.int32)


def interval(values: Numbers) -> tuple[float | None, float | None]:
    """Of (R,) values of one figure, what the middle 95 % of those that are numbers lie between; None for no width."""
    numbers = values[np.isfinite(values)]
    if not len(numbers):
        return None, None
    low, high = (float(edge) for edge in np.quantile(numbers, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return (low, high) if high - low > _NO_WIDTH else (None, None)


def of_mean(values: npt.NDArray[Any]) -> Estimate:
    """Of the mean of (N,) numbers or truths."""
    return of_figure(len(values), lambda draw: values[draw].mean(axis=1))


def of_figure(images: int, figure: Figure) -> Estimate:
    """Of a figure of N images, 1 at least, that is one number."""
    whole = np.arange(images, dtype=np.int32)[None]
    return Estimate(float(figure(whole)[0]), *interval(resample(images, figure)))


def resample(images: int, figure: Figure) -> Numbers:
    """(R, ...): the figure of every draw."""
    return np.concatenate([figure(draw) for draw in draws(images)])


def counts(draw: Draw, group: npt.NDArray[np.intp], groups: int, weight: Numbers | None = None) -> Numbers:
    """(B, G): how many images, or how much of their weight, each group has in a draw.

    `group`: (N,), that of each image; `weight`: (N,).
    """
    place = group[draw] + groups * np.arange(len(draw))[:, None]
    weights = None if weight is None else weight[draw].ravel()
    return np.bincount(place.ravel(), weights, groups * len(draw)).reshape(len(draw), groups).astype(np.float64)
