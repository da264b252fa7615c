"""A model-bound run: the worker with the real model, against the same model in a bare loop.

The bare loop runs the model over batches of the same size that lie ready in memory, and decodes and resizes the same
number of images between them, since on a CPU the model and the decoding share the same cores: what it takes for both is
the least that any worker could take.
"""

from __future__ import annotations

import json
import time

import numpy as np

from benchmarks.cost import decode
from benchmarks.report import Report
from benchmarks.stage import Stage, stage, wait_until_committed, worker
from worker.models.load import load
from worker.models.settings import ModelSettings


def run(quick: bool) -> Report:
    count = 48 if quick else 512
    with stage() as parts:
        rounds = [_round(parts, count, number) for number in range(1 if quick else 3)]
    ratios = sorted(ours / bare for ours, bare in rounds)
    ratio = ratios[len(ratios) // 2]
    return Report(
        "a model-bound run",
        f"{ratio:.2f} times the images/s of the bare loop",
        ">= 0.95",
        ratio >= 0.95,
        {
            "events in each round": count,
            "image-worker, images/s, by round": [round(ours, 1) for ours, _ in rounds],
            "bare loop, images/s, by round": [round(bare, 1) for _, bare in rounds],
        },
    )


def _round(parts: Stage, count: int, number: int) -> tuple[float, float]:
    topics = parts.cluster.topics()
    warm = 64
    with worker(["run", *parts.flags(topics, "events.output_encoding=json")], "benchmarks.real_worker") as _process:
        parts.events(topics, warm)
        wait_until_committed(parts, topics, warm)
        parts.events(topics, count)
        wait_until_committed(parts, topics, warm + count)
    ours = _rate(parts, topics.results, count)
    bare = _bare(parts, count)
    print(f"  round {number + 1}: worker {ours:.1f}, bare {bare:.1f} images/s: {ours / bare:.2f}", flush=True)
    return ours, bare


def _rate(parts: Stage, topic: str, count: int) -> float:
    """Images/s by the times at which the last `count` were classified: no start-up and no end in it."""
    times = sorted(json.loads(m.value() or b"")["classified_at_ms"] for m in parts.cluster.read([topic], count))
    steady = times[-count:]
    return (count - 1) / (steady[-1] - steady[0]) * 1000


def _bare(parts: Stage, count: int) -> float:
    model = load(ModelSettings())
    files = [path.read_bytes() for path in sorted(parts.folder.glob("*.JPEG"))]
    size = 32
    batch = np.zeros((size, 224, 224, 3), np.uint8)
    model.predict(batch)
    started_s = time.monotonic()
    for start in range(0, count, size):
        for index in range(size):
            pixels = decode(files[(start + index) % len(files)])
            batch[index] = np.frombuffer(pixels, np.uint8).reshape(224, 224, 3)
        model.predict(batch)
    return count / (time.monotonic() - started_s)
