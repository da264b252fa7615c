"""What is fetched of partitions that are assigned, begun and read again, on librdkafka's in-process cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.broker.test_faults import wait_for
from tests.clusters import PATIENCE_S
from worker.kafka.fetching import Fetching

SLOW_MS = 100
"""Of each answer of the cluster."""


@pytest.fixture
def owner() -> Producer:
    """Of a slow cluster."""
    return Producer({"test.mock.num.brokers": 1, "test.mock.broker.rtt": SLOW_MS, "log_level": 0})


@pytest.fixture
def consumer(owner: Producer) -> Iterator[Consumer]:
    """With one partition, and a commit under way."""
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


FIRST, SECOND = ("images", 0), ("images", 1)
OTHER, START = TopicPartition(*FIRST, 1), TopicPartition(*SECOND, 1, leader_epoch=0)


def read(consumer: Consumer, count: int) -> list[tuple[int | None, int | None]]:
    """Where the next records come from."""
    messages = [consumer.poll(PATIENCE_S) for _ in range(count)]
    return sorted((message.partition(), message.offset()) for message in messages if message is not None)


def test_a_partition_is_begun_when_no_commit_under_way_holds_its_assignment_back(consumer: Consumer) -> None:
    fetching = Fetching(consumer)
    fetching.assign([SECOND])
    assert not fetching.begin(START)
    wait_for(lambda: fetching.begin(START), "it is begun")
    assert sorted(read(consumer, 2)) == [(0, 1), (1, 1)]


@pytest.mark.parametrize("before", [False, True])
def test_nothing_is_read_of_a_partition_that_is_not_begun(consumer: Consumer, owner: Producer, before: bool) -> None:
    """`before`: whether it was, until it was said to be someone else's."""
    fetching = Fetching(consumer)
    fetching.begin(OTHER)
    fetching.assign([SECOND])
    if before:
        wait_for(lambda: fetching.begin(START), "it is begun")
        fetching.stop([SECOND])
    for touch in (fetching.pause, fetching.resume, lambda: fetching.hold({SECOND}), lambda: fetching.hold(set())):
        touch()
        owner.produce("images", value=b"record", partition=1)
        owner.produce("images", value=b"record", partition=0)
        assert owner.flush(PATIENCE_S) == 0
    assert read(consumer, 5) == [(0, offset) for offset in range(1, 6)]
    wait_for(lambda: fetching.begin(START), "it is begun")
    assert read(consumer, 5) == [(1, offset) for offset in range(1, 6)]


def test_what_is_shunned_is_left_alone_whatever_is_done_until_it_is_assigned_anew(
    consumer: Consumer, owner: Producer
) -> None:
    fetching = Fetching(consumer)
    fetching.begin(OTHER)
    fetching.assign([SECOND])
    wait_for(lambda: fetching.begin(START), "it is begun")
    fetching.shun(SECOND)
    for touch in (fetching.pause, fetching.resume, lambda: fetching.hold({SECOND}), lambda: fetching.hold(set())):
        touch()
        owner.produce("images", value=b"record", partition=0)
        assert owner.flush(PATIENCE_S) == 0
    fetching.rewind({SECOND: 0})
    assert fetching.begin(START)
    assert read(consumer, 5) == [(0, offset) for offset in range(1, 6)]
    assert consumer.poll(2 * SLOW_MS / 1000) is None
    fetching.stop([SECOND])
    wait_for(lambda: fetching.begin(START), "it is begun")
    assert read(consumer, 1) == [(1, 1)]


@pytest.mark.parametrize("paused", [True, False])
def test_what_is_begun_while_it_may_not_be_read_is_read_when_it_may(consumer: Consumer, paused: bool) -> None:
    fetching = Fetching(consumer)
    fetching.begin(OTHER)
    fetching.assign([SECOND])
    fetching.pause() if paused else fetching.hold({SECOND})
    wait_for(lambda: fetching.begin(START), "it is begun")
    assert fetching.paused is paused
    if paused:
        assert consumer.poll(2 * SLOW_MS / 1000) is None
        fetching.resume()
        assert read(consumer, 2) == [(0, 1), (1, 1)]
    else:
        assert read(consumer, 1) == [(0, 1)]
        fetching.hold(set())
        assert read(consumer, 1) == [(1, 1)]


def test_a_partition_that_is_held_back_is_read_from_its_start_when_all_is_read_again(consumer: Consumer) -> None:
    fetching = Fetching(consumer)
    fetching.assign([SECOND])
    fetching.rewind({FIRST: 0})
    wait_for(lambda: fetching.begin(START), "it is begun")
    assert read(consumer, 3) == [(0, 0), (0, 1), (1, 1)]


class Overtaken:
    """A client in which librdkafka's own pauses overtake two seeks: that is a matter of microseconds in its threads."""

    def __init__(self) -> None:
        self.sought: list[int] = []

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*FIRST)]

    def seek(self, to: TopicPartition) -> None:
        self.sought.append(to.offset)
        if len(self.sought) < 3:
            raise KafkaException(KafkaError(KafkaError._OUTDATED))


def test_a_seek_that_was_overtaken_on_its_way_is_made_again() -> None:
    client: Any = Overtaken()
    Fetching(client).rewind({FIRST: 7})
    assert client.sought == [7, 7, 7]
