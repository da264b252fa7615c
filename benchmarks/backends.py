"""Backends: the demo's model on torch, on ONNX Runtime, and there in int8, over photographs whose labels are known.

Each photograph is decoded once, by the decode processes with the default settings. What is compared is the label with
the highest score, and images a second of the model alone in batches of 32.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.chain import pool
from benchmarks.report import Report
from benchmarks.stage import corpus
from worker.models import export as exporting
from worker.models.classifier import Classifier, PixelBatch, ScoreBatch
from worker.models.fastest import rate
from worker.models.load import load
from worker.models.provenance.lock import write
from worker.models.provenance.locking import lock_of
from worker.models.settings import DEMO, ModelSettings
from worker.records import EncodedImage

_BATCH = 32
_FEW = 40
_ROUNDS, _ROUND_S = 5, 4.0
_AIM_SAME, _AIM_POINTS = 0.995, 0.5
_TORCH, _ONNX, _INT8 = "torch", "ONNX Runtime", "ONNX Runtime, int8"


@dataclass(frozen=True, slots=True)
class Photographs:
    """Decoded, each with the index of its label."""

    pixels: PixelBatch
    truth: npt.NDArray[np.intp]


def run(quick: bool) -> Report:
    models = _models()
    photographs = _photographs(models[_TORCH], _FEW if quick else None)
    scores = {name: _scores(model, photographs.pixels) for name, model in models.items()}
    rounds = [
        _rates(models, photographs.pixels[:_BATCH], 1.0 if quick else _ROUND_S) for _ in range(1 if quick else _ROUNDS)
    ]
    same = {name: _same(scores[name], scores[_TORCH]) for name in (_ONNX, _INT8)}
    top_1 = {name: float((each.argmax(axis=1) == photographs.truth).mean()) for name, each in scores.items()}
    points = {name: 100 * (top_1[name] - top_1[_TORCH]) for name in same}
    faster = statistics.median(each[_ONNX] / each[_TORCH] for each in rounds)
    return Report(
        "ONNX Runtime against torch",
        f"labels equal in {same[_ONNX]:.1%}, top-1 {points[_ONNX]:+.1f} points, {faster:.1f} times the images/s",
        f"labels >= {_AIM_SAME:.1%}, top-1 within {_AIM_POINTS} points",
        same[_ONNX] >= _AIM_SAME and abs(points[_ONNX]) <= _AIM_POINTS,
        {
            "photographs": len(photographs.truth),
            **{f"{name}: top-1": f"{each:.1%}" for name, each in top_1.items()},
            **{f"{name}: labels equal to torch's": f"{each:.1%}" for name, each in same.items()},
            **{f"{name}: largest change of a score": _change(scores[name], scores[_TORCH]) for name in same},
            "int8: top-1, points from torch": round(points[_INT8], 2),
            **{f"{name}: images/s, by round": [round(each[name], 1) for each in rounds] for name in models},
            "int8 over fp32 of ONNX Runtime, images/s": round(
                statistics.median(each[_INT8] / each[_ONNX] for each in rounds), 2
            ),
        },
    )


def _models() -> Mapping[str, Classifier]:
    """The demo's model, locked and exported as the commands do it."""
    settings = ModelSettings(device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.lock.toml"
        lock = lock_of(DEMO, settings)
        write(lock, path)
        for export in (exporting.export, exporting.quantise):
            lock = exporting.with_export(lock, export(settings, lock, path))
            write(lock, path)
        locked = settings.model_copy(update={"lock": path})
        on_onnx = locked.model_copy(update={"runtime": "onnx"})
        return {
            _TORCH: load(locked),
            _ONNX: load(on_onnx),
            _INT8: load(on_onnx.model_copy(update={"precision": "int8"})),
        }


def _photographs(model: Classifier, few: int | None) -> Photographs:
    folder = corpus() / "imagenet-sample"
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()[1:]][:few]
    pixels = asyncio.run(_decoded(model, [folder / row[0] for row in rows]))
    return Photographs(pixels, np.array([int(row[1]) for row in rows]))


async def _decoded(model: Classifier, paths: Sequence[Path]) -> PixelBatch:
    async with pool(model.recipe) as decoder:
        pixels = await asyncio.gather(*(decoder.decode(EncodedImage(path.read_bytes())) for path in paths))
    return np.concatenate([each.array for each in pixels])


def _scores(model: Classifier, pixels: PixelBatch) -> ScoreBatch:
    return np.concatenate([model.predict(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)])


def _rates(models: Mapping[str, Classifier], pixels: PixelBatch, for_s: float) -> dict[str, float]:
    rates = {name: rate(model, pixels, for_s) for name, model in models.items()}
    print("  images/s: " + ", ".join(f"{name} {each:.1f}" for name, each in rates.items()), flush=True)
    return rates


def _same(found: ScoreBatch, expected: ScoreBatch) -> float:
    return float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())


def _change(found: ScoreBatch, expected: ScoreBatch) -> str:
    return f"{float(np.abs(found - expected).max()):.1e}"
