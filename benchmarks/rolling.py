"""A rolling restart of four workers under a steady load: how long a partition stands still, and what is repeated.

Each worker is told to stop (SIGTERM) and started again, one after the other, the next one once the last has its
partitions. A partition stands still from the first event that waits to its next outcome: what is counted is the
longest time between two outcomes, of the broker's own clock, while events were there. The bar is the drain deadline
and one heartbeat (issue 6), in each guarantee, for each group protocol, with and without static membership.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise, product, starmap

from confluent_kafka import Message, Producer

from benchmarks.report import RESULTS, Report
from benchmarks.stage import ROOT, Stage, stage
from tests.clusters import Reader, Topics, event, source_of

_WORKERS, _QUICK_WORKERS, _PARTITIONS = 4, 2, 8
_RATE = 100.0
_DRAIN_S = 5.0
_PATIENCE_S = 120.0
_HEARTBEAT_S = {"classic": 3.0, "consumer": 1.0}
"""librdkafka's default, and what the brokers of the tests ask for."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """What one rolling restart showed."""

    standstill_s: float
    repeated: int
    events: int

    @property
    def share(self) -> float:
        return self.repeated / self.events


@dataclass(frozen=True, slots=True)
class _Way:
    """What the workers are set to."""

    delivery: str
    protocol: str
    static: bool

    def __str__(self) -> str:
        return f"{self.delivery}, {self.protocol}, {'static' if self.static else 'dynamic'} members"


def run(quick: bool) -> Report:
    ways = list(starmap(_Way, product(("exactly-once", "at-least-once"), ("classic", "consumer"), (False, True))))
    ways, count = (ways[-1:], _QUICK_WORKERS) if quick else (ways, _WORKERS)
    with stage() as parts:
        found = {way: _roll(parts, count, way) for way in ways}
    reached = all(
        rolled.standstill_s <= _DRAIN_S + _HEARTBEAT_S[way.protocol] and rolled.share < 0.01
        for way, rolled in found.items()
    )
    longest = max(rolled.standstill_s for rolled in found.values())
    repeats = max(rolled.share for rolled in found.values())
    return Report(
        "rolling restart",
        f"a partition stands still for {longest:.1f} s at most, {repeats:.2%} of the records are repeated",
        f"<= {_DRAIN_S + min(_HEARTBEAT_S.values()):.0f} s (consumer), {_DRAIN_S + 3:.0f} s (classic); < 1 %",
        reached,
        {
            "workers, partitions, events/s": f"{count}, {_PARTITIONS}, {_RATE:.0f}",
            "drain deadline s": _DRAIN_S,
            **{str(way): _shown(rolled) for way, rolled in found.items()},
        },
    )


def _shown(rolled: Rolled) -> str:
    return f"{rolled.standstill_s:.2f} s, {rolled.repeated} of {rolled.events} repeated ({rolled.share:.2%})"


def _roll(parts: Stage, count: int, way: _Way) -> Rolled:
    """Restart every worker once, under load."""
    topics = parts.cluster.topics(_PARTITIONS)
    results = f"appended-{topics.results}"
    parts.cluster.create(results, partitions=_PARTITIONS, config={"message.timestamp.type": "LogAppendTime"})
    topics = Topics(topics.input, results, topics.dead_letters, topics.group)
    with Reader(parts.cluster, [results]) as reader:
        with ExitStack() as stack:
            workers = [_Worker(parts, topics, way, number) for number in range(count)]
            for worker in workers:
                stack.callback(worker.end)
                worker.start()
            for worker in workers:
                worker.wait_until_assigned()
            with _load(parts.cluster.bootstrap_servers, topics.input) as produced:
                reader.until_events(count * _PARTITIONS, _PATIENCE_S)
                for worker in workers:
                    print(f"  {way}: restart of worker {worker.number}", flush=True)
                    worker.stop()
                    worker.start()
                    worker.wait_until_assigned()
            reader.until_events(len(produced), _PATIENCE_S)
        seen = reader.rest()
    return _measured(seen, len(produced))


def _measured(seen: Sequence[Message], events: int) -> Rolled:
    """What the outcomes say, each as of its first time."""
    lanes: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
    for message in sorted(seen, key=lambda message: message.timestamp()[1]):
        partition, offset = source_of(message)
        waited_since_ms = json.loads(message.value() or b"")["source"]["timestamp_ms"]
        lanes[partition].setdefault(offset, (waited_since_ms, message.timestamp()[1]))
    gaps_ms = [
        after[1] - max(before[1], after[0])
        for lane in lanes.values()
        for (_, before), (_, after) in pairwise(sorted(lane.items()))
    ]
    return Rolled(max(gaps_ms) / 1000, len(seen) - events, events)


class _Worker:
    """One of the workers, in one process after the other."""

    def __init__(self, parts: Stage, topics: Topics, way: _Way, number: int) -> None:
        instance = [f"kafka.group_instance_id=worker-{number}"] if way.static else []
        own = (f"kafka.delivery={way.delivery}", f"kafka.group_protocol={way.protocol}", *instance)
        flags = parts.cluster.flags(topics, *own)
        self._flags = [*(each for each in flags if "session.timeout" not in each), f"kafka.drain_deadline_s={_DRAIN_S}"]
        self._log = RESULTS / f"rolling-{number}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.number = number

    def start(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "tests.free_worker", *self._flags]
            self._process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log)

    def wait_until_assigned(self) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while not any('"kafka.assigned"' in line and "[]" not in line for line in self._lines()):
            if time.monotonic() > deadline_s or (self._process and self._process.poll() is not None):
                sys.exit(f"benchmarks: worker {self.number} got no partitions: see {self._log}")
            time.sleep(0.05)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        if self._process.wait(_PATIENCE_S) != 0:
            sys.exit(f"benchmarks: worker {self.number} did not stop cleanly: see {self._log}")

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _lines(self) -> list[str]:
        return self._log.read_text("utf-8", "replace").splitlines()


@contextmanager
def _load(servers: str, topic: str) -> Iterator[list[int]]:
    """Events at a steady rate from a thread of its own; the list has the number of each that was acknowledged."""
    producer, produced, stop = Producer({"bootstrap.servers": servers, "log_level": 0}), list[int](), threading.Event()

    def go_on() -> None:
        number, due_s = 0, time.monotonic()
        while not stop.wait(max(0.0, due_s - time.monotonic())):
            due_s += 1 / _RATE
            producer.produce(topic, **event(number), on_delivery=lambda *_, n=number: produced.append(n))
            producer.poll(0)
            number += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield produced
    finally:
        stop.set()
        thread.join()
        producer.flush(_PATIENCE_S)
