"""Who takes over what a worker had that was killed within a transaction, on a real Apache Kafka.

The coordinator tells no offset that is in it until it has ended (KIP-447).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.broker.bench import ONCE
from tests.clusters import Cluster, Reader, Topics, event, source_of
from tests.workers import running, until

pytestmark = pytest.mark.broker


@contextmanager
def left_open(cluster: Cluster, topics: Topics, partition: int, offset: int) -> Iterator[Producer]:
    """A transaction that holds the offset of a partition."""
    reach = {"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0}
    producer = Producer({**reach, "transactional.id": topics.group, "transaction.timeout.ms": 120_000})
    nobody = Consumer({**reach, "group.id": topics.group})
    producer.init_transactions()
    producer.begin_transaction()
    offsets = [TopicPartition(topics.input, partition, offset)]
    producer.send_offsets_to_transaction(offsets, nobody.consumer_group_metadata())
    yield producer
    nobody.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_partition_whose_offset_an_open_transaction_holds_keeps_no_other_waiting(
    broker: Cluster, protocol: str
) -> None:
    topics = broker.topics()
    broker.produce(topics.input, [event(number) for number in range(400)])
    ends = broker.ends(topics.input)
    flags = (ONCE, f"kafka.group_protocol={protocol}", "kafka.stuck_after_s=1")
    with Reader(broker, [topics.results]) as reader, left_open(broker, topics, partition=2, offset=5) as transaction:
        async with running(broker.settings(topics, *flags)) as worker:
            others = await asyncio.to_thread(reader.until, 400 - ends[2])
            assert {source_of(message)[0] for message in others} == {0, 1, 3}
            waits = f"{topics.input}[2] is assigned and not begun"
            await until(lambda: waits in str(worker.status()["not_ready"]), "readiness says so")
            await asyncio.to_thread(transaction.commit_transaction)
            await until(lambda: broker.committed(topics) == ends, "it is done")
            await until(lambda: worker.status()["not_ready"] == [], "it is ready")
        offsets = sorted(number for partition, number in map(source_of, reader.rest()) if partition == 2)
    assert offsets == list(range(5, ends[2]))
