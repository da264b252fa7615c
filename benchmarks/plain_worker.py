"""`python -m benchmarks.plain_worker WAY KEY=VALUE ...`: the loop that people write, to be compared with.

Consume 32, fetch them in a thread pool, decode them, run the model, produce, flush, commit. WAY is `first` (as it is
first written), `pooled` (decoded in the thread pool too) or `tuned` (and a session kept for each thread).

It loses its place in a rebalance, dies of the first broken image, and fetches whatever address it is given; it is here
for its speed alone.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import requests
from confluent_kafka import Consumer, Message, Producer

from benchmarks.cost import decode
from worker.settings import resolve
from worker.testing import FreeClassifier

_local = threading.local()


def fetch(url: str) -> bytes:
    return requests.get(url, timeout=10).content


def fetch_in_session(url: str) -> bytes:
    """What somebody writes who has looked at a profile: one connection kept for each thread."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    return _local.session.get(url, timeout=10).content  # type: ignore[no-any-return]


def main(way: str, flags: list[str]) -> None:
    kafka = resolve(None, flags, {}).settings.kafka
    model = FreeClassifier()
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": kafka.group_id,
            "group.protocol": kafka.group_protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    consumer.subscribe([kafka.topics.input])

    get = fetch_in_session if way == "tuned" else fetch

    def fetched(message: Message) -> bytes:
        return get(json.loads(message.value() or b"")["url"])

    def looked_at(message: Message) -> np.ndarray:
        return pixels(fetched(message))

    with ThreadPoolExecutor(16) as pool:
        while True:
            messages = [message for message in consumer.consume(32, timeout=1.0) if not message.error()]
            if not messages:
                continue
            if way == "first":
                images = [pixels(data) for data in pool.map(fetched, messages)]
            else:
                images = list(pool.map(looked_at, messages))
            scores = model.predict(np.stack(images))
            for message, row in zip(messages, scores, strict=True):
                value = json.dumps({"label": model.labels[int(row.argmax())], "score": float(row.max())})
                producer.produce(kafka.topics.results, key=message.key(), value=value)
            producer.flush()
            consumer.commit(asynchronous=False)


def pixels(data: bytes) -> np.ndarray:
    return np.frombuffer(decode(data), np.uint8).reshape(224, 224, 3)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
