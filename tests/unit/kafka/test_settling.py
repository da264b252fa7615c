"""Settling as a state machine: a broker that is slow or away, rebalances, standstills. And its corners, one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import Empty
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule
from structlog.typing import EventDict

from tests.unit.kafka.books import PARTITIONS, outcome_of, record
from worker.kafka import settling as room
from worker.kafka.ledger import Ledger, Partition, Position, Settlement, Ticket
from worker.kafka.progress import Progress
from worker.kafka.settings import KafkaSettings
from worker.kafka.settling import SETTLE_STEP_S, Settling
from worker.kafka.sink import Group, Positions
from worker.kafka.status import Reporter
from worker.observe.metrics import Metrics

PATIENCE_S = 10.0
partitions = strategies.sampled_from(PARTITIONS)


@dataclass
class Clock:
    """A monotonic clock that is set by hand."""

    now_s: float = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Outcomes(deque[Any]):
    """The queue of outcomes, at which waiting takes the clock's time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    put = deque.append

    def get(self, timeout: float) -> Any:
        if not self:
            self._clock.now_s += timeout
        return self.get_nowait()

    def get_nowait(self) -> Any:
        if not self:
            raise Empty
        return self.popleft()


@dataclass
class Broker:
    """What the sink publishes to, and the group that it commits to. Keeps the contracts of both."""

    clock: Clock
    answers: bool = True
    takes_s: float = 0.0
    """How long publishing takes: time that may be too long for the group."""
    committed: dict[Partition, int] = field(default_factory=dict)
    published: list[Ticket] = field(default_factory=list)
    elsewhere: set[Partition] = field(default_factory=set)
    """Partitions that are another member's, whether this one knows it or not."""
    rewound: list[Mapping[Partition, int]] = field(default_factory=list)
    asked_s: list[float] = field(default_factory=list)
    membership: Any = None
    patience_s: float = PATIENCE_S
    poll_interval_s: float = 300.0
    throttled: bool = False

    def open(self, timeout_s: float) -> bool:
        return True

    def settle(self, settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
        self.asked_s.append(timeout_s)
        if not self.answers:
            self.clock.now_s += timeout_s
            return False
        owned = positions(settlement)
        if settlement.tickets[0] not in self.published:
            self.published += [ticket for ticket in settlement.tickets if ticket.partition in owned]
        self.clock.now_s += self.takes_s
        return self.commit(positions(settlement), timeout_s)

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        for partition, position in positions.items():
            assert partition not in self.elsewhere, "a former owner committed"
            assert position.offset > self.committed_of(partition), "an offset moved back"
            self.committed[partition] = position.offset
        return True

    def close(self) -> None: ...

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        self.rewound.append(offsets)

    def committed_of(self, partition: Partition) -> int:
        return self.committed.get(partition, 0)


class Desk:
    """A Settling on its broker, with a ledger and a clock."""

    def __init__(self, **more: Any) -> None:
        self.clock = Clock()
        self.broker = Broker(self.clock)
        self.ledger = Ledger()
        self.metrics = Metrics()
        self.abandoned: list[Ticket] = []
        self.held_up = 0
        source: Any = self.broker
        reporter = Reporter(self.ledger, source, self.metrics, stuck_after_s=300)
        sink: Any = self.broker
        self.reporter = reporter
        with patch.object(room, "time", self.clock):
            self.settling = Settling(
                KafkaSettings(drain_deadline_s=30, **more),
                self.ledger,
                sink,
                source,
                reporter,
                self.metrics,
                self.abandoned.extend,
                lambda: self.held_up,
            )
        outcomes: Any = Outcomes(self.clock)
        self.settling._outcomes = outcomes

    def run(self, act: Any, *arguments: Any) -> Any:
        with patch.object(room, "time", self.clock):
            return act(*arguments)

    def assign(self, *which: Partition) -> None:
        for partition in which:
            self.ledger.assign(partition, Progress(self.broker.committed_of(partition)))

    def open(self, partition: Partition, offset: int) -> Ticket:
        ticket = self.ledger.open(record(partition, offset), now_s=0.0, size_bytes=1)
        assert ticket is not None
        return ticket

    def finish(self, *tickets: Ticket) -> None:
        for ticket in tickets:
            self.settling.finish(ticket, outcome_of(ticket))

    def cycle(self) -> None:
        """As the thread does."""
        self.run(self.settling.step)
        self.run(self.settling.polls)
        self.run(self.settling.collect, 0)
        if self.run(self.settling.due):
            self.run(self.settling.settle, SETTLE_STEP_S)

    def void(self) -> float | None:
        return self.metrics.registry.get_sample_value("image_worker_void_outcomes_total")


@pytest.fixture
def desk() -> Desk:
    return Desk()


A, B = PARTITIONS[:2]


def test_with_nothing_else_in_flight_an_outcome_is_settled_at_once_else_in_the_rhythm_of_the_settings() -> None:
    desk = Desk(settle_interval_ms=50)
    desk.assign(A)
    first, second, *more = (desk.open(A, offset) for offset in range(12))
    desk.clock.now_s += 1
    desk.finish(first)
    desk.cycle()
    assert desk.broker.committed == {A: 1}
    desk.finish(second)
    desk.clock.now_s += 0.049
    desk.cycle()
    assert desk.broker.committed == {A: 1}
    desk.clock.now_s += 0.00101
    desk.cycle()
    assert desk.broker.committed == {A: 2}
    desk.finish(*more)
    desk.cycle()
    assert desk.broker.committed == {A: 12}


def test_with_few_others_on_their_way_it_waits_for_as_long_as_the_last_cycle_took() -> None:
    desk = Desk(settle_interval_ms=50)
    desk.assign(A)
    first, second, third, *_ = (desk.open(A, offset) for offset in range(12))
    desk.held_up = 1
    desk.clock.now_s += 1
    desk.finish(first)
    desk.broker.takes_s = 0.01
    desk.cycle()
    assert desk.broker.committed == {A: 1}
    desk.finish(second)
    desk.clock.now_s += 0.009
    desk.cycle()
    assert desk.broker.committed == {A: 1}, "ten are unfinished, of which one is held up"
    desk.finish(third)
    desk.cycle()
    assert desk.broker.committed == {A: 1}, "nine, but the last cycle took longer"
    desk.clock.now_s += 0.001001
    desk.cycle()
    assert desk.broker.committed == {A: 3}


def test_an_outcome_of_a_void_ticket_is_counted_and_goes_nowhere(desk: Desk) -> None:
    desk.assign(A)
    ticket = desk.open(A, 0)
    desk.settling.forget([A])
    assert desk.abandoned == [ticket]
    desk.finish(ticket)
    desk.cycle()
    assert desk.broker.published == []
    assert desk.void() == 1


def test_nobody_is_told_to_abandon_nothing(desk: Desk) -> None:
    told: list[list[Ticket]] = []
    desk.settling._abandon = told.append
    desk.assign(A)
    desk.settling.forget([A])
    assert told == []


def test_what_a_rebalance_took_while_it_was_settled_is_void_and_not_committed(desk: Desk) -> None:
    desk.assign(A, B)
    tickets = desk.open(A, 0), desk.open(B, 0)
    desk.finish(*tickets)
    desk.broker.answers = False
    desk.cycle()
    assert desk.reporter.broker_away
    desk.settling.forget([A])
    desk.broker.answers = True
    desk.cycle()
    assert desk.broker.committed == {B: 1}
    assert desk.void() == 1
    assert not desk.reporter.broker_away


@pytest.mark.parametrize("client", ["_sink", "_reading"])
def test_a_broker_that_throttles_is_not_said_to_be_away(desk: Desk, logs: list[EventDict], client: str) -> None:
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    throttled = Broker(desk.clock, answers=False, throttled=True)
    desk.broker.answers = False
    setattr(desk.settling, client, throttled)
    desk.cycle()
    assert not desk.reporter.broker_away
    assert "kafka.settle_waits" not in [line["event"] for line in logs]
    throttled.throttled = False
    desk.cycle()
    assert desk.reporter.broker_away


def test_several_partitions_are_drained_under_one_deadline(desk: Desk, logs: list[EventDict]) -> None:
    desk.assign(A, B)
    tickets = desk.open(A, 0), desk.open(B, 0), desk.open(B, 1)
    desk.finish(*tickets)
    desk.broker.answers = False
    began_s = desk.clock.now_s
    desk.run(desk.settling.drain, [A, B])
    assert desk.clock.now_s == pytest.approx(began_s + 30, abs=0.01)
    assert desk.broker.asked_s[:29] == [SETTLE_STEP_S] * 29
    assert [line["left_to_the_next_owner"] for line in logs if line["event"] == "kafka.drain_deadline"] == [3]


def test_a_drain_makes_no_poll_and_ends_before_the_group_gives_its_partitions_away(desk: Desk) -> None:
    desk.broker.poll_interval_s = 20.0
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    desk.broker.answers = False
    desk.run(desk.settling.polls)
    polled_s = desk.clock.now_s
    desk.clock.now_s += 5
    desk.run(desk.settling.drain, [A])
    assert desk.clock.now_s == pytest.approx(polled_s + 20, abs=0.01)
    assert desk.broker.committed == {}


@pytest.mark.parametrize(("unpolled_s", "void"), [(19.9, False), (20.0, True)])
def test_after_the_poll_interval_without_a_poll_all_in_flight_is_void_though_the_thread_went_on(
    desk: Desk, unpolled_s: float, void: bool
) -> None:
    desk.broker.poll_interval_s = 20.0
    desk.assign(A)
    ticket = desk.open(A, 0)
    desk.finish(ticket)
    desk.run(desk.settling.polls)
    for _ in range(4):
        desk.clock.now_s += unpolled_s / 4
        desk.run(desk.settling.step)
    desk.run(desk.settling.collect, 0)
    desk.run(desk.settling.settle, SETTLE_STEP_S)
    assert desk.broker.committed == ({} if void else {A: 1})
    assert desk.abandoned == ([ticket] if void else [])


def test_the_last_step_of_a_drain_is_no_longer_than_what_is_left(desk: Desk) -> None:
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    desk.broker.answers = False
    desk.clock.now_s += 0.25
    desk.settling._settings = KafkaSettings(drain_deadline_s=1.5)
    desk.run(desk.settling.drain, [A])
    assert desk.broker.asked_s == [1.0, pytest.approx(0.5)]


def test_a_drain_ends_when_its_partitions_are_settled_whatever_else_is_in_flight(desk: Desk) -> None:
    desk.assign(A, B)
    ticket, _ = desk.open(A, 0), desk.open(B, 0)
    desk.finish(ticket)
    desk.run(desk.settling.drain, [A])
    assert desk.broker.committed == {A: 1}
    assert desk.clock.now_s == 1000


@pytest.mark.parametrize(("still_s", "void"), [(PATIENCE_S - 0.01, False), (PATIENCE_S, True)])
def test_after_a_standstill_of_the_groups_patience_all_in_flight_is_void_and_read_again(
    desk: Desk, logs: list[EventDict], still_s: float, void: bool
) -> None:
    desk.assign(A, B)
    done, left, other = desk.open(A, 0), desk.open(A, 1), desk.open(B, 0)
    desk.finish(done)
    desk.clock.now_s += 1
    desk.cycle()
    assert desk.broker.committed == {A: 1}
    desk.finish(left, other)
    desk.broker.takes_s = still_s - SETTLE_STEP_S
    desk.run(desk.settling.step)
    desk.run(desk.settling.collect, 0)
    desk.clock.now_s += SETTLE_STEP_S
    desk.run(desk.settling.settle, SETTLE_STEP_S)
    assert desk.broker.committed == ({A: 1} if void else {A: 2, B: 1})
    assert desk.abandoned == ([left, other] if void else [])
    assert desk.broker.rewound == ([{A: 1, B: 0}] if void else [])
    assert [line["seconds"] for line in logs if line["event"] == "kafka.stood_still"] == ([10.0] if void else [])
    assert desk.ledger.partitions == (A, B)
    assert desk.void() == (2 if void else 0)


@pytest.mark.parametrize("interval_s", [PATIENCE_S, 300.0])
def test_what_was_worked_on_while_the_thread_stood_still_is_void_though_it_was_settling_nothing(
    desk: Desk, interval_s: float
) -> None:
    desk.assign(A)
    ticket = desk.open(A, 0)
    desk.broker.poll_interval_s = interval_s
    desk.clock.now_s += PATIENCE_S
    desk.cycle()
    desk.finish(ticket)
    desk.cycle()
    assert desk.broker.published == []
    assert desk.abandoned == [ticket]
    assert desk.broker.rewound == [{A: 0}]


def test_what_a_commit_that_was_under_way_has_taken_is_not_read_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.assign(A)
    first, second = desk.open(A, 0), desk.open(A, 1)
    desk.finish(first)
    desk.broker.answers = False
    desk.cycle()
    desk.clock.now_s += PATIENCE_S
    with monkeypatch.context() as patched:
        patched.setattr(desk.broker, "settle", lambda *_: True)  # without asking what is ours: it was, when it was sent
        desk.cycle()
    desk.broker.answers = True
    desk.finish(second)
    desk.cycle()
    assert desk.broker.rewound == [{A: 1}]
    assert desk.abandoned == [second]


def test_a_standstill_with_nothing_in_flight_voids_nothing(desk: Desk) -> None:
    desk.assign(A)
    desk.clock.now_s += PATIENCE_S
    desk.cycle()
    desk.finish(desk.open(A, 0))
    desk.cycle()
    assert desk.broker.committed == {A: 1}


def test_a_drain_that_takes_longer_than_the_groups_patience_is_no_standstill(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = desk.broker.settle

    def away_for_a_while(settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
        desk.broker.answers = len(desk.broker.asked_s) > PATIENCE_S
        return settle(settlement, positions, group, timeout_s)

    monkeypatch.setattr(desk.broker, "settle", away_for_a_while)
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    desk.run(desk.settling.drain, [A])
    assert desk.broker.committed == {A: 1}


def test_a_standstill_is_forgotten_with_what_was_in_flight(desk: Desk) -> None:
    desk.assign(A)
    desk.open(A, 0)
    desk.clock.now_s += PATIENCE_S
    desk.cycle()
    desk.settling.forget([A])
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    desk.cycle()
    assert desk.broker.committed == {A: 1}
    assert desk.broker.rewound == []


class Settlings(RuleBasedStateMachine):
    """Whatever the broker and the group do: a commit is of ours, never goes back, and is of what was published."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(settle_interval_ms=0)
        self.ours: set[Partition] = set()
        """As this member sees it."""
        self.reads: dict[Partition, int] = {}
        self.starts: dict[Partition, int] = {}

    def seek(self) -> None:
        """Read on from where the source was told to, if it was."""
        for offsets in self.desk.broker.rewound:
            self.reads.update(offsets)
        self.desk.broker.rewound.clear()

    @rule(partition=partitions)
    def assign(self, partition: Partition) -> None:
        self.seek()
        if partition not in self.ours:
            self.desk.broker.elsewhere.discard(partition)
            self.desk.assign(partition)
            self.ours.add(partition)
            self.starts[partition] = self.reads[partition] = self.desk.broker.committed_of(partition)

    @precondition(lambda self: self.ours)
    @rule(target=tickets, data=strategies.data())
    def read(self, data: strategies.DataObject) -> Ticket:
        self.seek()
        partition = data.draw(strategies.sampled_from(sorted(self.ours)))
        ticket = self.desk.open(partition, self.reads[partition])
        self.reads[partition] += 1
        return ticket

    @rule(ticket=consumes(tickets))
    def finish(self, ticket: Ticket) -> None:
        self.desk.finish(ticket)

    @rule()
    def the_broker_goes_or_comes(self) -> None:
        self.desk.broker.answers = not self.desk.broker.answers

    @rule()
    def cycle(self) -> None:
        self.desk.cycle()

    @rule(which=strategies.sets(partitions))
    def revoke(self, which: set[Partition]) -> None:
        given = sorted(which & self.ours)
        self.desk.run(self.desk.settling.drain, given)
        self.give(given)

    @rule(which=strategies.sets(partitions))
    def lose(self, which: set[Partition]) -> None:
        lost = sorted(which & self.ours)
        self.move(lost)
        self.give(lost)

    @rule(which=strategies.sets(partitions), seconds=strategies.sampled_from([1.0, 9.9, 10.0, 60.0]))
    def stand_still_in_a_settlement(self, which: set[Partition], seconds: float) -> None:
        """The group takes partitions away when its patience is at an end; the callbacks come with the next poll."""
        self.desk.run(self.desk.settling.step)
        self.desk.run(self.desk.settling.collect, 0)
        self.desk.clock.now_s += seconds
        lost = sorted(which & self.ours) if seconds >= PATIENCE_S else []
        self.move(lost)
        self.desk.run(self.desk.settling.settle, SETTLE_STEP_S)
        self.give(lost)

    @rule(which=strategies.sets(partitions), seconds=strategies.sampled_from([1.0, 9.9, 10.0, 60.0]))
    def stand_still_between_cycles(self, which: set[Partition], seconds: float) -> None:
        """As above, while records were worked on: their outcomes come before the callbacks do."""
        self.desk.clock.now_s += seconds
        lost = sorted(which & self.ours) if seconds >= PATIENCE_S else []
        self.move(lost)
        on_their_way = [ticket for lane in self.desk.ledger._lanes.values() for ticket in lane.tickets.values()]
        self.desk.cycle()
        self.desk.finish(*on_their_way)
        self.desk.cycle()
        self.give(lost)

    def move(self, which: list[Partition]) -> None:
        """Another member takes them over, and does a record of each."""
        for partition in which:
            self.desk.broker.elsewhere.add(partition)
            self.desk.broker.committed[partition] = self.desk.broker.committed_of(partition) + 1

    def give(self, which: list[Partition]) -> None:
        self.desk.settling.forget(which)
        self.ours -= set(which)
        self.desk.broker.elsewhere.update(which)

    @invariant()
    def what_is_committed_of_ours_is_published(self) -> None:
        published = {(t.partition, t.record.coordinates.offset) for t in self.desk.broker.published}
        for partition in self.ours:
            assert self.desk.ledger.progress()[partition].base == self.desk.broker.committed_of(partition)
            ours = {o for p, o in published if p == partition and o < self.desk.broker.committed_of(partition)}
            assert ours >= self.begun(partition)

    def begun(self, partition: Partition) -> set[int]:
        """The offsets that were committed in this assignment."""
        return set(range(self.starts[partition], self.desk.broker.committed_of(partition)))


Settlings.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestSettlings = Settlings.TestCase
