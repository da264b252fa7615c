"""Outcomes into a producer, and what the broker says of each."""

from __future__ import annotations

import time
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from worker.kafka.ledger import Ticket
from worker.kafka.properties import BATCH_BYTES
from worker.records import OutgoingRecord

_OVERHEAD_BYTES = 100
"""Of a record, beside its own bytes; generous, so that a batch of 10,000 is never reached either."""


class Publisher:
    """Hands outcomes to a producer. Used by the Kafka thread alone."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._refused: list[tuple[Ticket, KafkaError]] = []
        self._bytes = 0
        """Handed in since there was nothing to wait for."""
        self.waiting: dict[Ticket, None] = {}
        """Those whose delivery report is still to come, in the order in which they were handed in."""

    @property
    def full(self) -> bool:
        """Whether what waits may be more than one batch for a partition, were more handed in."""
        return bool(self.waiting) and self._bytes >= BATCH_BYTES // 2

    def produce(self, ticket: Ticket) -> None:
        """Hand in a ticket's outcome; what is wrong with it is among the refused, now or later."""
        assert ticket.outcome is not None
        self._bytes = _size_bytes(ticket.outcome.record) + (self._bytes if self.waiting else 0)
        self.waiting[ticket] = None
        record = ticket.outcome.record
        try:
            self._producer.produce(
                record.topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                timestamp=record.timestamp_ms or 0,
                on_delivery=partial(self._reported, ticket),
            )
        except KafkaException as error:
            del self.waiting[ticket]
            self._refused.append((ticket, error.args[0]))

    def flush(self, deadline_s: float) -> bool:
        """Whether the broker has answered for all that was handed in, by the deadline at the latest."""
        if self.waiting:
            self._producer.flush(max(0.0, deadline_s - time.monotonic()))
        return not self.waiting

    def take_refused(self) -> list[tuple[Ticket, KafkaError]]:
        """What was refused since the last call, in the order in which it was."""
        refused, self._refused = self._refused, []
        return refused

    def is_gone(self, topic: str, timeout_s: float) -> bool:
        """Whether a broker says that there is no such topic; not where none answers in time."""
        try:
            error = self._producer.list_topics(topic, timeout=timeout_s).topics[topic].error
        except KafkaException:
            return False
        return error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART

    def close(self) -> None:
        """Drop what the broker has not acknowledged."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _reported(self, ticket: Ticket, error: KafkaError | None, _message: Message) -> None:
        # A delivery report runs inside flush and must not raise: what failed is kept for the sink to look at.
        del self.waiting[ticket]
        if error is not None:
            self._refused.append((ticket, error))


def _size_bytes(record: OutgoingRecord) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + _OVERHEAD_BYTES
