"""A committed transaction that Apache Kafka itself loses: all brokers die while it ends, and come back.

Nobody but a broker can mend that; chaos counts it apart (`tests/chaos/unmarked.py`). Where this fails, it need not.
"""

from __future__ import annotations

import random
import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests import kafka_server
from tests.chaos.unmarked import Logs
from tests.clusters import PATIENCE_S, Cluster
from tests.kafka_server import RealKafka

pytestmark = [pytest.mark.broker, pytest.mark.long]

PARTITIONS, ROUNDS = 8, 40


def producer(kafka: RealKafka) -> Producer:
    """Of the one id; it aborts what was under way."""
    made = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": "one", "log_level": 0})
    made.init_transactions(PATIENCE_S)
    return made


def write(to: Producer, topic: str, value: str) -> None:
    to.begin_transaction()
    for number in range(PARTITIONS):
        to.produce(topic, partition=number, value=value.encode())
    assert to.flush(PATIENCE_S) == 0


def is_committed_while_all_brokers_die(kafka: RealKafka, by: Producer) -> bool:
    """Whether the client was told that it is committed."""
    said: list[bool] = []

    def commit() -> None:
        try:
            by.commit_transaction(PATIENCE_S)
            said.append(True)
        except KafkaException:
            said.append(False)

    ends = threading.Thread(target=commit)
    ends.start()
    time.sleep(random.uniform(0.001, 0.03))
    for broker in kafka.brokers:
        broker.kill()
    for number in range(len(kafka.brokers)):
        kafka.restart(number)
    assert kafka.answers()
    ends.join()
    return said[0]


def records(kafka: RealKafka, topic: str, isolation: str) -> dict[tuple[int, bytes], int]:
    """The offset of each value in each partition."""
    reader = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": isolation,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    reader.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    found, left = {}, set(range(PARTITIONS))
    deadline_s = time.monotonic() + PATIENCE_S
    while left:
        assert time.monotonic() < deadline_s
        if (message := reader.poll(1.0)) is None:
            continue
        if message.error() is not None:
            left.discard(message.partition() or 0)
        else:
            found[message.partition() or 0, message.value() or b""] = message.offset() or 0
    reader.close()
    return found


def test_a_transaction_that_was_committed_while_all_brokers_died_is_lost_when_the_next_one_is_aborted() -> None:
    if kafka_server.why_not() is not None or not kafka_server.own_brokers():
        pytest.skip("needs brokers of its own: KAFKA_HOME")
    with RealKafka(3) as kafka:
        topic = Cluster(kafka.bootstrap_servers, real=True).topics(partitions=PARTITIONS).results
        logs = Logs(kafka.brokers[0].folder / "data", kafka.classpath)
        by = producer(kafka)
        for number in range(ROUNDS):
            write(by, topic, f"round {number}")
            told = is_committed_while_all_brokers_die(kafka, by)
            by = producer(kafka)
            write(by, topic, "aborted")
            by.abort_transaction(PATIENCE_S)
            seen, mine = records(kafka, topic, "read_committed"), (0, f"round {number}".encode())
            if told and mine not in seen:
                assert logs.is_unmarked((topic, 0), records(kafka, topic, "read_uncommitted")[mine])
                return
        pytest.fail(f"it was not seen in {ROUNDS} rounds")
