"""A sink for exactly-once on a real broker, without a worker round it: one step of a transaction at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from tests.broker.test_faults import wait_for
from tests.clusters import Cluster, Reader, Topics, event
from tests.unit.kafka.books import record
from worker.kafka.deadletter import DeadLetters
from worker.kafka.exactly_once import ExactlyOnceSink
from worker.kafka.ledger import Ledger, Partition, Position, Settlement, Ticket
from worker.kafka.messages import source_record
from worker.kafka.progress import Progress
from worker.models.classifier import head_of
from worker.records import Outcome, OutgoingRecord
from worker.testing import FreeClassifier

ONCE = "kafka.delivery=exactly-once"


def member(cluster: Cluster, topics: Topics) -> Consumer:
    """A bare member of the group."""
    return Consumer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": topics.group,
            "partition.assignment.strategy": "cooperative-sticky",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "heartbeat.interval.ms": 500,
            "log_level": 0,
        }
    )


class Bench:
    """A sink, one consumer's membership as of each rebalance, and a settlement of the records that it read."""

    def __init__(self, cluster: Cluster, topics: Topics, *flags: str) -> None:
        self.cluster, self.topics = cluster, topics
        self.ledger = Ledger()
        self.membership: Any = None
        settings = cluster.settings(topics, ONCE, *flags).kafka
        self.sink = ExactlyOnceSink(settings, DeadLetters(topics.dead_letters, lambda: head_of(FreeClassifier())))
        wait_for(lambda: self.sink.open(1.0), "the sink is open")
        self.consumer = member(cluster, topics)
        self.consumer.subscribe([topics.input], on_assign=self._noted)

    def _noted(self, consumer: Consumer, _partitions: object) -> None:
        self.membership = consumer.consumer_group_metadata()

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        raise AssertionError("a transaction commits the offsets")

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, Position]:
        found = self.consumer.committed([TopicPartition(*each) for each in partitions], timeout=timeout_s)
        return {(each.topic, each.partition): Position(each.offset, metadata=each.metadata or "") for each in found}

    def settlement(self) -> Settlement:
        """Of the first record that comes."""
        while (message := self.consumer.poll(0.1)) is None:
            pass
        record = source_record(message)
        self.ledger.assign((record.coordinates.topic, record.coordinates.partition), Progress(0))
        ticket = self.ledger.open(record, now_s=0, size_bytes=0)
        assert ticket is not None
        return self._settlement(ticket)

    def settlement_out_of_order(self, *partitions: Partition) -> Settlement:
        """Of the second record of each partition, while the first is not done."""
        self.ledger = Ledger(in_order=False)
        finished = []
        for partition in partitions:
            self.ledger.assign(partition, Progress(0))
            finished += [self.ledger.open(record(partition, offset), now_s=0, size_bytes=0) for offset in (0, 1)][1:]
        return self._settlement(*filter(None, finished))

    def _settlement(self, *finished: Ticket) -> Settlement:
        for ticket in finished:
            outgoing = OutgoingRecord(self.topics.results, None, b'{"source": {"partition": 0, "offset": 0}}', ())
            self.ledger.finish(ticket, Outcome("classification", outgoing, action="allow"))
        settlement = self.ledger.take()
        assert settlement is not None
        return settlement

    def settle(self, settlement: Settlement, positions: Callable[[Settlement], Mapping[Partition, Position]]) -> bool:
        return self.sink.settle(settlement, positions, self, 1.0)


@contextmanager
def bench(cluster: Cluster, *flags: str, partitions: int = 1) -> Iterator[Bench]:
    topics = cluster.topics(partitions=partitions)
    cluster.produce(topics.input, [event(0)])
    whole = Bench(cluster, topics, *flags)
    try:
        yield whole
    finally:
        whole.consumer.close()
        whole.sink.close()


def outcomes(whole: Bench, *, committed: bool) -> list[Message]:
    with Reader(whole.cluster, [whole.topics.results], committed=committed) as reader:
        reader.until(1)
        return [message for message in reader.rest() if message.value() is not None]


def passed(whole: Bench) -> list[Message]:
    """The outcomes committed by the time that a later record is visible: when no transaction before it is open."""
    whole.cluster.produce(whole.topics.results, [{"value": None}])
    return outcomes(whole, committed=True)
