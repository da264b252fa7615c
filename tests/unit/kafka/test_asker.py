"""What a client asks about where a partition begins, and what it does where it does not know the partition."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tests.unit.kafka.test_member import NOWHERE
from worker.kafka.asker import Asker
from worker.kafka.settings import KafkaSettings


class Forgetful:
    """A client that refuses the extent of a partition, until it has looked at the topic anew."""

    def __init__(self, code: int) -> None:
        self._error: KafkaError | None = KafkaError(code)
        self.looked: list[str] = []

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(each.topic, each.partition, -1001) for each in partitions]

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        if self._error is not None:
            raise KafkaException(self._error)
        return (3, 7)

    def list_topics(self, topic: str, timeout: float) -> None:
        self.looked.append(topic)
        self._error = None


def asker(client: Any) -> Asker:
    return Asker(KafkaSettings(bootstrap_servers=NOWHERE), client)


def test_who_does_not_know_a_partition_looks_at_the_topic_anew_and_knows_it_next_time() -> None:
    client = Forgetful(KafkaError._UNKNOWN_PARTITION)
    asking = asker(client)
    with pytest.raises(KafkaException):
        asking.find([("images", 3)], 1.0)
    (found,) = asking.find([("images", 3)], 1.0)
    assert found.begin is not None
    assert (found.begin.base, len(client.looked)) == (3, 1)


def test_whatever_else_is_wrong_is_asked_again_as_it_is() -> None:
    client = Forgetful(KafkaError._TIMED_OUT)
    with pytest.raises(KafkaException):
        asker(client).find([("images", 3)], 1.0)
    assert not client.looked
