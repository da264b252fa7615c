"""A transaction coordinator, the group's offsets and a topic of outcomes, with a producer and an owner beside it.

For what no real broker can be made to do whenever a test likes: answers that are lost, late or never come, at each
call, and timeouts between any two of them. What it promises is what was seen of Apache Kafka 4.3.1 and librdkafka 2.16;
tests/broker/test_exactly_once.py has the same sink on real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from worker.kafka.clients import Disconnects
from worker.kafka.ledger import Partition, Position
from worker.kafka.progress import parse
from worker.records import Headers

LEAST_S = 0.05
"""A call with less time than that may be left half way, and its answer taken for that of the next (read in 2.16)."""
DEAD_LETTERS = "dead"
SOURCE = "source"
"""The header that says which record an outcome is of."""

Report = Callable[[KafkaError | None, Any], None]


class Trouble(Enum):
    """What becomes of the next call of a kind."""

    NOT_DONE = auto()
    """It does not reach the broker in time."""
    UNANSWERED = auto()
    """The broker does it, and the answer is lost."""
    REFUSED = auto()
    """The transaction must be aborted."""
    UNKNOWN = auto()
    """Likewise, since a partition is not known (offsets only)."""
    FOR_GOOD = auto()
    """Likewise, for what it is (offsets only)."""
    SILENT = auto()
    """The broker does it, and the call never comes back (offsets only)."""
    OUTLIVED = auto()
    """The broker does it; the answer comes after the transaction's time is up, and says that the producer is fenced."""
    RESENT = auto()
    """The connection breaks, and it is sent again and done; the first one is on its way still."""
    NOT_SAID = auto()
    """It is not done, and the error is lost on its way to us (seen of `flush`)."""


_REFUSALS = {
    Trouble.REFUSED: KafkaError.INVALID_TXN_STATE,
    Trouble.UNKNOWN: KafkaError.UNKNOWN_TOPIC_OR_PART,
    Trouble.FOR_GOOD: KafkaError.OFFSET_METADATA_TOO_LARGE,
}


@dataclass(slots=True)
class Transaction:
    began_s: float
    outcomes: list[tuple[Partition, int]] = field(default_factory=list)
    offsets: dict[Partition, Position] = field(default_factory=dict)
    prepared: bool = False
    """Whether it is decided that it is committed, though not all has heard of it yet."""


class Cluster:
    """Time stands still but for `now_s`."""

    def __init__(self, partitions: Iterable[Partition], timeout_s: float) -> None:
        self.now_s = 1000.0
        self.timeout_s = timeout_s
        self.epoch = 0
        self.open: Transaction | None = None
        self.visible: dict[Partition, list[int]] = {partition: [] for partition in partitions}
        """The offsets whose outcomes readers of committed transactions see, in their order."""
        self.offsets: dict[Partition, Position] = {}
        self.generation = object()
        """The membership as the group knows it."""
        self.strays: list[tuple[int, Callable[[], None]]] = []
        """Requests that are on their way still, though they were sent again: of which epoch, and what they do."""
        self.troubles: dict[str, Trouble | int] = {}
        """By the name of the call; a code is an error after which the producer can be used no more."""
        self.blames: dict[tuple[Partition, int], int] = {}
        """Outcomes that are refused for what they are, with the codes: dead letters in their place are taken."""

    def transaction(self) -> Transaction:
        if self.open is None:
            self.open = Transaction(self.now_s)
        return self.open

    def complete(self) -> None:
        """Let everyone hear of a transaction that is decided, as its coordinator does sooner or later."""
        if self.open is not None and self.open.prepared:
            for partition, offset in self.open.outcomes:
                self.visible[partition].append(offset)
            self.offsets.update(self.open.offsets)
            self.open = None

    def pass_time(self, seconds: float) -> None:
        """In which the coordinator catches up, and aborts a transaction whose time is up: its producer is fenced so."""
        self.now_s += seconds
        if seconds:
            self.complete()
        if self.open and not self.open.prepared and self.now_s - self.open.began_s >= self.timeout_s:
            self.open = None
            self.epoch += 1

    def strays_arrive(self) -> None:
        """They do to the transaction that is open what they were to do to the one before it, but for old epochs."""
        for epoch, do in self.strays:
            if epoch == self.epoch and self.open is not None and not self.open.prepared:
                do()
        self.strays.clear()
        self.complete()

    def prepare(self) -> None:
        self.transaction().prepared = True

    def abort(self) -> None:
        self.open = None

    def take_over(self) -> int:
        """The epoch of a new producer: what the one before it left is brought to its end."""
        self.complete()
        self.open = None
        self.epoch += 1
        return self.epoch

    def stable(self, partition: Partition) -> bool:
        """Whether the group's offset may be read: no transaction that has offsets of it is under way (KIP-447)."""
        return self.open is None or partition not in self.open.offsets

    def work_elsewhere(self, partition: Partition, offset: int) -> None:
        """Another worker, which owns the partition, does this record in a transaction of its own."""
        assert self.stable(partition)
        position = self.offsets.get(partition, Position(0))
        after = parse(position.offset, position.metadata).after([(offset, offset + 1)])
        self.visible[partition].append(offset)
        self.offsets[partition] = Position(after.base, metadata=after.metadata)


class FakeProducer:
    """Keeps what librdkafka's transactional producer promises; opened in the place of one."""

    def __init__(self, cluster: Cluster, disconnects: Disconnects) -> None:
        self._cluster = cluster
        self._disconnects = disconnects
        self._epoch = 0
        self._waiting: list[tuple[Partition, int, str, Report]] = []
        self._done = ""
        """The call that the broker did last, while its answer is to come: the same one again has it."""

    def init_transactions(self, _timeout_s: float) -> None:
        def take_over() -> None:
            self._epoch = self._cluster.take_over()

        self._call("init", take_over)

    def begin_transaction(self) -> None:
        self._call("begin", lambda: None)

    def produce(self, topic: str, *, headers: Headers, on_delivery: Report, **_: object) -> None:
        where = dict(headers)[SOURCE] or b""
        source, number, offset = where.decode().split()
        self._waiting.append(((source, int(number)), int(offset), topic, on_delivery))

    def flush(self, _timeout_s: float) -> None:
        self._look_for_fence()
        waiting, self._waiting = self._waiting, []
        trouble = self._cluster.troubles.pop("flush", None)
        if trouble is Trouble.NOT_SAID:
            self._waiting = waiting
            raise SystemError("returned NULL without setting an exception")
        if trouble is Trouble.NOT_DONE:
            # Some are acknowledged by then, in their order.
            half = len(waiting) // 2
            waiting, self._waiting = waiting[:half], waiting[half:]
        batch = [(partition, offset) for partition, offset, topic, _ in waiting if topic != DEAD_LETTERS]
        refused = trouble is Trouble.REFUSED or not self._cluster.blames.keys().isdisjoint(batch)
        for partition, offset, _, report in waiting:
            if refused:
                code = self._cluster.blames.get((partition, offset), KafkaError._INVALID_DIFFERENT_RECORD)
                report(KafkaError(KafkaError._MSG_TIMED_OUT if trouble is Trouble.REFUSED else code), None)
            else:
                self._cluster.transaction().outcomes.append((partition, offset))
                report(None, None)

    def send_offsets_to_transaction(self, offsets: list[TopicPartition], membership: Any, _timeout_s: float) -> None:
        if membership is not self._cluster.generation:
            self._look_for_fence()
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION, txn_requires_abort=True))
        positions = {(each.topic, each.partition): Position(each.offset, metadata=each.metadata) for each in offsets}
        self._call("offsets", lambda: self._cluster.transaction().offsets.update(positions))

    def commit_transaction(self, timeout_s: float) -> None:
        assert timeout_s >= LEAST_S
        self._call("commit", self._cluster.prepare)
        self._cluster.complete()

    def abort_transaction(self, timeout_s: float) -> None:
        assert timeout_s >= LEAST_S
        self._call("abort", self._cluster.abort)
        waiting, self._waiting = self._waiting, []
        for *_, report in waiting:
            report(KafkaError(KafkaError._PURGE_QUEUE), None)

    def poll(self, _timeout_s: float) -> None:
        """Nothing is heard of in here: breaks are told at once."""

    def purge(self) -> None:
        self._waiting.clear()

    def _call(self, name: str, do: Callable[[], None]) -> None:
        done, self._done = self._done, ""
        if name == done:
            return
        self._look_for_fence(name)
        trouble = self._cluster.troubles.pop(name, None)
        if isinstance(trouble, int):
            raise KafkaException(KafkaError(trouble, fatal=True))
        if trouble in _REFUSALS:
            raise KafkaException(KafkaError(_REFUSALS[trouble], txn_requires_abort=True))
        if trouble is Trouble.NOT_DONE:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True))
        if trouble is Trouble.NOT_SAID:
            raise SystemError("returned NULL without setting an exception")
        do()
        if trouble is Trouble.RESENT:
            self._disconnects.log(20, "", "FAIL", "", "Disconnected (after 7ms in state UP)")
            self._cluster.strays.append((self._epoch, do))
            return
        if trouble is Trouble.OUTLIVED:
            self._cluster.now_s += self._cluster.timeout_s
            self._cluster.epoch += 1
            self._look_for_fence()
        if trouble is not None:
            self._done = name
            late = KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True))
            raise Never if trouble is Trouble.SILENT else late

    def _look_for_fence(self, name: str = "") -> None:
        if name != "init" and self._epoch != self._cluster.epoch:
            raise KafkaException(KafkaError(KafkaError._FENCED, fatal=True))


class Never(Exception):
    """Raised where a call never comes back."""


def aside(call: Callable[[], Any], _name: str) -> Future[Any]:
    """At once, and on no thread of its own: a future that is done, or that never will be."""
    answer: Future[Any] = Future()
    try:
        answer.set_result(call())
    except Never:
        pass
    except Exception as error:
        answer.set_exception(error)
    return answer


class Group:
    """The group as this worker's source shows it to a sink."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.membership: Any = cluster.generation

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        raise AssertionError("a transaction commits the offsets")

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, Position]:
        asked = list(partitions)
        if self._cluster.troubles.pop("ask", None) or not all(map(self._cluster.stable, asked)):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return {each: self._cluster.offsets[each] for each in asked if each in self._cluster.offsets}
