"""A client of its own that finds out where assigned partitions begin, or whether the cluster tells it yet.

It joins no group, and nobody polls it for records, so it can wait for answers, and be replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.entries import checked
from worker.kafka.ledger import Partition
from worker.kafka.properties import asking_properties
from worker.kafka.settings import KafkaSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Of one partition: the first offset that it has, and the one after its last."""

    low: int
    high: int


class Scout:
    """Each call waits for its answer, and raises KafkaException where there is none. Used by one thread at a time."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._errors = ClientErrors("offsets")
        self._client = self._open()

    def _open(self) -> Consumer:
        return open_client(Consumer, asking_properties(self._settings), self._errors)

    def reach(self, timeout_s: float) -> None:
        """Have the group's coordinator answer something."""
        self._client.committed([TopicPartition(self._settings.topics.input, 0)], timeout=timeout_s)

    def explore(self, partitions: Iterable[Partition], timeout_s: float) -> Mapping[Partition, Watermarks]:
        """The watermarks of those partitions for which the group has committed nothing.

        The coordinator has told by then what it has of all of them: it would tell it again. Each call has this time.
        """
        try:
            entries = checked(self._client.committed([TopicPartition(*each) for each in partitions], timeout=timeout_s))
            new = [(entry.topic, entry.partition) for entry in entries if entry.offset < 0]
            return {partition: self._watermarks(partition, timeout_s) for partition in new}
        finally:
            self._client.poll(0)  # says its troubles

    def _watermarks(self, partition: Partition, timeout_s: float) -> Watermarks:
        found = self._known(partition, timeout_s)
        if found is None:
            self._look_again(partition, timeout_s)
            found = self._known(partition, timeout_s)
        if found is None:
            self._begin_anew(partition)
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return found

    def _known(self, partition: Partition, timeout_s: float) -> Watermarks | None:
        """None where the client knows no such partition."""
        try:
            return Watermarks(*self._client.get_watermark_offsets(TopicPartition(*partition), timeout=timeout_s))
        except KafkaException as error:
            if error.args[0].code() != KafkaError._UNKNOWN_PARTITION:
                raise
            return None

    def _look_again(self, partition: Partition, timeout_s: float) -> None:
        """Ask the cluster for the partition's leader: raises KafkaException where it has none.

        librdkafka 2.16 calls a partition unknown that had no leader when it heard of it, and asks nobody again for as
        long as it keeps that, a quarter of an hour (tests/broker/test_unknown_partition.py).
        """
        topic, number = partition
        found = self._client.list_topics(topic, timeout=timeout_s).topics[topic].partitions.get(number)
        if found is None or found.leader < 0:
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))

    def _begin_anew(self, partition: Partition) -> None:
        """Take a new client where the cluster names a leader and the client still knows no such partition.

        librdkafka 2.16 merges what it is told of a topic by place, not by partition, where that is of no older leader:
        after an answer that lacked a partition it may keep another one twice in its stead (seen with such an answer).
        """
        log.warning("kafka.partition_unknown", topic=partition[0], partition=partition[1], next="ask a new client")
        # The former one is freed, not closed: it joined nothing, and another thread may be asking it something.
        self._client = self._open()
