"""The ledger as a state machine: whatever finishes, moves or crashes, no commit passes an unfinished record."""

from __future__ import annotations

from hypothesis import settings, strategies
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from worker.kafka.ledger import Ledger, Position, Settlement, Ticket
from worker.records import Coordinates, Outcome, OutgoingRecord, SourceRecord

PARTITIONS = [("images", number) for number in range(3)]
partitions = strategies.sampled_from(PARTITIONS)


def record(partition: tuple[str, int], offset: int) -> SourceRecord:
    return SourceRecord(Coordinates(*partition, offset), 0, None, b"value", ())


def outcome_of(ticket: Ticket) -> Outcome:
    return Outcome("classification", OutgoingRecord("results", None, str(ticket.record.coordinates).encode(), ()))


class Books(RuleBasedStateMachine):
    """One worker's ledger beside what a broker would hold: logs with gaps, and committed offsets."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.committed = dict.fromkeys(PARTITIONS, 0)
        self.next_offset = dict.fromkeys(PARTITIONS, 0)
        self.finished: set[tuple[tuple[str, int], int]] = set()
        self.read: dict[tuple[str, int], list[int]] = {partition: [] for partition in PARTITIONS}
        self.live: list[Ticket] = []
        self.opened: set[Ticket] = set()
        self.gone: set[Ticket] = set()
        self.under_way: Settlement | None = None
        self.published: dict[tuple[str, int], list[int]] = {partition: [] for partition in PARTITIONS}

    @rule(partition=partitions)
    def assign(self, partition: tuple[str, int]) -> None:
        if partition not in self.ledger.partitions:
            self.next_offset[partition] = self.committed[partition]
        self.ledger.assign(partition)

    @rule(target=tickets, partition=partitions, gap=strategies.integers(0, 3), size=strategies.integers(0, 9))
    def open(self, partition: tuple[str, int], gap: int, size: int) -> Ticket:
        offset = self.next_offset[partition] + gap
        ticket = self.ledger.open(record(partition, offset), now_s=0.0, size_bytes=size)
        assert (ticket is not None) == (partition in self.ledger.partitions)
        if ticket is None:
            return Ticket(record(partition, offset), epoch=-1, opened_s=0.0, size_bytes=size)
        self.next_offset[partition] = offset + 1
        self.read[partition].append(offset)
        self.live.append(ticket)
        self.opened.add(ticket)
        return ticket

    @rule(ticket=consumes(tickets))
    def finish(self, ticket: Ticket) -> None:
        if ticket in self.gone:
            return
        open_still = ticket in self.live and ticket.outcome is None
        assert self.ledger.finish(ticket, outcome_of(ticket)) == open_still
        if open_still:
            self.finished.add((ticket.partition, ticket.record.coordinates.offset))

    @rule(ticket=tickets)
    def finish_twice(self, ticket: Ticket) -> None:
        if ticket in self.gone:
            return
        first = self.ledger.finish(ticket, outcome_of(ticket))
        if first:
            self.finished.add((ticket.partition, ticket.record.coordinates.offset))
        assert not self.ledger.finish(ticket, outcome_of(ticket))

    @rule()
    def take(self) -> None:
        settlement = self.ledger.take()
        if self.under_way is not None:
            assert settlement is self.under_way
            return
        self.under_way = settlement
        for ticket in settlement.tickets if settlement else ():
            self.published[ticket.partition].append(ticket.record.coordinates.offset)

    @precondition(lambda self: self.under_way is not None)
    @rule()
    def settle(self) -> None:
        assert self.under_way is not None
        owned = {ticket.partition for ticket in self.under_way.tickets if ticket in self.live}
        positions = self.ledger.positions(self.under_way)
        assert set(positions) == owned
        for partition, position in positions.items():
            self.commit(partition, position)
        left = self.ledger.settled(self.under_way)
        assert left == [ticket for ticket in self.under_way.tickets if ticket in self.live]
        self.live = [ticket for ticket in self.live if ticket not in left]
        self.under_way = None

    @rule(partition=partitions)
    def revoke_or_lose(self, partition: tuple[str, int]) -> None:
        void = self.ledger.forget(partition)
        assert void == [ticket for ticket in self.live if ticket.partition == partition]
        self.live = [ticket for ticket in self.live if ticket.partition != partition]
        self.repeat_from_the_commit(partition)

    @rule()
    def crash(self) -> None:
        # The process is gone, and its tickets with it: none of them can be handed to the next one's ledger.
        self.ledger = Ledger()
        self.gone.update(self.opened)
        self.live, self.under_way = [], None
        for partition in PARTITIONS:
            self.repeat_from_the_commit(partition)

    def repeat_from_the_commit(self, partition: tuple[str, int]) -> None:
        """What was not committed must be finished anew by whoever reads it next."""
        committed = self.committed[partition]
        self.finished = {(p, offset) for p, offset in self.finished if p != partition or offset < committed}
        self.read[partition] = [offset for offset in self.read[partition] if offset < committed]

    def commit(self, partition: tuple[str, int], position: Position) -> None:
        assert position.offset > self.committed[partition], "a commit moved an offset back"
        for offset in self.read[partition]:
            if offset < position.offset:
                assert (partition, offset) in self.finished, "a commit passed an unfinished record"
        self.committed[partition] = position.offset

    @invariant()
    def counts_agree(self) -> None:
        assert self.ledger.in_flight == len(self.live)
        assert self.ledger.in_flight_bytes == sum(ticket.size_bytes for ticket in self.live)
        assert self.ledger.unfinished == sum(ticket.outcome is None for ticket in self.live)
        assert sum(self.ledger.in_flight_of(p) for p in PARTITIONS) == len(self.live)

    @invariant()
    def the_oldest_is_the_first_that_was_read(self) -> None:
        for partition, ticket in self.ledger.oldest():
            live = [each for each in self.live if each.partition == partition]
            assert ticket is (live[0] if live else None)


Books.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestBooks = Books.TestCase


def test_outcomes_leave_in_the_order_of_their_events_though_finished_in_reverse() -> None:
    ledger = Ledger()
    ledger.assign(PARTITIONS[0])
    tickets = [ledger.open(record(PARTITIONS[0], offset), now_s=0.0, size_bytes=1) for offset in range(5)]
    for ticket in reversed(tickets[1:]):
        assert ticket is not None
        ledger.finish(ticket, outcome_of(ticket))
        assert ledger.take() is None, "the oldest record is not done: nothing may leave before it"
    first = tickets[0]
    assert first is not None
    ledger.finish(first, outcome_of(first))
    settlement = ledger.take()
    assert settlement is not None
    assert [ticket.record.coordinates.offset for ticket in settlement.tickets] == [0, 1, 2, 3, 4]
    assert ledger.positions(settlement) == {PARTITIONS[0]: Position(5)}


def test_a_settlement_under_way_commits_nothing_of_a_partition_that_moved_away_and_came_back() -> None:
    ledger = Ledger()
    ledger.assign(PARTITIONS[0])
    ticket = ledger.open(record(PARTITIONS[0], 7), now_s=0.0, size_bytes=1)
    assert ticket is not None
    ledger.finish(ticket, outcome_of(ticket))
    settlement = ledger.take()
    assert settlement is not None
    ledger.forget(PARTITIONS[0])
    ledger.assign(PARTITIONS[0])
    assert ledger.positions(settlement) == {}
    assert ledger.settled(settlement) == []


def test_the_commit_names_the_leader_epoch_of_the_last_record() -> None:
    ledger = Ledger()
    ledger.assign(PARTITIONS[0])
    for offset, epoch in ((0, 3), (1, 4)):
        ticket = ledger.open(record(PARTITIONS[0], offset), now_s=0.0, size_bytes=1, leader_epoch=epoch)
        assert ticket is not None
        ledger.finish(ticket, outcome_of(ticket))
    settlement = ledger.take()
    assert settlement is not None
    assert ledger.positions(settlement) == {PARTITIONS[0]: Position(2, leader_epoch=4)}
