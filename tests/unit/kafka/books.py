"""A ledger beside what a broker would hold, as a state machine: logs with gaps, and commits with metadata.

Publishing and committing is one step here, as it is in a transaction: so that no record may be settled twice, ever.
"""

from __future__ import annotations

from dataclasses import replace

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

from worker.kafka import progress
from worker.kafka.ledger import Ledger, Partition, Position, Settlement, Ticket
from worker.kafka.progress import Progress, parse
from worker.records import Coordinates, Outcome, OutgoingRecord, SourceRecord

PARTITIONS = [("images", number) for number in range(3)]
partitions = strategies.sampled_from(PARTITIONS)
IDS = {PARTITIONS[0]: None, PARTITIONS[1]: "id", PARTITIONS[2]: "id"}
"""The topic's id as it is known where a partition is assigned: short, since some of these have little room."""


def record(partition: Partition, offset: int) -> SourceRecord:
    return SourceRecord(Coordinates(*partition, offset), 0, None, b"value", ())


def outcome_of(ticket: Ticket) -> Outcome:
    return Outcome("classification", OutgoingRecord("results", None, str(ticket.record.coordinates).encode(), ()))


class Books(RuleBasedStateMachine):
    """Whatever finishes, moves or crashes: each record is settled once, and no commit passes one that is not."""

    in_order = True
    at_once = 500
    metadata_limit = progress.METADATA_LIMIT

    tickets: Bundle[Ticket] = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.usual_limit, progress.METADATA_LIMIT = progress.METADATA_LIMIT, self.metadata_limit  # type: ignore[misc]
        self.ledger = Ledger(in_order=self.in_order, at_once=self.at_once)
        self.log: dict[Partition, list[int]] = {partition: [] for partition in PARTITIONS}
        """The offsets at which there are records."""
        self.compacted: set[Partition] = set()
        """Where records are gone that may have been the next to be done."""
        self.committed: dict[Partition, Position] = {}
        self.settled: dict[Partition, list[int]] = {partition: [] for partition in PARTITIONS}
        """In the order in which they were."""
        self.reads: dict[Partition, int] = {}
        """Of assigned partitions, how many records of the log were read."""
        self.starts: dict[Partition, int] = {}
        """How many of them were before the start."""
        self.live: list[Ticket] = []
        self.opened: set[Ticket] = set()
        self.lost: set[Ticket] = set()
        """Tickets of a process that is gone: nobody can hand them in any more."""
        self.under_way: Settlement | None = None
        self.cut_short = False
        """Whether it may be that not all went into it that was ripe."""

    @rule(partition=partitions, gap=strategies.integers(0, 3))
    def append(self, partition: Partition, gap: int) -> None:
        end = self.log[partition][-1] + 1 if self.log[partition] else 0
        self.log[partition].append(end + gap)

    @rule(partition=partitions, place=strategies.integers(0, 9))
    def compact(self, partition: Partition, place: int) -> None:
        """What nobody reads just then and nobody did, but never the newest record, which Kafka keeps."""
        rest = [offset for offset in self.log[partition][:-1] if offset not in self.settled[partition]]
        if partition not in self.reads and rest:
            self.log[partition].remove(rest[place % len(rest)])
            self.compacted.add(partition)

    @rule(partition=partitions)
    def assign(self, partition: Partition) -> None:
        if partition in self.reads:
            self.ledger.assign(partition, Progress(0))
            return
        committed = self.committed.get(partition, Position(0))
        start = replace(parse(committed.offset, committed.metadata), topic_id=IDS[partition])
        self.ledger.assign(partition, start, committed.leader_epoch)
        assert self.ledger.progress()[partition] == start
        self.reads[partition] = self.starts[partition] = sum(offset < start.base for offset in self.log[partition])

    @rule(target=tickets, partition=partitions, size=strategies.integers(0, 9))
    def read(self, partition: Partition, size: int) -> Ticket:
        at = self.reads.get(partition, 0)
        if at >= len(self.log[partition]):
            self.append(partition, gap=1)
        offset = self.log[partition][at]
        ticket = self.ledger.open(record(partition, offset), now_s=0.0, size_bytes=size, leader_epoch=offset)
        done_already = offset in self.settled[partition]
        assert (ticket is None) == (partition not in self.reads or done_already)
        if partition in self.reads:
            self.reads[partition] += 1
        if ticket is None:
            return Ticket(record(partition, offset), epoch=-1, opened_s=0.0, size_bytes=size, follows=offset)
        self.live.append(ticket)
        self.opened.add(ticket)
        return ticket

    @rule(
        target=tickets, partition=partitions, finished=strategies.lists(strategies.booleans(), min_size=1, max_size=6)
    )
    def work(self, partition: Partition, finished: list[bool]) -> MultipleResults[Ticket]:
        """A round of what a worker does all day: by single steps few of them come as far as a commit."""
        self.assign(partition)
        left = []
        for is_finished in finished:
            ticket = self.read(partition, size=1)
            if is_finished:
                self.finish(ticket)
            else:
                left.append(ticket)
        self.take()
        if self.under_way is not None:
            self.settle()
        return multiple(*left)

    @rule(ticket=consumes(tickets))
    def finish(self, ticket: Ticket) -> None:
        if ticket not in self.lost:
            open_still = ticket in self.live and ticket.outcome is None
            assert self.ledger.finish(ticket, outcome_of(ticket)) == open_still

    @rule(ticket=tickets)
    def finish_twice(self, ticket: Ticket) -> None:
        if ticket not in self.lost:
            self.ledger.finish(ticket, outcome_of(ticket))
            assert not self.ledger.finish(ticket, outcome_of(ticket))

    @rule()
    def take(self) -> None:
        settlement = self.ledger.take()
        if self.under_way is not None:
            assert settlement is self.under_way
            return
        self.under_way = settlement
        self.cut_short = settlement is not None and len(settlement.tickets) >= self.at_once
        for partition in self.reads:
            taken = [t for t in settlement.tickets if t.partition == partition] if settlement else []
            live = [t for t in self.live if t.partition == partition]
            self.check_what_was_taken(taken, live, full=partition in self.ledger.full)

    def check_what_was_taken(self, taken: list[Ticket], live: list[Ticket], *, full: bool) -> None:
        unfinished = (place for place, ticket in enumerate(live) if ticket.outcome is None)
        prefix = live[: next(unfinished, len(live))]
        finished = [ticket for ticket in live if ticket.outcome is not None]
        if self.cut_short:
            assert taken == (prefix if self.in_order else finished)[: len(taken)]
        elif not full:
            assert taken == (prefix if self.in_order else finished)
        else:
            assert taken == finished[: len(taken)]
            assert len(prefix) <= len(taken) < len(finished)

    @precondition(lambda self: self.under_way is not None)
    @rule()
    def settle(self) -> None:
        assert self.under_way is not None
        owned = [ticket for ticket in self.under_way.tickets if ticket in self.live]
        positions = self.ledger.positions(self.under_way)
        assert positions.keys() == {ticket.partition for ticket in owned}
        assert set(self.ledger.settled(self.under_way)) == set(owned)
        for ticket in owned:
            assert ticket.record.coordinates.offset not in self.settled[ticket.partition], "a record was settled twice"
            self.settled[ticket.partition].append(ticket.record.coordinates.offset)
        self.live = [ticket for ticket in self.live if ticket not in owned]
        self.under_way = None
        for partition, position in positions.items():
            self.commit(partition, position)

    def commit(self, partition: Partition, position: Position) -> None:
        before = self.committed.get(partition, Position(0))
        assert position.offset >= before.offset, "a commit moved an offset back"
        assert position != before, "a commit said nothing new"
        assert len(position.metadata) <= self.metadata_limit
        done = parse(position.offset, position.metadata)
        assert done.topic_id == IDS[partition]
        if self.in_order:
            assert done == Progress(position.offset, topic_id=IDS[partition])
        read = self.log[partition][: self.reads[partition]]
        assert [offset for offset in self.log[partition] if offset in done] == sorted(self.settled[partition])
        self.check_leader_epoch(partition, position, read)
        self.committed[partition] = position

    def check_leader_epoch(self, partition: Partition, position: Position, read: list[int]) -> None:
        """It is that of the last record before the offset: here each record has its offset for an epoch."""
        last = max((offset for offset in self.log[partition] if offset < position.offset), default=None)
        if last is None or last in read[self.starts[partition] :]:
            assert position.leader_epoch == last
        else:
            assert position.leader_epoch in (last, None)

    @rule(partition=partitions)
    def revoke_or_lose(self, partition: Partition) -> None:
        void = self.ledger.forget(partition)
        assert void == [ticket for ticket in self.live if ticket.partition == partition]
        self.live = [ticket for ticket in self.live if ticket.partition != partition]
        self.reads.pop(partition, None)

    @rule()
    def crash(self) -> None:
        self.ledger = Ledger(in_order=self.in_order, at_once=self.at_once)
        self.lost.update(self.opened)
        self.live, self.under_way = [], None
        self.reads.clear()

    @invariant()
    def counts_agree(self) -> None:
        assert self.ledger.in_flight == len(self.live)
        assert self.ledger.in_flight_bytes == sum(ticket.size_bytes for ticket in self.live)
        assert self.ledger.unfinished == sum(ticket.outcome is None for ticket in self.live)
        assert sum(self.ledger.in_flight_of(p) for p in PARTITIONS) == len(self.live)
        assert set(self.ledger.partitions) == self.reads.keys()

    @invariant()
    def the_oldest_is_the_first_that_was_read(self) -> None:
        for partition, ticket in self.ledger.oldest():
            live = [each for each in self.live if each.partition == partition]
            assert ticket is (live[0] if live else None)

    @invariant()
    def in_order_they_are_settled_in_the_order_of_the_log(self) -> None:
        if self.in_order:
            assert all(offsets == sorted(offsets) for offsets in self.settled.values())

    def teardown(self) -> None:
        """Whatever went before, a worker that reads on to the end leaves nothing undone."""
        for partition in PARTITIONS:
            self.assign(partition)
            if partition in self.compacted:
                self.append(partition, gap=0)  # or nothing may be left to settle, and so to commit
            while self.reads[partition] < len(self.log[partition]):
                self.read(partition, size=0)
        for ticket in self.live:
            self.ledger.finish(ticket, outcome_of(ticket))
        while self.live:
            self.take()
            self.settle()
        assert not self.ledger.full
        for partition, offsets in self.log.items():
            assert sorted(self.settled[partition]) == offsets
            end = offsets[-1] + 1 if offsets else None
            assert (self.committed[partition].offset if offsets else None) == end
        progress.METADATA_LIMIT = self.usual_limit  # type: ignore[misc]
