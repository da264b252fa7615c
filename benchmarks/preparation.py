"""Preparation: an image's way from RGB to the model's floats, against transformers' own Pillow processor.

Ours is what the decode process and the device do: resize and crop to uint8, then scale and shift the batch. Both sides
start with the same decoded photographs, and both run on one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import exact
from benchmarks.report import Report
from benchmarks.stage import corpus
from worker.images.limits import DecodeLimits
from worker.images.resize import cut, pad, resize
from worker.images.settings import ImagesSettings
from worker.models.backends.processor import read
from worker.models.backends.torch import Normalise
from worker.models.demo import demo_model
from worker.recipe import InputRecipe

_BATCH = 32
_ROUNDS = 3
Way = Callable[[list[Image.Image]], torch.Tensor]


def run(quick: bool) -> Report:
    directory = demo_model()
    recipe = read(directory)
    ways = {
        "transformers": _theirs(directory),
        "exact": _ours(recipe, ImagesSettings(**exact.SETTINGS)),
        "default": _ours(recipe, ImagesSettings()),
    }
    paths = sorted((corpus() / "imagenet-sample").glob("*.JPEG"))[: 32 if quick else None]
    images = [Image.open(path).convert("RGB") for path in paths]
    torch.set_num_threads(1)
    rounds = [{name: _cpu_ms(way, images) for name, way in ways.items()} for _ in range(1 if quick else _ROUNDS)]
    ratio, same = (statistics.median(ms[name] / ms["transformers"] for ms in rounds) for name in ("default", "exact"))
    differ, same_differ = (_difference(ways["transformers"], ways[name], images) for name in ("default", "exact"))
    return Report(
        "preparation",
        f"{same:.2f} of the CPU of transformers' processor within {same_differ:.1e} (exact), {ratio:.2f} by default",
        "<= 0.33 within 1e-6",
        same <= 1 / 3 and same_differ <= 1e-6,
        {
            "photographs": len(images),
            "ms of CPU an image, by round": [{name: round(value, 2) for name, value in ms.items()} for ms in rounds],
            "largest difference by default": round(differ, 4),
        },
    )


def _theirs(directory: Path) -> Way:
    from transformers import AutoImageProcessor

    processor: Any = AutoImageProcessor.from_pretrained(directory, backend="pil", local_files_only=True)
    return lambda images: torch.cat([processor(image, return_tensors="pt")["pixel_values"] for image in images])


def _ours(recipe: InputRecipe, settings: ImagesSettings) -> Way:
    names = [field.name for field in fields(DecodeLimits)]
    limits = DecodeLimits(**{name: getattr(settings, name) for name in names})
    normalise = Normalise(recipe, torch.float32)

    def prepare(images: list[Image.Image]) -> torch.Tensor:
        batch = np.empty((len(images), recipe.height, recipe.width, 3), np.uint8)
        for row, image in zip(batch, images, strict=True):
            row[:] = np.asarray(pad(cut(resize(image, image.size, recipe, limits), recipe), recipe))
        with torch.inference_mode():
            return normalise(torch.from_numpy(batch))

    return prepare


def _cpu_ms(way: Way, images: list[Image.Image]) -> float:
    started_s = time.process_time()
    for start in range(0, len(images), _BATCH):
        way(images[start : start + _BATCH])
    return 1000 * (time.process_time() - started_s) / len(images)


def _difference(one: Way, other: Way, images: list[Image.Image]) -> float:
    """The largest, of any number of any image."""
    parts = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    return max(float((one(part) - other(part)).abs().max()) for part in parts)
