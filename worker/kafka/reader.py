"""Topics read from a given point, outside any group: nothing is joined, and nothing committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from confluent_kafka import Consumer, KafkaError, TopicPartition

from worker.errors import Fatal
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.messages import source_record
from worker.kafka.offsets import TopicOffsets
from worker.kafka.points import Point
from worker.kafka.properties import consumer_properties
from worker.kafka.settings import KafkaSettings
from worker.records import SourceRecord

_FATAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "ask for READ on the topic",
    KafkaError._AUTHENTICATION: "check the security properties in kafka.properties",
    KafkaError._FATAL: "the consumer cannot go on",
}


class Reader:
    """Reads all partitions of some topics. Committed transactions only. Used by one thread; close it at the end."""

    def __init__(self, settings: KafkaSettings, topics: Iterable[str], start: Point) -> None:
        """Raises Fatal where no broker answers, a topic is missing, or the start cannot be found."""
        wanted = dict.fromkeys(topics)
        assignment = [each for topic in wanted for each in _positioned(TopicOffsets(settings, topic), start)]
        # Whoever looks on goes on with what there is, where the records at its position are gone.
        properties = {**consumer_properties(settings), "auto.offset.reset": "earliest"}
        self._consumer = open_client(Consumer, properties, ClientErrors("reader"))
        self._consumer.assign(assignment)

    def read(self, timeout_s: float) -> SourceRecord | None:
        """The next record, or None where none came in time. Raises Fatal where there will be none."""
        message = self._consumer.poll(timeout_s)
        if message is None:
            return None
        if (error := message.error()) is not None:
            if error.code() in _FATAL:
                raise Fatal(f"{message.topic() or 'the topic'} cannot be read: {error.str()}: {_FATAL[error.code()]}")
            return None
        return source_record(message)

    def close(self) -> None:
        self._consumer.close()


def _positioned(look: TopicOffsets, start: Point) -> Iterator[TopicPartition]:
    """The topic's partitions, each with a definite offset, so that what is produced from now on is read."""
    extents = look.extents()
    for number, offset in look.at(start, {n: extent.stable for n, extent in extents.items()}, extents).items():
        yield TopicPartition(look.topic, number, extents[number].within(offset))
