"""Hosts: what the trouble of two hosts costs the three others, through the whole worker.

One topic has the events of five hosts in turn. In one run all of them are good; in the other 30 % of the addresses of
two of them fail, each in one of sixteen ways: refused, reset, silent, dripping, endless, with an error, with nonsense.
What counts is the images a second of the three good hosts, between the first and the last twentieth of theirs. A third
run has the good hosts' events alone.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from benchmarks.five_hosts import FAILURES, HOSTS, REFUSED
from benchmarks.report import Report
from benchmarks.stage import ROOT, Stage, stage, wait_until_committed, worker
from tests.clusters import header
from tests.kafka_server import free_ports

GOOD = HOSTS[:3]
_FAILING = 0.3


@dataclass(frozen=True, slots=True)
class Places:
    """Where the events lead."""

    port: int
    """On which all five hosts serve."""
    dead: int
    """On which nobody listens."""
    names: tuple[str, ...]
    """Of files that are images."""

    def events(
        self, count: int, *, trouble: bool, hosts: tuple[str, ...] = HOSTS, seed: int = 1
    ) -> list[dict[str, str]]:
        """Events of the hosts in turn; the id begins with the host, and says how its address fails."""
        rng, kinds = random.Random(seed), cycle(FAILURES)
        events = []
        for number in range(count):
            host = hosts[number % len(hosts)]
            fails = trouble and host not in GOOD and rng.random() < _FAILING
            kind = next(kinds) if fails else "good"
            path = f"fail/{kind}/{number}" if fails else self.names[number % len(self.names)]
            port = self.dead if kind == REFUSED else self.port
            events.append({"url": f"http://{host}:{port}/{path}", "id": f"{host} {kind} {number}"})
        return events


@contextmanager
def five_hosts(folder: Path) -> Iterator[Places]:
    """The five hosts, in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.five_hosts", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        names = tuple(sorted(path.name for path in folder.iterdir() if path.suffix.lower() in (".jpeg", ".jpg")))
        yield Places(int(process.stdout.readline()), free_ports(1)[0], names)
    finally:
        process.kill()
        process.wait()


def run(quick: bool) -> Report:
    count, rounds, flags = (250, 1, ("images.total_timeout_s=5",)) if quick else (6000, 2, ())
    found: dict[str, list[float]] = {}
    whole_s: dict[str, list[float]] = {}
    reasons: Counter[str] = Counter()
    with stage() as parts, five_hosts(parts.folder) as places:
        for number in range(rounds):
            ways = {
                "all five good": places.events(count, trouble=False),
                "two in trouble": places.events(count, trouble=True, seed=number),
                "three good hosts alone": places.events(count * 3 // 5, trouble=False, hosts=GOOD),
            }
            for way, events in ways.items():
                rate, took_s, seen = _rate(parts, places, events, *flags)
                found.setdefault(way, []).append(rate)
                whole_s.setdefault(way, []).append(took_s)
                reasons += seen
            print(f"  round {number + 1}: " + ", ".join(f"{w} {r[-1]:.0f}" for w, r in found.items()), flush=True)
    rates = {way: statistics.median(each) for way, each in found.items()}
    ratio = rates["two in trouble"] / rates["all five good"]
    return Report(
        "good hosts beside bad ones",
        f"{ratio:.2f} times the good hosts' images/s without the trouble",
        ">= 0.9",
        ratio >= 0.9,
        {
            "events in each run": count,
            **{f"good hosts' images/s, {way}": round(rate, 1) for way, rate in rates.items()},
            **{f"seconds until every event is settled, {way}": round(statistics.median(whole_s[way])) for way in rates},
            "ratio to the three good hosts alone": round(rates["two in trouble"] / rates["three good hosts alone"], 2),
            "dead letters, by reason": dict(reasons.most_common()),
        },
    )


def _rate(parts: Stage, places: Places, events: list[dict[str, str]], *more: str) -> tuple[float, float, Counter[str]]:
    """The good hosts' images/s, the seconds until all was settled, and the reasons of the dead letters."""
    topics = parts.cluster.topics()
    warm = places.events(250, trouble=False, hosts=GOOD)
    ports = f"images.ports=[{places.port}, {places.dead}]"
    with worker(parts.flags(topics, "events.output_encoding=json", ports, *more)):
        parts.cluster.produce(topics.input, ({"value": json.dumps(each)} for each in warm))
        wait_until_committed(parts, topics, len(warm))
        started_s = time.monotonic()
        parts.cluster.produce(topics.input, ({"value": json.dumps(each)} for each in events))
        wait_until_committed(parts, topics, len(warm) + len(events))
        took_s = time.monotonic() - started_s
    messages = parts.cluster.read([topics.results, topics.dead_letters], len(warm) + len(events))
    letters = Counter(header(m, "image-worker.reason") or "" for m in messages if m.topic() == topics.dead_letters)
    results = [json.loads(m.value() or b"") for m in messages if m.topic() == topics.results]
    times = sorted(r["classified_at_ms"] for r in results if r["reference"]["id"].split()[0] in GOOD)[len(warm) :]
    steady = times[len(times) // 20 : -len(times) // 20]
    return (len(steady) - 1) / (steady[-1] - steady[0]) * 1000, took_s, letters
