"""Idle latency: one event at a time, from produced to visible for a consumer, less fetch, decode and forward.

The clock is the consumer's: an event is produced, and its result waited for. What the result itself says of fetch,
decode and model is taken off; what is left is Kafka's and the worker's: produce, poll, batch, publish, consume.
"""

from __future__ import annotations

import json
import statistics
import time

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.report import Report
from benchmarks.stage import Stage, stage, wait_until_committed, worker
from tests.clusters import Topics


def run(quick: bool) -> Report:
    count = 50 if quick else 500
    with stage() as parts:
        topics = parts.cluster.topics()
        with worker(parts.flags(topics, "events.output_encoding=json")):
            parts.events(topics, 50)
            wait_until_committed(parts, topics, 50)
            pairs = measure(parts, topics, count)
    overheads = sorted(whole - named for whole, named in pairs)
    p50, p99 = statistics.median(overheads), overheads[int(len(overheads) * 0.99)]
    return Report(
        "idle latency",
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
        "p50 <= 15 ms, p99 <= 50 ms",
        p50 <= 15 and p99 <= 50,
        {
            "events, one at a time": count,
            "produced to visible, p50 ms": round(statistics.median(whole for whole, _ in pairs), 1),
            "fetch, decode and forward, p50 ms": round(statistics.median(named for _, named in pairs), 1),
            "p90 ms": round(overheads[int(len(overheads) * 0.9)], 1),
            "ratio of the whole to fetch, decode and forward": round(
                statistics.median(whole / named for whole, named in pairs), 2
            ),
        },
    )


def measure(parts: Stage, topics: Topics, count: int) -> list[tuple[float, float]]:
    """For each event: ms from produced to visible, and ms of fetch, decode and forward."""
    servers = parts.cluster.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0, "log_level": 0})
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "latency", "isolation.level": "read_committed", "log_level": 0}
    )
    numbers = consumer.list_topics(topics.results).topics[topics.results].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(topics.results, n))[1] for n in numbers]
    consumer.assign([TopicPartition(topics.results, n, end) for n, end in zip(numbers, ends, strict=True)])
    consumer.poll(1.0)
    pairs = []
    for number in range(count):
        address = parts.addresses[number % len(parts.addresses)]
        started_s = time.monotonic()
        producer.produce(topics.input, json.dumps({"url": address, "id": f"latency-{number}"}))
        producer.poll(0)
        while (message := consumer.poll(5.0)) is None or message.error():
            pass
        whole_ms = (time.monotonic() - started_s) * 1000
        timing = json.loads(message.value() or b"")["timing"]
        pairs.append((whole_ms, timing["fetch_ms"] + timing["decode_ms"] + timing["compute_ms"]))
    consumer.close()
    return pairs
