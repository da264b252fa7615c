"""A ViT-B/16 in bf16, compiled, on a CUDA device: images a second through batcher and backend, over the bare model.

Bare is transformers' model, compiled by torch, over normalised pixels that lie on the device: nothing is copied there,
normalised or brought back. The weights are random, which costs the same. Both take turns.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.overhead import through
from benchmarks.report import Report
from worker.models.calibrate import Limits, measure
from worker.models.inference import Batcher
from worker.models.load import load
from worker.models.settings import BatchSettings, ModelSettings
from worker.observe.metrics import Metrics

_TITLE, _AIM = "batcher and backend on a CUDA device", ">= 0.95 of the bare compiled model"


def run(quick: bool) -> Report:
    if not torch.cuda.is_available():
        return Report(_TITLE, "torch sees no CUDA device here", _AIM, None)
    rounds, batches = (1, 4) if quick else (7, 60)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = _save(Path(folder))
        # First: the models of the rounds stay on the device.
        memory = measure(load(_settings(checkpoint, compiled=False)), 16 if quick else 1024, 20.0, Limits())
        compiled = {size: asyncio.run(_rounds(checkpoint, size, rounds, batches, compiled=True)) for size in (32, 128)}
        eager = asyncio.run(_rounds(checkpoint, 128, rounds, batches, compiled=False))
    least = min(each.ratio for each in compiled.values())
    return Report(
        _TITLE,
        f"{least:.3f} of the bare compiled model's images/s",
        _AIM,
        least >= 0.95,
        {
            "device": f"{torch.cuda.get_device_name()}, torch {torch.__version__}",
            **{f"compiled, {size} in a batch": str(each) for size, each in compiled.items()},
            "eager, 128 in a batch": str(eager),
            "eager by batch, images/s": {each.size: round(each.images_per_s) for each in memory},
            "eager by batch, MiB on the device": {each.size: round(each.memory_bytes / 2**20) for each in memory},
        },
    )


@dataclass(frozen=True, slots=True)
class _Rates:
    """Images a second, by round."""

    ours: list[float]
    bare: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(ours / bare for ours, bare in zip(self.ours, self.bare, strict=True))

    def __str__(self) -> str:
        ours, bare = statistics.median(self.ours), statistics.median(self.bare)
        return f"{self.ratio:.3f} ({ours:.0f} against {bare:.0f} images/s)"


def _save(folder: Path) -> Path:
    """A ViT-B/16 with random weights, as transformers saves it."""
    config = transformers.ViTConfig(id2label={number: f"class {number}" for number in range(1000)})
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor().save_pretrained(folder)
    return folder


def _settings(checkpoint: Path, *, compiled: bool) -> ModelSettings:
    return ModelSettings(source=str(checkpoint), device="cuda", precision="bf16", compile=compiled)


async def _rounds(checkpoint: Path, size: int, rounds: int, batches: int, *, compiled: bool) -> _Rates:
    classifier = load(_settings(checkpoint, compiled=compiled))
    height, width, count = classifier.recipe.height, classifier.recipe.width, size * batches
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    bare = _bare(checkpoint, size, batches, compiled=compiled)
    batcher = Batcher(classifier, BatchSettings(max_size=size, max_age_ms=1000), Metrics())
    batcher.start()
    # As the worker does: the collector would walk through torch and transformers in the middle of a round.
    gc.collect()
    gc.freeze()
    # Compiles both, and has them take their memory.
    bare()
    await through(batcher, pixels, size)
    times = []
    for number in range(rounds):
        bare_s = bare()
        ours_s = await through(batcher, pixels, size)
        times.append((ours_s, bare_s))
        print(f"  {size} in a batch, round {number + 1}: {ours_s:.2f} s, bare {bare_s:.2f} s", flush=True)
    await batcher.close()
    return _Rates([count / ours for ours, _ in times], [count / bare for _, bare in times])


def _bare(checkpoint: Path, size: int, batches: int, *, compiled: bool) -> Callable[[], float]:
    """Runs the bare model that often, and tells the seconds."""
    auto: Any = transformers.AutoModelForImageClassification
    model = auto.from_pretrained(checkpoint, dtype=torch.bfloat16).eval().to("cuda")
    score = torch.compile(model, dynamic=False) if compiled else model
    pixels = torch.randn(size, 3, 224, 224, dtype=torch.bfloat16, device="cuda")

    @torch.inference_mode()
    def loop() -> float:
        torch.cuda.synchronize()
        started_s = time.monotonic()
        for _ in range(batches):
            score(pixel_values=pixels)
        torch.cuda.synchronize()
        return time.monotonic() - started_s

    return loop
