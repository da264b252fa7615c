"""What the batcher and the inference thread cost: images a second through them, over a bare loop of the same model.

The same images in the same batches: in the bare loop they lie ready, one batch after the other; through the batcher
each image joins on its own and gets its own answer, as in the worker. The two take turns, batch by batch of the same
number, so that a busy machine is busy for both.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import numpy as np

from benchmarks.report import Report
from worker.models.classifier import Classifier, PixelBatch
from worker.models.inference import Batcher
from worker.models.load import load
from worker.models.settings import BatchSettings, ModelSettings
from worker.observe.metrics import Metrics

_SIZE = 16
_AT_ONCE = 3
"""Batches that are kept on their way: one is computed, one stands ready, one gathers."""


def run(quick: bool) -> Report:
    ratios, rates = asyncio.run(_run(1 if quick else 12, 2 if quick else 8))
    ratio = statistics.median(ratios)
    return Report(
        "overhead of the inference thread",
        f"{ratio - 1:+.1%} of time over the bare loop",
        "<= 3 %",
        ratio <= 1.03,
        {
            "images in a batch": _SIZE,
            "time over the bare loop's, by round": [round(each, 3) for each in ratios],
            **rates,
        },
    )


async def _run(rounds: int, batches: int) -> tuple[list[float], dict[str, list[float]]]:
    classifier = load(ModelSettings())
    recipe = classifier.recipe
    count = _SIZE * batches
    pixels = np.random.default_rng(0).integers(0, 256, (count, recipe.height, recipe.width, 3), np.uint8)
    batcher = Batcher(classifier, BatchSettings(max_size=_SIZE, max_age_ms=1000), Metrics())
    batcher.start()
    await through(batcher, pixels, _SIZE)
    _bare(classifier, pixels)
    times = []
    for number in range(rounds):
        if number % 2:
            ours, bare = await through(batcher, pixels, _SIZE), _bare(classifier, pixels)
        else:
            bare, ours = _bare(classifier, pixels), await through(batcher, pixels, _SIZE)
        times.append((ours, bare))
        print(f"  round {number + 1}: {ours:.2f} s, bare {bare:.2f} s: {ours / bare:.3f}", flush=True)
    await batcher.close()
    rates = {
        "through the batcher, images/s": [round(count / ours, 1) for ours, _ in times],
        "bare loop, images/s": [round(count / bare, 1) for _, bare in times],
    }
    return [ours / bare for ours, bare in times], rates


def _bare(classifier: Classifier, pixels: PixelBatch) -> float:
    started_s = time.monotonic()
    for start in range(0, len(pixels), _SIZE):
        classifier.predict(pixels[start : start + _SIZE])
    return time.monotonic() - started_s


async def through(batcher: Batcher, pixels: PixelBatch, size: int) -> float:
    """The seconds that all pixels take in batches of a size, with so many on their way that the model never waits."""
    started_s = time.monotonic()
    to_come = iter(pixels)

    async def feed() -> None:
        for image in to_come:
            await batcher.join(image)

    with batcher.expected():
        await asyncio.gather(*(feed() for _ in range(_AT_ONCE * size)))
    return time.monotonic() - started_s
