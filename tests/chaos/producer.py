"""Events at a steady rate, whatever happens: each group's input topic gets the same."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from tests.chaos.hosts import Hosts

_KEYS = 1000
_BROKEN_EVERY = 20


class SteadyProducer:
    """Produces from a thread of its own, until `stop`."""

    def __init__(self, servers: str, topics: Sequence[str], hosts: Hosts, rate: float) -> None:
        self._topics = topics
        self._hosts = hosts
        self._pause_s = 1 / rate
        self._producer = Producer(
            {"bootstrap.servers": servers, "enable.idempotence": True, "message.timeout.ms": 0, "log_level": 0}
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="producer")
        self.acknowledged = Counter(dict.fromkeys(topics, 0))
        """Events that each topic has, by the brokers' word."""
        self.refused: list[str] = []
        """What went wrong."""

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience_s: float) -> bool:
        """End, and wait until all is acknowledged. False where that takes too long."""
        self._stop.set()
        self._thread.join()
        return self._producer.flush(patience_s) == 0

    def _run(self) -> None:
        try:
            self._produce()
        except Exception as error:
            self.refused.append(f"the producer died: {error!r}")

    def _produce(self) -> None:
        number, due_s = 0, time.monotonic()
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            due_s += self._pause_s
            for topic in self._topics:
                self._producer.produce(topic, **self._event(number), on_delivery=self._reported)
            self._producer.poll(0)
            number += 1

    def _event(self, number: int) -> dict[str, Any]:
        url = self._hosts.address(number)
        broken = number // _BROKEN_EVERY % 3 if number % _BROKEN_EVERY == 0 else None
        if broken == 0:
            url = self._hosts.missing(number)
        elif broken == 1:
            url = "http://169.254.169.254/latest/"
        value = "no event at all" if broken == 2 else json.dumps({"url": url, "id": str(number)})
        return {"key": f"key-{number % _KEYS}", "value": value}

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acknowledged[message.topic() or ""] += 1
        else:
            self.refused.append(error.str())
