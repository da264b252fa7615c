"""The faster of several ways to run one model, measured here and now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from worker.models.classifier import Classifier, PixelBatch

_BATCH = 32
"""Images, as `batch.max_size` is by default: near it, the order of two runtimes changes little with it."""
_ROUNDS = 2
_ROUND_S = 1.0


def of(ways: Mapping[str, Callable[[], Classifier]], log: Callable[..., Any]) -> Classifier:
    """Loads each, measures them in turn for some seconds, and gives the one with the most images a second.

    All are in memory meanwhile. The log gets every rate.
    """
    loaded = {name: load() for name, load in ways.items()}
    first = next(iter(loaded.values()))
    shape = (_BATCH, first.recipe.height, first.recipe.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    rates = dict.fromkeys(loaded, 0.0)
    for _ in range(_ROUNDS):
        for name, classifier in loaded.items():
            # The best round: what else runs on the machine only ever takes away.
            rates[name] = max(rates[name], rate(classifier, pixels, _ROUND_S))
    best = max(rates, key=lambda name: rates[name])
    log("model.runtime", runtime=best, images_per_s={name: round(each, 1) for name, each in rates.items()})
    return loaded[best]


def rate(classifier: Classifier, pixels: PixelBatch, for_s: float) -> float:
    """Images a second of one batch again and again, after one that warms up; at least one is measured."""
    classifier.predict(pixels)
    started_s, count = time.perf_counter(), 0
    while True:
        classifier.predict(pixels)
        spent_s, count = time.perf_counter() - started_s, count + 1
        if spent_s >= for_s:
            return count * len(pixels) / spent_s
