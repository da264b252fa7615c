"""The one switch between the delivery guarantees."""

from __future__ import annotations

from worker.kafka.deadletter import DeadLetters
from worker.kafka.exactly_once import ExactlyOnceSink
from worker.kafka.settings import KafkaSettings
from worker.kafka.sink import AtLeastOnceSink, Sink


def open_sink(settings: KafkaSettings, dead_letters: DeadLetters) -> Sink:
    """The sink that `kafka.delivery` names. Raises ConfigurationError where its settings cannot be."""
    kind = ExactlyOnceSink if settings.delivery == "exactly-once" else AtLeastOnceSink
    return kind(settings, dead_letters)
