"""A batch of records that is damaged where a real broker keeps it: said, and not passed over.

`pytest -m long tests/broker/test_damaged.py` has more kinds of damage.
"""

from __future__ import annotations

import asyncio
import signal
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from confluent_kafka import Producer
from structlog.typing import EventDict

from tests import kafka_server
from tests.broker.test_offsets import offsets
from tests.clusters import PATIENCE_S, Cluster, Topics, event
from tests.e2e.test_health import samples, until_page
from tests.workers import running, until
from worker.app import Worker

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(not kafka_server.own_brokers(), reason="needs a broker of its own to stop: KAFKA_HOME"),
]

_HEAD = struct.Struct(">qi")
"""Of a batch: its first offset, and how many bytes follow."""
_PAYLOAD_AT = 61
"""Where the records of a batch begin (KIP-98)."""

SKIPPED = "where a record is"
CASES = {
    "a compressed batch": ("gzip", 3, _PAYLOAD_AT),
    "how long a record is": ("none", 3, _PAYLOAD_AT),
    SKIPPED: ("none", 3, _PAYLOAD_AT + 4),
    "a value": ("none", 3, _PAYLOAD_AT + 40),
    "the checksum": ("none", 3, 17),
    "the format": ("none", 3, 16),
    "the very first batch": ("none", 0, _PAYLOAD_AT + 4),
}
"""By what is damaged: the codec, the first offset of the batch, and how far from its begin. Of the one that is named
SKIPPED a plain client passes over a record, and goes on without a word.
"""


@dataclass(frozen=True, slots=True)
class Damaged:
    """A broker, and for each case topics of two partitions: the first one has three batches of three records."""

    kafka: kafka_server.RealKafka
    cluster: Cluster
    topics: Mapping[str, Topics]

    def segment(self, case: str) -> Path:
        return self.kafka.brokers[0].folder / "data" / f"{self.topics[case].input}-0" / f"{0:020}.log"

    def at_rest(self, change: Callable[[], object]) -> None:
        """Change files while the broker does not run; it ended in order, and so looks at none when it comes back."""
        broker = self.kafka.brokers[0]
        assert broker.process is not None
        broker.signal(signal.SIGTERM)
        broker.process.wait(PATIENCE_S)
        change()
        self.kafka.restart(0)
        assert self.kafka.answers()


@pytest.fixture(scope="module")
def damaged() -> Iterator[Damaged]:
    with kafka_server.RealKafka() as kafka:
        cluster = Cluster(kafka.bootstrap_servers, real=True)
        found = Damaged(kafka, cluster, {case: cluster.topics(partitions=2) for case in CASES})
        for case, (codec, _, _) in CASES.items():
            for numbers in (range(3), range(3, 6), range(6, 9)):
                produce_batch(cluster, found.topics[case].input, numbers, codec)
            cluster.produce(found.topics[case].input, [{**event(9), "partition": 1}])
        found.at_rest(lambda: [damage(found.segment(case), first, at) for case, (_, first, at) in CASES.items()])
        yield found


def produce_batch(cluster: Cluster, topic: str, numbers: range, codec: str) -> None:
    """So many records in one batch."""
    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap_servers, "linger.ms": 1000, "compression.type": codec, "log_level": 0}
    )
    for number in numbers:
        producer.produce(topic, partition=0, value=event(number)["value"])
    assert producer.flush(PATIENCE_S) == 0


def damage(segment: Path, first: int, at: int) -> None:
    """Change some bytes of the batch that begins at this offset. Done twice, it is undone."""
    content, place = bytearray(segment.read_bytes()), 0
    while (found := _HEAD.unpack_from(content, place))[0] != first:
        place += _HEAD.size + found[1]
    for position in range(place + at, place + at + (1 if at < _PAYLOAD_AT else 8)):
        content[position] ^= 0xFF
    segment.write_bytes(content)


async def until_it_is_stuck(worker: Worker) -> str:
    """The line of `/readyz`."""
    await until(lambda: worker.port != 0, "the pages are served")
    text = ""
    while "cannot be fetched" not in text:
        text = await until_page(worker, "readyz", 503)
    return text


@pytest.mark.parametrize(
    "case", [SKIPPED, *(pytest.param(each, marks=pytest.mark.long) for each in CASES if each != SKIPPED)]
)
async def test_a_partition_with_a_damaged_batch_stands_still_is_named_and_goes_on_after_it_when_told_to(
    damaged: Damaged, case: str, logs: list[EventDict]
) -> None:
    """By default librdkafka 2.16 passes over some of these without a word."""
    cluster, topics, (_, first, _) = damaged.cluster, damaged.topics[case], CASES[case]
    before = {0: first, 1: 1} if first else {1: 1}
    async with running(cluster.settings(topics, "kafka.stuck_after_s=2")) as worker:
        text = await until_it_is_stuck(worker)
        stuck = (await samples(worker))["image_worker_stuck_partition"]
        await until(lambda: cluster.committed(topics) == before, "what is whole is done")
        await asyncio.sleep(1.0)
        assert cluster.committed(topics) == before, "nothing of what comes behind it"
    assert f"{topics.input}[0] cannot be fetched for" in text
    assert stuck == {("0", topics.input): 1.0, ("1", topics.input): 0.0}
    said = [line["at"] for line in logs if line["event"] == "kafka.poll_error"]
    assert len(said) == 1, "it is said once"
    assert said[0].startswith(f"{topics.input}[0]@")
    assert len(cluster.read([topics.results, topics.dead_letters], first + 1)) == first + 1
    if case == "the format":
        return  # the broker itself does not find what comes behind that
    await asyncio.to_thread(offsets, cluster, topics, "set", "--to", str(first + 3), "--partitions", "0")
    async with running(cluster.settings(topics)):
        await asyncio.to_thread(cluster.read, [topics.results], 7)
        await until(lambda: cluster.committed(topics) == {0: 9, 1: 1}, "the rest is done")


@pytest.mark.long
async def test_one_that_is_whole_again_is_gone_on_with_and_each_record_done_once(damaged: Damaged) -> None:
    """As where another broker, whose copy is whole, leads it by then."""
    cluster, case = damaged.cluster, SKIPPED
    topics = replace(damaged.topics[case], group="another", results=f"{damaged.topics[case].results}-again")
    cluster.create(topics.results)
    _, first, at = CASES[case]
    async with running(cluster.settings(topics, "kafka.stuck_after_s=2")) as worker:
        await until_it_is_stuck(worker)
        await until(lambda: cluster.committed(topics) == {0: 3, 1: 1}, "what is whole is done")
    await asyncio.to_thread(damaged.at_rest, lambda: damage(damaged.segment(case), first, at))
    async with running(cluster.settings(topics)) as worker:
        await until(lambda: cluster.committed(topics) == {0: 9, 1: 1}, "all of it is done")
        assert await until_page(worker, "readyz", 200) == "ok\n"
    assert len(cluster.read([topics.results], 10)) == 10
