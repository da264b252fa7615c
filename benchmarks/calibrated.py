"""The calibrated batch against batches of 1, 8, 32 and 64: images a second of the bare model, in turns."""

from __future__ import annotations

import statistics
import time

import numpy as np

from benchmarks.report import Report
from worker.models.calibrate import Limits, choose, measure
from worker.models.classifier import PixelBatch
from worker.models.load import load
from worker.models.settings import ModelSettings


def run(quick: bool) -> Report:
    classifier = load(ModelSettings())
    others, seconds = ((1, 4), 1.0) if quick else ((1, 8, 32, 64), 60.0)
    found = measure(classifier, 2 * max(others), seconds, Limits())
    chosen = choose(found, Limits()).size
    recipe = classifier.recipe
    pixels = np.random.default_rng(0).integers(0, 256, (max(others), recipe.height, recipe.width, 3), np.uint8)

    def rate(size: int) -> float:
        batch: PixelBatch = pixels[: min(size, len(pixels))]
        runs = max(1, len(pixels) // len(batch))
        started_s = time.monotonic()
        for _ in range(runs):
            classifier.predict(batch)
        return runs * len(batch) / (time.monotonic() - started_s)

    sizes = sorted({chosen, *others})
    rounds = [{size: rate(size) for size in sizes} for _ in range(1 if quick else 7)]
    ratios = {size: statistics.median(each[chosen] / each[size] for each in rounds) for size in others}
    least = min(ratios.values())
    return Report(
        "the calibrated batch",
        f"{least:.2f} times the best of {', '.join(map(str, others))}, with {chosen} images",
        ">= 1 within the 5 % that calibration gives away",
        least >= 0.95,
        {
            "measured, images/s": {each.size: round(each.images_per_s, 1) for each in found},
            "over each other size": {size: round(ratio, 3) for size, ratio in ratios.items()},
            "by size, images/s": {size: round(statistics.median(each[size] for each in rounds), 1) for size in sizes},
        },
    )
