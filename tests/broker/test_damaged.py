"""A batch of records that is damaged where a real broker keeps it: said, and not passed over.

`pytest -m long tests/broker/test_damaged.py`
"""

from __future__ import annotations

import asyncio
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from structlog.typing import EventDict

from tests import kafka_server
from tests.broker.test_offsets import offsets
from tests.clusters import PATIENCE_S, Cluster, event
from tests.e2e.test_health import samples, until_page
from tests.workers import running, until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.long,
    pytest.mark.skipif(not kafka_server.own_brokers(), reason="needs a broker of its own to stop: KAFKA_HOME"),
]

_HEAD = struct.Struct(">qi")
"""Of a batch: its first offset, and how many bytes follow."""
_PAYLOAD_AT = 61
"""Where the records of a batch begin (KIP-98)."""


@pytest.fixture
def kafka() -> Iterator[kafka_server.RealKafka]:
    with kafka_server.RealKafka() as kafka:
        yield kafka


def produce_batch(cluster: Cluster, topic: str, numbers: range, codec: str) -> None:
    """So many records in one batch."""
    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap_servers, "linger.ms": 1000, "compression.type": codec, "log_level": 0}
    )
    for number in numbers:
        producer.produce(topic, partition=0, value=event(number)["value"])
    assert producer.flush(PATIENCE_S) == 0


def damage(segment: Path, first: int, at: int) -> None:
    """Change some bytes of the batch that begins at this offset, so far from the batch's begin."""
    content, place = bytearray(segment.read_bytes()), 0
    while (found := _HEAD.unpack_from(content, place))[0] != first:
        place += _HEAD.size + found[1]
    for position in range(place + at, place + at + 8):
        content[position] ^= 0xFF
    segment.write_bytes(content)


def damage_at_rest(kafka: kafka_server.RealKafka, topic: str, first: int, at: int) -> None:
    """While the broker, which ended in order and so looks at no batch when it comes back, does not run."""
    broker = kafka.brokers[0]
    assert broker.process is not None
    broker.signal(signal.SIGTERM)
    broker.process.wait(PATIENCE_S)
    damage(broker.folder / "data" / f"{topic}-0" / f"{0:020}.log", first, at)
    kafka.restart(0)
    assert kafka.answers()


@pytest.mark.parametrize(("codec", "at"), [("gzip", _PAYLOAD_AT), ("none", _PAYLOAD_AT)])
async def test_a_partition_with_a_damaged_batch_stands_still_is_named_and_goes_on_after_it_when_told_to(
    kafka: kafka_server.RealKafka, codec: str, at: int, logs: list[EventDict]
) -> None:
    cluster = Cluster(kafka.bootstrap_servers, real=True)
    topics = cluster.topics(partitions=2)
    for numbers in (range(3), range(3, 6), range(6, 9)):
        produce_batch(cluster, topics.input, numbers, codec)
    cluster.produce(topics.input, [{**event(9), "partition": 1}])
    damage_at_rest(kafka, topics.input, 3, at)
    async with running(cluster.settings(topics, "kafka.stuck_after_s=2")) as worker:
        await until(lambda: worker.port != 0, "the pages are served")
        text = ""
        while "cannot be fetched" not in text:
            text = await until_page(worker, "readyz", 503)
        stuck = (await samples(worker))["image_worker_stuck_partition"]
        await until(lambda: cluster.committed(topics) == {0: 3, 1: 1}, "what is whole is done")
    assert f"{topics.input}[0] cannot be fetched for" in text
    assert stuck == {("0", topics.input): 1.0, ("1", topics.input): 0.0}
    places = [line["at"] for line in logs if line["event"] == "kafka.poll_error"]
    assert any(place is not None and place.startswith(f"{topics.input}[0]") for place in places)
    assert cluster.committed(topics) == {0: 3, 1: 1}
    assert len(cluster.read([topics.results, topics.dead_letters], 4)) == 4
    await asyncio.to_thread(offsets, cluster, topics, "set", "--to", "6", "--partitions", "0")
    async with running(cluster.settings(topics)):
        await asyncio.to_thread(cluster.read, [topics.results], 7)
        await until(lambda: cluster.committed(topics) == {0: 9, 1: 1}, "the rest is done")
