"""`python -m benchmarks.plain_worker [session] KEY=VALUE ...`: the loop that people write, to be compared with.

Consume 32, fetch and decode them in a thread pool, run the model, produce, flush, commit. It loses its place in a
rebalance, dies of the first broken image, and fetches whatever address it is given; it is here for its speed alone.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import requests
from confluent_kafka import Consumer, Producer

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


def main(get: object, flags: list[str]) -> None:
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

    def look(message: object) -> np.ndarray:
        url = json.loads(message.value())["url"]  # type: ignore[attr-defined]
        return np.frombuffer(decode(get(url)), np.uint8).reshape(224, 224, 3)  # type: ignore[operator]

    with ThreadPoolExecutor(16) as pool:
        while True:
            messages = [message for message in consumer.consume(32, timeout=1.0) if not message.error()]
            if not messages:
                continue
            scores = model.predict(np.stack(list(pool.map(look, messages))))
            for message, row in zip(messages, scores, strict=True):
                value = json.dumps({"label": model.labels[int(row.argmax())], "score": float(row.max())})
                producer.produce(kafka.topics.results, key=message.key(), value=value)
            producer.flush()
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    with_session = arguments[:1] == ["session"]
    main(fetch_in_session if with_session else fetch, arguments[with_session:])
