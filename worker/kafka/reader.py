"""Topics read from a given point, outside any group: nothing is joined, and nothing committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.errors import ConfigurationError, Fatal
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.properties import consumer_properties
from worker.kafka.settings import KafkaSettings
from worker.kafka.source import source_record
from worker.kafka.topics import ClusterLook
from worker.records import SourceRecord

_TIMEOUT_S = 10.0
_FATAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "ask for READ on the topic",
    KafkaError._AUTHENTICATION: "check the security properties in kafka.properties",
    KafkaError._FATAL: "the consumer cannot go on",
}


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins in each partition: at one of its ends, at an offset, or at a time."""

    end: bool = False
    offset: int | None = None
    time_ms: int | None = None


def parse_start(text: str) -> Start:
    """`beginning`, `end`, an offset, or a time in ISO 8601 (UTC where it names no zone). Raises ConfigurationError."""
    if text in ("beginning", "end"):
        return Start(end=text == "end")
    if text.isdecimal():
        return Start(offset=int(text))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"--from {text}: write beginning, end, an offset, or a time such as 2026-01-31T12:00:00Z"
        ) from None
    return Start(time_ms=round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000))


class Reader:
    """Reads all partitions of some topics. Committed transactions only. Used by one thread; close it at the end."""

    def __init__(self, settings: KafkaSettings, topics: Iterable[str], start: Start) -> None:
        """Raises Fatal where no broker answers, a topic is missing, or the start cannot be found."""
        wanted = list(dict.fromkeys(topics))
        for finding in ClusterLook(settings).missing(wanted):
            raise Fatal(f"{finding.subject}: {finding.result}: {finding.remedy}")
        # Whoever looks on goes on with what there is, where the records at its position are gone.
        properties = {**consumer_properties(settings), "auto.offset.reset": "earliest"}
        self._consumer = open_client(Consumer, properties, ClientErrors("reader"))
        try:
            self._consumer.assign([self._positioned(each, start) for each in self._partitions(wanted)])
        except KafkaException as error:
            raise Fatal(f"the start of reading cannot be found: {error.args[0].str()}") from error

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

    def _partitions(self, topics: Iterable[str]) -> Iterator[TopicPartition]:
        for topic in topics:
            known = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
            yield from (TopicPartition(topic, number) for number in known)

    def _positioned(self, partition: TopicPartition, start: Start) -> TopicPartition:
        """The partition with a definite offset, so that what is produced from now on is read."""
        low, high = self._consumer.get_watermark_offsets(partition, timeout=_TIMEOUT_S)
        offset = high if start.end else low
        if start.offset is not None:
            offset = min(max(start.offset, low), high)
        if start.time_ms is not None:
            asked = TopicPartition(partition.topic, partition.partition, start.time_ms)
            found = self._consumer.offsets_for_times([asked], timeout=_TIMEOUT_S)[0]
            if found.error is not None:
                raise KafkaException(found.error)
            offset = found.offset if found.offset >= 0 else high
        return TopicPartition(partition.topic, partition.partition, offset)
