"""A client of its own that finds out where assigned partitions begin, or whether the cluster tells it yet.

It joins no group, and nobody polls it for records, so it can wait for answers, and be replaced.
"""

from __future__ import annotations

import time
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

_ANEW_AFTER_S = 5.0
"""How old a client is at least that is replaced."""


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
        self._opened_s = time.monotonic()
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
        try:
            low, high = self._client.get_watermark_offsets(TopicPartition(*partition), timeout=timeout_s)
        except KafkaException as error:
            if error.args[0].code() == KafkaError._UNKNOWN_PARTITION:
                self._begin_anew(partition)
            raise
        return Watermarks(low, high)

    def _begin_anew(self, partition: Partition) -> None:
        """librdkafka 2.16 may not know a partition for as long as it keeps what it was told of the topic, 15 minutes.

        It merges what it is told by place, not by partition, where that is of no older leader: after one answer that
        lacked a partition it may know another one twice in its stead (tests/broker/test_unknown_partition.py).
        """
        if time.monotonic() >= self._opened_s + _ANEW_AFTER_S:
            log.warning("kafka.partition_unknown", topic=partition[0], partition=partition[1], next="ask a new client")
            # The former one is freed, not closed: it joined nothing, and another thread may be asking it something.
            self._client = self._open()
