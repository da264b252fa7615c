"""Exactly-once as a state machine: a sink and a ledger over a coordinator that may fail at every call."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError
from hypothesis import strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.kafka import coordinator
from tests.unit.kafka.books import record
from tests.unit.kafka.coordinator import DEAD_LETTERS, SOURCE, Cluster, FakeProducer, Group, Transaction, Trouble
from worker.errors import Fatal
from worker.kafka import exactly_once, publisher, refused_offsets, reminder, transactions
from worker.kafka.committer import is_reached
from worker.kafka.deadletter import DeadLetters
from worker.kafka.exactly_once import ExactlyOnceSink
from worker.kafka.ledger import Ledger, Partition, Position, Ticket
from worker.kafka.progress import Progress, parse
from worker.kafka.settings import KafkaSettings
from worker.models.classifier import head_of
from worker.records import Outcome, OutgoingRecord, SourceRecord
from worker.testing import FreeClassifier

PARTITIONS = [("images", 0), ("images", 1)]
TIMEOUT_S = 10.0
CALLS = {
    "init": [Trouble.NOT_DONE, Trouble.UNANSWERED],
    "flush": [Trouble.NOT_DONE, Trouble.REFUSED, Trouble.NOT_SAID],
    "offsets": list(Trouble),
    "commit": [each for each in Trouble if each not in (Trouble.UNKNOWN, Trouble.FOR_GOOD, Trouble.SILENT)],
    "abort": [Trouble.NOT_DONE, Trouble.UNANSWERED, Trouble.OUTLIVED, Trouble.RESENT],
    "ask": [Trouble.NOT_DONE],
}
LAPSES = [(call, trouble) for call, troubles in CALLS.items() for trouble in troubles]
partitions = strategies.sampled_from(PARTITIONS)
seconds = strategies.sampled_from([0.0, 0.0, 0.0, 2.0, 11.0])
flags = strategies.booleans()
lapses = strategies.integers(-1, 2)
blamed = strategies.sampled_from([-1, -1, -1, 0, 1, 3])
some = strategies.lists(strategies.booleans(), min_size=1, max_size=4)
_NAMES = count()


def source_of(record: SourceRecord) -> tuple[str, bytes]:
    at = record.coordinates
    return (SOURCE, f"{at.topic} {at.partition} {at.offset}".encode())


def outcome_of(ticket: Ticket) -> Outcome:
    return Outcome("classification", OutgoingRecord("results", None, b"", (source_of(ticket.record),)))


class Once(RuleBasedStateMachine):
    """Whatever is lost, late, moved or killed, each outcome is visible once. Others own what this worker does not."""

    in_order = True

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(PARTITIONS, TIMEOUT_S)
        self.patches = pytest.MonkeyPatch()
        clock = SimpleNamespace(monotonic=lambda: self.cluster.now_s)
        for room in (exactly_once, publisher, refused_offsets, reminder, transactions):
            self.patches.setattr(room, "time", clock)
        self.patches.setattr(transactions, "aside", coordinator.aside)
        self.patches.setattr(
            transactions, "open_client", lambda _kind, properties, *_: FakeProducer(self.cluster, properties["logger"])
        )
        self.settings = KafkaSettings(
            transactional_id=f"once-{os.getpid()}-{next(_NAMES)}", transaction_timeout_s=TIMEOUT_S
        )
        self.log = dict.fromkeys(PARTITIONS, 0)
        """How many records each partition has."""
        self.lapses: list[tuple[str, Trouble]] = []
        self.owned: set[Partition] = set()
        """What is ours as the group knows it."""
        self.start()
        for partition in PARTITIONS:
            self.give_back(partition)

    def start(self) -> None:
        self.sink = ExactlyOnceSink(self.settings, DeadLetters(DEAD_LETTERS, lambda: head_of(FreeClassifier())))
        self.ledger = Ledger(in_order=self.in_order, at_once=5)
        self.group = Group(self.cluster)
        self.reads: dict[Partition, int] = {}
        self.begins: set[Partition] = set()
        """Those of which nothing more is read before how far they are is committed, with no outcomes."""
        self.live: list[Ticket] = []

    @initialize(few=strategies.lists(strategies.sampled_from(LAPSES), min_size=1, max_size=3))
    def choose(self, few: list[tuple[str, Trouble]]) -> None:
        """The kinds of trouble there are this time: few, so that they meet each other."""
        self.lapses = few

    @rule(partition=partitions, finished=some, blamed=blamed, lapse=lapses, seconds=seconds)
    def work(self, partition: Partition, finished: list[bool], blamed: int, lapse: int, seconds: float) -> None:
        """Records come, some of them are done, and what may be settled is. Of one the outcome may be refused."""
        if blamed >= 0:
            self.cluster.blames[partition, self.log[partition] + blamed] = KafkaError.INVALID_RECORD
        self.log[partition] += len(finished)
        for ticket, is_finished in zip(self.read(partition), finished, strict=False):
            if is_finished:
                self.finish(ticket)
        self.settle(lapse, seconds)

    @rule(lapse=lapses, seconds=seconds)
    def settle(self, lapse: int, seconds: float) -> None:
        """One step of the settlement under way, after some time and with some trouble."""
        self.cluster.troubles.update(self.lapses[lapse : lapse + 1] if lapse >= 0 else [])
        self.cluster.pass_time(seconds)
        settlement = self.ledger.take()
        if settlement is not None and self.goes_on(
            lambda: self.sink.settle(settlement, self.ledger.positions, self.group, 0.0)
        ):
            for ticket in self.ledger.settled(settlement):
                assert ticket.record.coordinates.offset in self.cluster.visible[ticket.partition]

    @rule(partition=partitions, lapse=lapses, seconds=seconds)
    def begin(self, partition: Partition, lapse: int, seconds: float) -> None:
        """A start is committed, or an end: of a partition in which nothing is under way."""
        self.cluster.troubles.update(self.lapses[lapse : lapse + 1] if lapse >= 0 else [])
        self.cluster.pass_time(seconds)
        if partition in self.ledger.partitions and not self.ledger.in_flight_of(partition):
            self.begins.add(partition)
        self.commit()

    def commit(self) -> None:
        known = self.ledger.progress()
        starts = {each: Position(known[each].base, metadata=known[each].metadata) for each in self.begins}
        if self.goes_on(lambda: self.sink.commit(starts, self.group, 0.0)):
            held = {**self.cluster.offsets, **(self.cluster.open or Transaction(0)).offsets}
            assert all(is_reached(held.get(each), position) for each, position in starts.items())
            self.begins.clear()

    def goes_on(self, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except Fatal as fatal:
            if not self.may_end_so(str(fatal)):
                raise
            self.crash()
            return False

    def may_end_so(self, why: str) -> bool:
        if "no rebalance came" in why:
            return self.group.membership is not self.cluster.generation
        return any(code in why for code in ("OFFSET_METADATA_TOO_LARGE", "UNKNOWN_TOPIC_OR_PART"))

    @rule()
    def strays_arrive(self) -> None:
        self.cluster.strays_arrive()

    @rule(second=flags, heard=flags, works=flags, seconds=seconds)
    def take_away(self, second: bool, heard: bool, works: bool, seconds: float) -> None:
        """In a rebalance of which we need not hear yet; the new owner may do something.

        One of a settlement under way, if there is one: of the others there is little to be seen.
        """
        settlement = self.ledger.take()
        partition = settlement.tickets[-second].partition if settlement else PARTITIONS[second]
        self.owned.discard(partition)
        self.cluster.generation = object()
        if heard:
            self.hear_of_it()
        self.cluster.pass_time(seconds)
        if works and self.cluster.stable(partition):
            done = self.done(partition)
            left = [offset for offset in range(self.log[partition]) if offset not in done]
            for offset in left[:1] if self.in_order else left[-1:]:
                self.cluster.work_elsewhere(partition, offset)

    def hear_of_it(self) -> None:
        for partition in set(self.ledger.partitions) - self.owned:
            self.ledger.forget(partition)
            self.begins.discard(partition)
            self.live = [ticket for ticket in self.live if ticket.partition != partition]
        self.group.membership = self.cluster.generation

    @rule(partition=partitions)
    def give_back(self, partition: Partition) -> None:
        """In a rebalance of which we hear; the group's offset is waited for."""
        self.hear_of_it()
        if partition not in self.owned and self.cluster.stable(partition):
            self.owned.add(partition)
            self.cluster.generation = self.group.membership = object()
            self.ledger.assign(partition, self.done(partition))
            self.reads[partition] = self.done(partition).base

    @rule(lives_on=strategies.sampled_from([True, True, True, False]))
    def crash_at_times(self, lives_on: bool) -> None:
        if not lives_on:
            self.crash()

    def crash(self) -> None:
        """Others take the partitions over; a new worker comes with the same id."""
        self.sink._claim.release()
        self.owned.clear()
        self.cluster.generation = object()
        self.start()

    def read(self, partition: Partition) -> list[Ticket]:
        """All that is there, if it is ours as far as we know."""
        if partition not in self.ledger.partitions or partition in self.begins:
            return []
        first, self.reads[partition] = self.reads[partition], self.log[partition]
        sources = [self.record(partition, offset) for offset in range(first, self.log[partition])]
        opened = [ticket for source in sources if (ticket := self.ledger.open(source, now_s=0.0, size_bytes=1))]
        self.live += opened
        return opened

    def record(self, partition: Partition, offset: int) -> SourceRecord:
        """With a header of its own, which a dead letter has, too."""
        plain = record(partition, offset)
        return replace(plain, headers=(source_of(plain),))

    def finish(self, ticket: Ticket) -> None:
        self.live.remove(ticket)
        self.ledger.finish(ticket, outcome_of(ticket))

    def done(self, partition: Partition) -> Progress:
        """As the group has it."""
        position = self.cluster.offsets.get(partition, Position(0))
        return parse(position.offset, position.metadata)

    @invariant()
    def each_outcome_is_visible_once_and_its_offset_with_it(self) -> None:
        for partition, offsets in self.cluster.visible.items():
            assert len(offsets) == len(set(offsets)), "an outcome is there twice"
            assert not self.in_order or offsets == sorted(offsets)
            assert set(offsets) == {offset for offset in range(self.log[partition]) if offset in self.done(partition)}

    def teardown(self) -> None:
        """When all is well again, all that is left is done."""
        try:
            self.cluster.troubles.clear()
            self.cluster.complete()
            for _ in range(200):
                if all(len(self.cluster.visible[each]) == records for each, records in self.log.items()):
                    break
                self.go_on()
            assert {each: len(self.cluster.visible[each]) for each in PARTITIONS} == self.log
        finally:
            self.sink._claim.release()
            self.patches.undo()

    def go_on(self) -> None:
        self.hear_of_it()
        self.commit()
        for partition in PARTITIONS:
            self.give_back(partition)
            self.read(partition)
        for ticket in list(self.live):
            self.finish(ticket)
        self.settle(-1, 0.1)
