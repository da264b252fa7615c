"""Records into a topic, with a delivery report awaited for each: what `produce` and the demo send their events with."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from worker.errors import Fatal
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.events import Event
from worker.kafka.properties import producer_properties
from worker.kafka.settings import KafkaSettings
from worker.kafka.topics import ClusterLook

_TIMEOUT_MS = 30_000
"""An operator at a terminal waits this long for the broker; the worker itself waits for good."""


class Writer:
    """Writes to one topic. Used by one thread."""

    def __init__(self, settings: KafkaSettings, topic: str, delivered: Callable[[], None]) -> None:
        """Raises Fatal where no broker answers or the topic is missing. `delivered` is called for each record."""
        for finding in ClusterLook(settings).missing([topic]):
            raise Fatal(f"{finding.subject}: {finding.result}: {finding.remedy}")
        properties = {**producer_properties(settings), "message.timeout.ms": _TIMEOUT_MS}
        self._producer = open_client(Producer, properties, ClientErrors("producer"))
        self._topic = topic
        self._delivered = delivered
        self.delivered = 0
        self.failures: list[str] = []
        """Why a record was not delivered, one line each."""

    def write(self, event: Event) -> None:
        """Hand in a record; waits while the producer's queue is full."""
        while True:
            try:
                self._producer.produce(self._topic, event.value, event.key, on_delivery=self._report)
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                self.failures.append(error.args[0].str())
                break
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait for the reports of all records."""
        while len(self._producer):
            self._producer.poll(0.1)

    def _report(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.failures.append(error.str())
            return
        self.delivered += 1
        self._delivered()
