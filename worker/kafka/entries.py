"""Partitions and positions in librdkafka's words, which has one for both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaException, TopicPartition

from worker.kafka.ledger import Partition, Position


def partitions_of(entries: Iterable[TopicPartition]) -> list[Partition]:
    return [(entry.topic, entry.partition) for entry in entries]


def checked(entries: list[TopicPartition]) -> list[TopicPartition]:
    """The entries of an answer, in which each has an error of its own, such as that a transaction holds its offset.

    Raises KafkaException for the first.
    """
    for entry in entries:
        if entry.error is not None:
            raise KafkaException(entry.error)
    return entries


def offsets_of(positions: Mapping[Partition, Position]) -> list[TopicPartition]:
    """What to commit, or where to read from."""
    entries = []
    for (topic, number), position in positions.items():
        epoch = {} if position.leader_epoch is None else {"leader_epoch": position.leader_epoch}
        entries.append(TopicPartition(topic, number, position.offset, metadata=position.metadata, **epoch))
    return entries
