"""What the int8 export of a model loses against the one in fp32, on images whose labels are known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from rich.progress import Progress

from worker.errors import Fatal
from worker.settings import Settings
from worker.trial.comparison import Result
from worker.trial.rows import Manifest
from worker.trial.run import run


def loss(settings: Settings, lock: Path, manifest: Manifest, progress: Progress) -> dict[str, float]:
    """Top-1 of both exports of a lock, and the share of images with the same label, by name.

    An image that cannot be classified does not count. Raises as `run` does, and Fatal where none is left.
    """
    results = {precision: _results(settings, lock, precision, manifest, progress) for precision in ("fp32", "int8")}
    pairs = [
        (full, int8)
        for full, int8 in zip(results["fp32"], results["int8"], strict=True)
        if full.predicted is not None and int8.predicted is not None
    ]
    if not pairs:
        raise Fatal(f"{manifest.path}: not one image could be classified both in fp32 and in int8")
    return {
        "labelled_images": len(pairs),
        "labelled_top1_fp32": _share(full.right for full, _ in pairs),
        "labelled_top1": _share(int8.right for _, int8 in pairs),
        "labelled_top1_agreement": _share(full.predicted == int8.predicted for full, int8 in pairs),
    }


def _results(settings: Settings, lock: Path, precision: str, manifest: Manifest, progress: Progress) -> list[Result]:
    model = settings.model.model_copy(update={"lock": lock, "runtime": "onnx", "precision": precision, "device": "cpu"})
    trial = asyncio.run(run(settings.model_copy(update={"model": model}), manifest, progress))
    return list(trial.results)


def _share(hits: Iterable[bool]) -> float:
    counted = list(hits)
    return sum(counted) / len(counted)
