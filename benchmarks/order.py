"""Order: what addresses that hang cost the other images, published as they are done and in the order of their events.

As they are done (`kafka.order=none`): events come at a steady rate, in one run all good, in the other every 200th
hangs for ten seconds. What counts is the p99 of the others, from produced to visible. In order: a backlog, with and
without such addresses in its first part, and the time until all of it is settled. Both in each guarantee, one after the
other; what is told is the worse of the two.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.report import Report
from benchmarks.stage import Stage, stage, wait_until_committed, worker
from tests.clusters import Topics

_EVERY = 200
_HANG_S, _QUICK_HANG_S = 10, 1
"""A backlog is to take longer than its addresses hang, else nothing but that is measured."""
_PATIENT = "images.read_timeout_s=20"
"""So that they come in the end."""
_RATE = 60
"""Events a second: well below what the machine can do, since a queue would hide what is measured."""


def run(quick: bool) -> Report:
    count, backlog, hang_s = (120, 600, _QUICK_HANG_S) if quick else (3000, 8000, _HANG_S)
    deliveries = ("exactly-once",) if quick else ("at-least-once", "exactly-once")
    seen: dict[int, list[list[float]]] = {0: [], hang_s: []}
    took: dict[int, list[float]] = {0: [], hang_s: []}
    with stage() as parts:
        for delivery in deliveries:
            flag = f"kafka.delivery={delivery}"
            for each_s in seen:
                events = list(_events(parts, count, each_s, until=count))
                seen[each_s].append(sorted(_visible_ms(parts, events, flag)))
                took[each_s].append(_backlog_s(parts, list(_events(parts, backlog, each_s, until=backlog // 3)), flag))
    p99 = {each_s: [_at(ordered, 0.99) for ordered in seen[each_s]] for each_s in seen}
    slower = max(bad / good for good, bad in zip(p99[0], p99[hang_s], strict=True))
    faster = min(good / bad for good, bad in zip(took[0], took[hang_s], strict=True))
    facts: dict[str, object] = {"events in each run": f"{count} at {_RATE}/s, a backlog of {backlog}"}
    facts["in turn"] = deliveries
    for each_s in seen:
        ms = [f"{_at(ordered, 0.5):.1f}, {_at(ordered, 0.99):.1f}" for ordered in seen[each_s]]
        facts[f"{_name(each_s)}: p50, p99 ms"] = ms
        facts[f"{_name(each_s)}: images/s of the backlog"] = [round(backlog / each) for each in took[each_s]]
    return Report(
        "addresses that hang",
        f"as they are done: {slower:.2f} times the p99 of the others; in order: {faster:.2f} times the images/s",
        "<= 1.5; about 1",
        slower <= 1.5 and faster >= 0.95,
        facts,
    )


def _name(hang_s: int) -> str:
    return f"1 in {_EVERY} hangs {hang_s} s" if hang_s else "all good"


def _at(ordered: list[float], share: float) -> float:
    return ordered[int(len(ordered) * share)]


def _events(parts: Stage, count: int, hang_s: int, *, until: int) -> Iterator[dict[str, str]]:
    """Every 200th of those before `until` hangs for so long."""
    for number in range(count):
        address = parts.addresses[number % len(parts.addresses)]
        hangs = hang_s > 0 and number % _EVERY == _EVERY // 2 and number < until
        yield {
            "url": f"{address}?wait={hang_s}" if hangs else address,
            "id": f"{'hung' if hangs else 'good'} {number}",
        }


def _visible_ms(parts: Stage, events: list[dict[str, str]], delivery: str) -> list[float]:
    """Of the good events, ms from produced to visible."""
    topics = parts.cluster.topics()
    with worker(parts.flags(topics, "events.output_encoding=json", "kafka.order=none", _PATIENT, delivery)):
        parts.events(topics, 100)
        wait_until_committed(parts, topics, 100)
        return _follow(parts, topics, events)


def _follow(parts: Stage, topics: Topics, events: list[dict[str, str]]) -> list[float]:
    servers = parts.cluster.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0, "log_level": 0})
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "order", "log_level": 0})
    consumer.assign([TopicPartition(topics.results, n, end) for n, end in parts.cluster.ends(topics.results).items()])
    consumer.poll(1.0)
    produced: dict[str, float] = {}
    visible: list[float] = []
    good, started_s = sum(event["id"].startswith("good") for event in events), time.monotonic()
    while len(visible) < good:
        due = min(len(events), int((time.monotonic() - started_s) * _RATE) + 1)
        for event in events[len(produced) : due]:
            produced[event["id"]] = time.monotonic()
            producer.produce(topics.input, json.dumps(event))
        producer.poll(0)
        message = consumer.poll(0.002)
        if message is None or message.error():
            continue
        name = json.loads(message.value() or b"")["reference"]["id"]
        if name.startswith("good"):
            visible.append((time.monotonic() - produced[name]) * 1000)
    consumer.close()
    return visible


def _backlog_s(parts: Stage, events: list[dict[str, str]], delivery: str) -> float:
    """Seconds until a backlog is settled in order. Its last part is good: what hangs has ended by then."""
    topics = parts.cluster.topics()
    with worker(parts.flags(topics, _PATIENT, delivery)):
        parts.events(topics, 100)
        wait_until_committed(parts, topics, 100)
        started_s = time.monotonic()
        parts.cluster.produce(topics.input, ({"value": json.dumps(each)} for each in events))
        wait_until_committed(parts, topics, 100 + len(events))
        return time.monotonic() - started_s
