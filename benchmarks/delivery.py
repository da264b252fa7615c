"""Exactly-once against at-least-once in one run: images a second of a backlog, and how soon an idle event is visible.

Both workers are there and warm before the clock starts, and take turns: now this one is the first of a round, now that
one. What is visible is what readers of committed transactions see.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack

from benchmarks.latency import measure
from benchmarks.report import Report
from benchmarks.stage import Stage, stage, wait_until_committed, worker

_GUARANTEES = ("at-least-once", "exactly-once")


def run(quick: bool) -> Report:
    rounds, count, idle = (1, 300, 30) if quick else (8, 2500, 300)
    with stage() as parts:
        rates = _rates(parts, rounds, count)
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


def _rates(parts: Stage, rounds: int, count: int) -> list[dict[str, float]]:
    """Images a second through a backlog, in each round."""
    topics = {name: parts.cluster.topics() for name in _GUARANTEES}
    done = dict.fromkeys(_GUARANTEES, 0)

    def rate(name: str, count: int) -> float:
        done[name] += count
        started_s = time.monotonic()
        parts.events(topics[name], count)
        wait_until_committed(parts, topics[name], done[name])
        return count / (time.monotonic() - started_s)

    rates = []
    with ExitStack() as stack:
        for name in _GUARANTEES:
            stack.enter_context(worker(parts.flags(topics[name], f"kafka.delivery={name}"), log=f"{name}.log"))
            rate(name, len(parts.addresses))
        for number in range(rounds):
            turns = _GUARANTEES if number % 2 == 0 else _GUARANTEES[::-1]
            rates.append({name: rate(name, count) for name in turns})
            print("  " + ", ".join(f"{name}: {rates[-1][name]:.0f} images/s" for name in turns), flush=True)
    return rates


def _visible_ms(parts: Stage, delivery: str, count: int) -> list[float]:
    """Of events one at a time, ms from produced to visible, all of it."""
    topics = parts.cluster.topics()
    with worker(parts.flags(topics, "events.output_encoding=json", f"kafka.delivery={delivery}")):
        parts.events(topics, 50)
        wait_until_committed(parts, topics, 50)
        return [whole_ms for whole_ms, _ in measure(parts, topics, count)]
