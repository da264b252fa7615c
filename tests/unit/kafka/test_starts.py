"""Starts are looked at before anything is read: when, on librdkafka's in-process cluster. What comes of it is in
tests/broker/test_unclean.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from structlog.typing import EventDict

from tests.clusters import PATIENCE_S
from tests.unit.kafka.test_source import NOWHERE, Noting
from worker.kafka.settings import KafkaSettings
from worker.kafka.source import Source
from worker.kafka.starts import validate

SLOW_MS = 100
"""Of each answer of the cluster."""


@pytest.fixture
def consumer() -> Iterator[Consumer]:
    """With one partition of a slow cluster, and a commit under way."""
    owner = Producer({"test.mock.num.brokers": 1, "test.mock.broker.rtt": SLOW_MS, "log_level": 0})
    for number in range(4):
        owner.produce("images", value=b"record", partition=number % 2)
    assert owner.flush(PATIENCE_S) == 0
    properties = {
        "bootstrap.servers": ",".join(f"{b.host}:{b.port}" for b in owner.list_topics(timeout=10).brokers.values()),
        "group.id": "group",
        "partition.assignment.strategy": "cooperative-sticky",
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "log_level": 0,
    }
    consumer = Consumer(properties)
    consumer.incremental_assign([TopicPartition("images", 0, 0)])
    assert consumer.poll(PATIENCE_S) is not None
    consumer.commit(offsets=[TopicPartition("images", 0, 1)], asynchronous=False)
    consumer.commit(offsets=[TopicPartition("images", 0, 1)], asynchronous=True)
    yield consumer
    consumer.close()


START = TopicPartition("images", 1, 1, leader_epoch=0)


def assign_held_back(consumer: Consumer) -> None:
    consumer.incremental_assign([START])
    with pytest.raises(KafkaException, match="Erroneous state"):
        consumer.seek(START)


def test_a_start_is_looked_at_though_a_commit_under_way_holds_the_assignment_back(
    consumer: Consumer, logs: list[EventDict]
) -> None:
    assign_held_back(consumer)
    validate(consumer, [START])
    assert not logs


def test_a_start_that_cannot_be_looked_at_in_time_is_named(consumer: Consumer, logs: list[EventDict]) -> None:
    assign_held_back(consumer)
    validate(consumer, [START], patience_s=0)
    assert [(line["event"], line["partition"]) for line in logs] == [("kafka.start_unchecked", "images[1]")]


def test_a_partition_that_is_held_back_is_read_from_its_start_when_all_is_read_again(consumer: Consumer) -> None:
    source = Source(KafkaSettings(bootstrap_servers=NOWHERE), Noting())
    source._consumer = consumer
    assign_held_back(consumer)
    source.rewind({("images", 0): 0, ("images", 1): 1})
    read = [consumer.poll(PATIENCE_S) for _ in range(3)]
    places = [(message.partition(), message.offset()) for message in read if message is not None]
    assert sorted(places) == [(0, 0), (0, 1), (1, 1)]
