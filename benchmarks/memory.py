"""Memory: ten times more events offered than can be done, for two minutes: resident memory, and the printed bound.

Resident memory is that of the worker and all its processes, what they share counted once (PSS), once a second.
"""

from __future__ import annotations

import json
import time
import urllib.request

import psutil

from benchmarks.report import Report
from benchmarks.stage import ROOT, Stage, resident_bytes, stage, wait_until_committed, worker
from tests.clusters import Topics

MIB = 2**20


def run(quick: bool) -> Report:
    seconds = 5 if quick else 120
    with stage() as parts:
        topics = parts.cluster.topics()
        with worker(parts.flags(topics)) as process:
            parts.events(topics, 250)
            wait_until_committed(parts, topics, 250)
            bound = status()["memory_bound_bytes"]
            samples = _sample(parts, topics, process, seconds)
            offered = sum(parts.cluster.ends(topics.input).values())
            done = sum(parts.cluster.committed(topics).values())
    half = len(samples) // 2
    growth = max(samples[half:]) / max(samples[:half])
    return Report(
        "memory",
        f"{growth:.3f} times from the first half to the second; {max(samples) / MIB:.0f} MiB of {bound / MIB:.0f}",
        "flat (<= 1.05) and below the bound",
        growth <= 1.05 and max(samples) < bound,
        {
            "seconds": seconds,
            "offered, times what was done": round(offered / max(1, done), 1),
            "resident MiB: first, median, highest": [
                round(each / MIB) for each in (samples[0], sorted(samples)[half], max(samples))
            ],
            "printed bound, MiB": round(bound / MIB),
        },
    )


def _sample(parts: Stage, topics: Topics, process: psutil.Process, seconds: int) -> list[int]:
    samples = []
    for second in range(seconds):
        started_s = time.monotonic()
        parts.events(topics, 6000)
        samples.append(resident_bytes(process))
        if second % 10 == 0:
            print(f"  {second:3} s: {samples[-1] / MIB:.0f} MiB", flush=True)
        time.sleep(max(0.0, 1.0 - (time.monotonic() - started_s)))
    return samples


def status() -> dict[str, int]:
    """The worker's /status, at the port that its log names."""
    log = (ROOT / "benchmarks" / "results" / "worker.log").read_text().splitlines()
    port = next(json.loads(line)["port"] for line in log if '"worker.started"' in line)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status") as answer:
        return json.loads(answer.read())  # type: ignore[no-any-return]
