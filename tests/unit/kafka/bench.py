"""An at-least-once sink on a bench: a ledger with finished records, and a producer that answers as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from worker.kafka.deadletter import DeadLetters
from worker.kafka.ledger import Ledger, Partition, Position, Settlement
from worker.kafka.progress import Progress
from worker.kafka.settings import KafkaSettings
from worker.kafka.sink import AtLeastOnceSink
from worker.models.classifier import head_of
from worker.records import Coordinates, Outcome, OutgoingRecord, SourceRecord
from worker.testing import FreeClassifier

Report = Callable[[KafkaError | None, Any], None]


class Broker:
    """What all producers have handed in; `answer` says how much of it is acknowledged at a flush, and how."""

    def __init__(self) -> None:
        self.producers: list[FakeProducer] = []
        self.answer: Callable[[bytes], bool] = lambda value: True
        self.drops = False
        self.gone: set[str] = set()
        """Topics that it says are not there."""
        self.blames: dict[bytes, int] = {}
        """Values that it refuses, and with them the whole of their batch."""
        self.fatal: list[int] = []
        """What is wrong for good with the producers to come, one after the other."""
        self.fatal_at_close = 0
        self.now_s = 100.0
        """By the clock that says how long reports are waited for."""

    def monotonic(self) -> float:
        return self.now_s

    @property
    def handed_in(self) -> list[list[bytes]]:
        return [producer.handed_in for producer in self.producers]

    def open(self, *_: object) -> FakeProducer:
        self.producers.append(FakeProducer(self))
        return self.producers[-1]


class FakeProducer:
    """Keeps what librdkafka's producer promises: a report of each record, inside `flush`, in order."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: list[tuple[bytes, Report]] = []
        self._purged = False
        self.handed_in: list[bytes] = []
        self.most_bytes = 0

    def produce(self, topic: str, *, value: bytes, on_delivery: Report, **_: object) -> None:
        self.handed_in.append(value)
        self._waiting.append((value, on_delivery))
        self.most_bytes = max(self.most_bytes, sum(len(value) for value, _ in self._waiting))

    def flush(self, timeout_s: float) -> None:
        waiting, self._waiting = self._waiting, []
        if self._broker.fatal and not self._purged:
            # Some have their reports by then, and what is wrong may be raised in their place or when it is closed.
            for _, report in waiting[::2]:
                report(KafkaError(KafkaError._PURGE_QUEUE), None)
            self._waiting = waiting[1::2]
            raise KafkaException(KafkaError(self._broker.fatal.pop(0)))
        if self._broker.fatal_at_close and self._purged:
            raise KafkaException(KafkaError(self._broker.fatal_at_close))
        batch_fails = any(value in self._broker.blames for value, _ in waiting)
        for value, report in waiting:
            if batch_fails:
                report(KafkaError(self._broker.blames.get(value, KafkaError._INVALID_DIFFERENT_RECORD)), None)
            elif self._purged:
                report(KafkaError(KafkaError._PURGE_QUEUE), None)
            elif self._broker.drops:
                report(KafkaError(KafkaError._MSG_TIMED_OUT), None)
            elif self._broker.answer(value):
                report(None, None)
            else:
                self._waiting.append((value, report))

    def purge(self) -> None:
        self._purged = True

    def list_topics(self, topic: str, timeout: float) -> Any:
        error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART) if topic in self._broker.gone else None
        return SimpleNamespace(topics={topic: SimpleNamespace(error=error)})


class Group:
    """Takes every commit."""

    membership = None

    def __init__(self) -> None:
        self.commits: list[Mapping[Partition, Position]] = []
        self.asked_s: list[float] = []

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        self.commits.append(positions)
        self.asked_s.append(timeout_s)
        return True

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, Position]:
        return {}


class Bench:
    """A sink, a ledger with some finished records of two partitions, and their settlement."""

    def __init__(self, broker: Broker, count: int, value_bytes: int = 8) -> None:
        # A patience of a fifth of a second: a session of 1200 ms less a heartbeat.
        properties = {"session.timeout.ms": 1200, "heartbeat.interval.ms": 1000}
        self.sink = AtLeastOnceSink(
            KafkaSettings(consumer_properties=properties, producer_properties={"topic.metadata.propagation.max.ms": 0}),
            DeadLetters("dead", lambda: head_of(FreeClassifier())),
        )
        self.broker = broker
        self.group = Group()
        self.ledger = Ledger()
        self.values = [str(number).encode().ljust(value_bytes, b".") for number in range(count)]
        for number, value in enumerate(self.values):
            self._finish(number, value)
        settlement = self.ledger.take()
        assert settlement is not None
        self.settlement: Settlement = settlement

    def _finish(self, number: int, value: bytes) -> None:
        partition = ("images", number % 2)
        self.ledger.assign(partition, Progress(0))
        record = SourceRecord(Coordinates(*partition, number), 0, None, b"", ())
        ticket = self.ledger.open(record, now_s=0, size_bytes=0)
        assert ticket is not None
        self.ledger.finish(ticket, Outcome("classification", OutgoingRecord("results", None, value, ())))

    def settle(self) -> bool:
        return self.sink.settle(self.settlement, self.ledger.positions, self.group, 0.01)

    def of(self, partition: int) -> list[bytes]:
        """As the ledger hands them out: one partition after the other."""
        return self.values[partition::2]
