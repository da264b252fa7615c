"""Topics of outcomes that were deleted, told apart from brokers that are away.

librdkafka believes that a topic is gone when the brokers have said so for `topic.metadata.propagation.max.ms`, counted
by each producer anew. In at-least-once no producer that gets nothing done lives as long: so the sink counts over them.
"""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaError

from worker.kafka.ledger import Ticket
from worker.kafka.properties import producer_properties
from worker.kafka.publisher import Publisher
from worker.kafka.refusals import never_published
from worker.kafka.settings import KafkaSettings

_PROPAGATION_MS = 30_000
"""The default of librdkafka's topic.metadata.propagation.max.ms."""
_ASK_S = 0.5
"""It takes a millisecond, but for a broker that is away."""


class GoneTopics:
    """Since when the brokers have said that a topic is not there. Used by the Kafka thread alone."""

    def __init__(self, settings: KafkaSettings) -> None:
        properties = producer_properties(settings)
        self._patience_s = float(properties.get("topic.metadata.propagation.max.ms", _PROPAGATION_MS)) / 1000
        self._since_s: float | None = None

    def look(self, tickets: Iterable[Ticket], publisher: Publisher, now_s: float) -> None:
        """Ask about the topics of outcomes that wait. Raises Fatal where one is gone for long enough."""
        first = {ticket.outcome.record.topic: ticket for ticket in tickets if ticket.outcome is not None}
        gone = next((ticket for topic, ticket in first.items() if publisher.is_gone(topic, _ASK_S)), None)
        if gone is None:
            self._since_s = None
            return
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s >= self._patience_s:
            raise never_published(gone, KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
