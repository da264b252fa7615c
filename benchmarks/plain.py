"""Against what people write: the same topic, images and free model through a plain loop.

The plain loop is benchmarks/plain_worker.py, once as it is first written (`requests.get`) and once with a session kept
for each thread; the ratio is against the first, and both are printed.
"""

from __future__ import annotations

import os
import time

import psutil

from benchmarks.cost import decode
from benchmarks.report import Report
from benchmarks.stage import Stage, cpu_s, stage, wait_until_committed, worker


def run(quick: bool) -> Report:
    count = 500 if quick else 3000
    with stage() as parts:
        plain = _measure(parts, count, [], "benchmarks.plain_worker")
        session = _measure(parts, count, ["session"], "benchmarks.plain_worker")
        ours = _measure(parts, count, [], "tests.free_worker")
        most = _most(parts)
    ratio = ours[0] / plain[0]
    return Report(
        "against what people write",
        f"{ratio:.2f} times the images/s",
        ">= 2",
        ratio >= 2,
        {
            "events": count,
            "image-worker, images/s": round(ours[0], 1),
            "plain loop, images/s": round(plain[0], 1),
            "plain loop with sessions, images/s": round(session[0], 1),
            "image-worker, ms of CPU an image": round(ours[1], 2),
            "plain loop, ms of CPU an image": round(plain[1], 2),
            "plain loop with sessions, ms of CPU an image": round(session[1], 2),
            "what these cores could do at most, images/s": round(most, 1),
            "ratio to the loop with sessions": round(ours[0] / session[0], 2),
        },
    )


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
