"""The parent's cost of decoding: CPU time of the worker's own process for an image that goes through the decode pool.

The encoded bytes are in memory already, and nothing follows: what is measured is the copy to a process, the two
messages, the copy of the pixels back, and the event loop between them. The decode processes' own time is not in it.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from benchmarks.report import Report
from benchmarks.stage import corpus
from worker.images.pool import DecodePool
from worker.images.settings import ImagesSettings
from worker.observe.metrics import Metrics
from worker.records import EncodedImage
from worker.testing import RECIPE_224

_AT_ONCE = 16
_ROUNDS = 5
_AIM_MS = 0.4


def run(quick: bool) -> Report:
    images = [EncodedImage(path.read_bytes()) for path in sorted((corpus() / "imagenet-sample").glob("*.JPEG"))]
    rounds_ms = asyncio.run(_measure(images, 200 if quick else 2000, 1 if quick else _ROUNDS))
    median_ms = statistics.median(rounds_ms)
    return Report(
        "the parent's cost of decoding",
        f"{median_ms:.2f} ms of CPU an image",
        f"<= {_AIM_MS} ms",
        median_ms <= _AIM_MS,
        {
            "ms an image, by round": [round(each, 3) for each in rounds_ms],
            "KiB of an image, mean": round(statistics.fmean(len(image.data) for image in images) / 1024),
            "times the two copies alone": round(median_ms / _copies_ms(images), 1),
        },
    )


async def _measure(images: list[EncodedImage], count: int, rounds: int) -> list[float]:
    """Milliseconds of this process for each image, by round."""
    pool = DecodePool(ImagesSettings(decode_processes=2), RECIPE_224, Metrics())
    await pool.start()
    try:
        await _round(pool, images, len(images))
        return [await _round(pool, images, count) for _ in range(rounds)]
    finally:
        await pool.close()


def _copies_ms(images: list[EncodedImage]) -> float:
    """Milliseconds an image for what no way round is known for: its bytes to other memory, its pixels from there."""
    shared = bytearray(max(len(image.data) for image in images))
    pixels = bytes(RECIPE_224.height * RECIPE_224.width * 3)
    before_s = time.process_time()
    for image in images:
        shared[: len(image.data)] = image.data
        bytearray(pixels)
    return (time.process_time() - before_s) / len(images) * 1000


async def _round(pool: DecodePool, images: list[EncodedImage], count: int) -> float:
    todo = iter(range(count))

    async def carry() -> None:
        for number in todo:
            await pool.decode(images[number % len(images)])

    before_s = time.process_time()
    await asyncio.gather(*(carry() for _ in range(_AT_ONCE)))
    return (time.process_time() - before_s) / count * 1000
