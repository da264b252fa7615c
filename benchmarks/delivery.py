"""Exactly-once against at-least-once in one run: images a second of a backlog, and how soon an idle event is visible.

Each round has a worker of its own, warm before the clock starts. What is visible is what readers of committed
transactions see.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.latency import measure
from benchmarks.report import Report
from benchmarks.stage import Stage, stage, wait_until_committed, worker

_GUARANTEES = ("at-least-once", "exactly-once")
_ROUNDS = 3


def run(quick: bool) -> Report:
    count, idle = (1000, 50) if quick else (6000, 300)
    with stage() as parts:
        rates = [{name: _rate(parts, name, count) for name in _GUARANTEES} for _ in range(1 if quick else _ROUNDS)]
        visible = {name: _visible_ms(parts, name, idle) for name in _GUARANTEES}
    ratio = statistics.median(each["exactly-once"] / each["at-least-once"] for each in rates)
    p50 = statistics.median(visible["exactly-once"])
    return Report(
        "exactly-once",
        f"{ratio:.2f} times the images/s of at-least-once; an idle event is visible after {p50:.0f} ms p50",
        ">= 0.9; <= 50 ms",
        ratio >= 0.9 and p50 <= 50,
        {
            "events in each round": count,
            **{f"{name}, images/s by round": [round(each[name]) for each in rates] for name in _GUARANTEES},
            **{f"{name}, produced to visible, p50 and p99 ms": _shown(visible[name]) for name in _GUARANTEES},
        },
    )


def _shown(visible_ms: list[float]) -> str:
    ordered = sorted(visible_ms)
    return f"{statistics.median(ordered):.1f}, {ordered[int(len(ordered) * 0.99)]:.1f}"


def _rate(parts: Stage, delivery: str, count: int) -> float:
    """Images a second through a backlog, once the worker is warm."""
    topics = parts.cluster.topics()
    warm = len(parts.addresses)
    with worker(parts.flags(topics, f"kafka.delivery={delivery}")):
        parts.events(topics, warm)
        wait_until_committed(parts, topics, warm)
        started_s = time.monotonic()
        parts.events(topics, count)
        wait_until_committed(parts, topics, warm + count)
        rate = count / (time.monotonic() - started_s)
    print(f"  {delivery}: {rate:.0f} images/s", flush=True)
    return rate


def _visible_ms(parts: Stage, delivery: str, count: int) -> list[float]:
    """Of events one at a time, ms from produced to visible, all of it."""
    topics = parts.cluster.topics()
    with worker(parts.flags(topics, "events.output_encoding=json", f"kafka.delivery={delivery}")):
        parts.events(topics, 50)
        wait_until_committed(parts, topics, 50)
        return [whole_ms for whole_ms, _ in measure(parts, topics, count)]
