"""Against what people write: the same topic, images and free model through a plain loop.

The plain loop is benchmarks/plain_worker.py: as it is first written (requests in a thread pool, then Pillow), with
Pillow in the thread pool too, and with a session kept for each thread besides. The ratio is against the first; all are
printed, beside what these cores could do if they did nothing but decode.
"""

from __future__ import annotations

import os
import time

import psutil

from benchmarks.cost import decode
from benchmarks.report import Report
from benchmarks.stage import Stage, cpu_s, stage, wait_until_committed, worker


def run(quick: bool) -> Report:
    count = 200 if quick else 3000
    with stage() as parts:
        ours = _measure(parts, count, [], "tests.free_worker")
        plain = {way: _measure(parts, count, [way], "benchmarks.plain_worker") for way in ("first", "pooled", "tuned")}
        most = _most(parts)
    ratio = ours[0] / plain["first"][0]
    figures: dict[str, object] = {
        "events": count,
        "image-worker, images/s": round(ours[0], 1),
        "image-worker, ms of CPU an image": round(ours[1], 2),
        "these cores at most, images/s": round(most, 1),
    }
    for way, (rate, cpu) in plain.items():
        figures[f"plain loop, {way}: images/s"] = round(rate, 1)
        figures[f"plain loop, {way}: ms of CPU an image"] = round(cpu, 2)
        figures[f"plain loop, {way}: ratio"] = round(ours[0] / rate, 2)
    return Report("against what people write", f"{ratio:.2f} times the images/s", ">= 2", ratio >= 2, figures)


def _most(parts: Stage) -> float:
    """Images/s if all cores did nothing but decode, resize and crop."""
    files = [path.read_bytes() for path in sorted(parts.folder.glob("*.JPEG"))]
    started_s = time.process_time()
    for data in files:
        decode(data)
    return len(files) / (time.process_time() - started_s) * len(os.sched_getaffinity(0))


def _measure(parts: Stage, count: int, first: list[str], module: str) -> tuple[float, float]:
    """Images/s, and ms of CPU an image."""
    topics = parts.cluster.topics()
    flags = parts.flags(topics)
    warm = len(parts.addresses)
    with worker([*first, *flags], module) as process:
        parts.events(topics, warm)
        wait_until_committed(parts, topics, warm)
        return _steady(parts, topics, count, warm, process)


def _steady(parts: Stage, topics: object, count: int, warm: int, process: psutil.Process) -> tuple[float, float]:
    before_s, started_s = cpu_s(process), time.monotonic()
    parts.events(topics, count)  # type: ignore[arg-type]
    wait_until_committed(parts, topics, warm + count)  # type: ignore[arg-type]
    took_s = time.monotonic() - started_s
    return count / took_s, (cpu_s(process) - before_s) / count * 1000
