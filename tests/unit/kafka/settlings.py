"""Settling as a state machine: a broker that is slow or away, rebalances, standstills."""

from __future__ import annotations

from hypothesis import strategies
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from tests.unit.kafka.books import PARTITIONS
from tests.unit.kafka.desk import PATIENCE_S, Desk
from worker.kafka.ledger import Partition, Ticket
from worker.kafka.settling import SETTLE_STEP_S

partitions = strategies.sampled_from(PARTITIONS)


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

    @rule(
        target=tickets, partition=partitions, finished=strategies.lists(strategies.booleans(), min_size=1, max_size=5)
    )
    def work(self, partition: Partition, finished: list[bool]) -> MultipleResults[Ticket]:
        """A round of what a worker does all day: by single steps few of them come as far as a commit."""
        self.assign(partition)
        left = []
        for is_finished in finished:
            self.seek()
            ticket = self.desk.open(partition, self.reads[partition])
            self.reads[partition] += 1
            if is_finished:
                self.desk.finish(ticket)
            else:
                left.append(ticket)
        self.desk.cycle()
        return multiple(*left)

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
