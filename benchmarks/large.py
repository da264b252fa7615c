"""Large: JPEGs of 12 megapixels with the default settings, over the same with exactly the reference's pixels.

The corpus has no photographs as a telephone takes them, so its own are enlarged to 12 megapixels. What the shortcuts
cost in answers is seen with the real model: the top-1 of all labelled photographs, enlarged four times in each
direction, with and without them.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.chain import PROCESSES, Spent, pool, spend
from benchmarks.exact import SETTINGS as EXACT
from benchmarks.report import Report
from benchmarks.stage import corpus
from worker.models.classifier import Classifier
from worker.models.load import load
from worker.models.settings import ModelSettings
from worker.records import EncodedImage, Pixels

_MEGAPIXELS = 12
_TIMES = 4
_MOST_PIXELS = 48_000_000
"""What is large already is enlarged less: above 50 million an image is refused."""
_BATCH = 32


def run(quick: bool) -> Report:
    paths = sorted((corpus() / "imagenet-sample").glob("*.JPEG"))
    few, rounds, labelled = (8, 1, 16) if quick else (50, 3, len(paths))
    with ProcessPoolExecutor(PROCESSES) as processes:
        large = list(processes.map(_to_12_megapixels, paths[:: len(paths) // few][:few]))
        enlarged = list(processes.map(_four_times, paths[:labelled]))
    rounds_spent = asyncio.run(_times(large, rounds))
    ratio = statistics.median(exact.wall_s / default.wall_s for default, exact in rounds_spent)
    model = load(ModelSettings(device="cpu"))
    differ = _differ(model, [path.name for path in paths], enlarged)
    same = 1 - len(differ) / len(enlarged)
    return Report(
        "large photographs",
        f"{ratio:.2f} times faster than exact; top-1 the same in {same:.1%}",
        ">= 2, top-1 the same in >= 99.7 %",
        ratio >= 2 and same >= 0.997,
        {
            "images of 12 megapixels": few,
            "their mean size, MB": round(statistics.mean(map(len, large)) / 1e6, 1),
            "default, ms of CPU an image": [round(default.ms, 1) for default, _ in rounds_spent],
            "exact, ms of CPU an image": [round(exact.ms, 1) for _, exact in rounds_spent],
            "default, images/s": [round(default.rate, 1) for default, _ in rounds_spent],
            "exact, images/s": [round(exact.rate, 1) for _, exact in rounds_spent],
            "top-1 compared, images": len(enlarged),
            "top-1 that differ": differ or "none",
        },
    )


def _to_12_megapixels(path: Path) -> bytes:
    return _enlarge(path, lambda pixels: (_MEGAPIXELS * 1e6 / pixels) ** 0.5)


def _four_times(path: Path) -> bytes:
    return _enlarge(path, lambda pixels: min(_TIMES, (_MOST_PIXELS / pixels) ** 0.5))


def _enlarge(path: Path, scale: Callable[[int], float]) -> bytes:
    with Image.open(path) as image:
        by = scale(image.width * image.height)
        size = (int(image.width * by), int(image.height * by))
        larger = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    stream = BytesIO()
    larger.save(stream, "JPEG", quality=90)
    return stream.getvalue()


async def _times(images: Sequence[bytes], rounds: int) -> list[tuple[Spent, Spent]]:
    """What the default and exact pixels took, by rounds."""
    spent = []
    async with AsyncExitStack() as stack:
        default = (await stack.enter_async_context(pool())).decode
        exact = (await stack.enter_async_context(pool(**EXACT))).decode
        encoded = [EncodedImage(image) for image in images]
        for number in range(rounds):
            measure = partial(spend, items=encoded, count=len(encoded), at_once=2 * PROCESSES)
            spent.append((await measure(default), await measure(exact)))
            shown = ", ".join(f"{one.ms:.1f}" for one in spent[-1])
            print(f"  round {number + 1}: {shown} ms of CPU an image", flush=True)
    return spent


def _differ(model: Classifier, names: Sequence[str], images: Sequence[bytes]) -> list[str]:
    """The photographs whose top-1 by default is another than with exact pixels."""
    default, exact = (_top_1(model, asyncio.run(_decoded(model, images, **way))) for way in ({}, EXACT))
    found = zip(names, default, exact, strict=False)
    return [f"{name}: {model.labels[one]}, exactly {model.labels[other]}" for name, one, other in found if one != other]


async def _decoded(model: Classifier, images: Sequence[bytes], **settings: object) -> list[Pixels]:
    async with pool(model.recipe, **settings) as decoder:
        return list(await asyncio.gather(*(decoder.decode(EncodedImage(image)) for image in images)))


def _top_1(model: Classifier, pixels: Sequence[Pixels]) -> list[int]:
    found: list[int] = []
    for start in range(0, len(pixels), _BATCH):
        batch = np.concatenate([each.array for each in pixels[start : start + _BATCH]])
        found += [int(best) for best in model.predict(batch).argmax(axis=1)]
    return found
