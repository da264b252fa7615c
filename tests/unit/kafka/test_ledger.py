"""The ledger: as a state machine in both orders, and what is easier said in an example."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.mutation import examples
from tests.unit.kafka.books import PARTITIONS, Books, outcome_of, record
from worker.errors import Fatal
from worker.kafka import progress
from worker.kafka.ledger import Ledger, Position, Ticket
from worker.kafka.progress import Progress, parse


class BooksOutOfOrder(Books):
    in_order = False


class BooksOutOfOrderWithLittleRoom(Books):
    """What does not fit a commit waits."""

    in_order = False
    metadata_limit = 28


class BooksOutOfOrderWithRoomForTwo(Books):
    in_order = False
    metadata_limit = 100


class BooksByTwo(Books):
    """A settlement takes a part of what is ripe."""

    at_once = 2


class BooksOutOfOrderByTwoWithLittleRoom(BooksOutOfOrderWithLittleRoom):
    at_once = 2


# Some 18,000 steps in all, and more where hypothesis looks for a smaller example.
for books, count in (
    (Books, 80),
    (BooksOutOfOrder, 90),
    (BooksOutOfOrderWithLittleRoom, 60),
    (BooksOutOfOrderWithRoomForTwo, 60),
    (BooksByTwo, 60),
    (BooksOutOfOrderByTwoWithLittleRoom, 60),
):
    books.TestCase.settings = settings(max_examples=examples(count), stateful_step_count=50, deadline=None)
TestBooks = Books.TestCase
TestBooksOutOfOrder = BooksOutOfOrder.TestCase
TestBooksOutOfOrderWithLittleRoom = BooksOutOfOrderWithLittleRoom.TestCase
TestBooksOutOfOrderWithRoomForTwo = BooksOutOfOrderWithRoomForTwo.TestCase
TestBooksByTwo = BooksByTwo.TestCase
TestBooksOutOfOrderByTwoWithLittleRoom = BooksOutOfOrderByTwoWithLittleRoom.TestCase


def test_a_ticket_says_since_when_it_is_in_flight() -> None:
    ledger = Ledger()
    ledger.assign(PARTITIONS[0], Progress(0))
    ticket = ledger.open(record(PARTITIONS[0], 0), now_s=12.5, size_bytes=1)
    assert ticket is not None
    assert ticket.opened_s == 12.5


def opened(ledger: Ledger, offset: int, leader_epoch: int | None = None) -> Ticket:
    ticket = ledger.open(record(PARTITIONS[0], offset), now_s=0.0, size_bytes=1, leader_epoch=leader_epoch)
    assert ticket is not None
    return ticket


def settle(ledger: Ledger, *tickets: Ticket) -> Position:
    """Finish these and settle what may leave."""
    for ticket in tickets:
        ledger.finish(ticket, outcome_of(ticket))
    settlement = ledger.take()
    assert settlement is not None
    position = ledger.positions(settlement)[PARTITIONS[0]]
    ledger.settled(settlement)
    return position


def test_outcomes_leave_in_the_order_of_their_events_though_finished_in_reverse() -> None:
    ledger = Ledger()
    ledger.assign(PARTITIONS[0], Progress(0))
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


@pytest.mark.parametrize("in_order", [True, False])
def test_a_settlement_has_a_bound_and_no_partition_waits_for_another_that_has_more(in_order: bool) -> None:
    ledger = Ledger(in_order=in_order, at_once=3)
    for partition, count in zip(PARTITIONS, (7, 1, 1), strict=True):
        ledger.assign(partition, Progress(0))
        for offset in range(count):
            ticket = ledger.open(record(partition, offset), now_s=0.0, size_bytes=1)
            assert ticket is not None
            ledger.finish(ticket, outcome_of(ticket))
    seen = []
    while (settlement := ledger.take()) is not None:
        seen.append([(t.partition[1], t.record.coordinates.offset) for t in settlement.tickets])
        ledger.settled(settlement)
    assert seen == [[(0, 0), (0, 1), (0, 2)], [(1, 0), (2, 0), (0, 3)], [(0, 4), (0, 5), (0, 6)]]


def test_more_go_at_once_where_fewer_would_have_no_room_in_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "METADATA_LIMIT", 28)
    early = Progress(0, ((4, 5), (6, 7), (8, 9)))
    assert early.fits
    assert not early.after([(2, 3)]).fits
    ledger = Ledger(in_order=False, at_once=1)
    ledger.assign(PARTITIONS[0], early)
    tickets = [ledger.open(record(PARTITIONS[0], offset), now_s=0.0, size_bytes=1) for offset in range(9)]
    finished = [ticket for ticket in tickets if ticket and ticket.record.coordinates.offset in (2, 5, 7)]
    assert settle(ledger, *finished).metadata == Progress(0, ((2, 3), (4, 9))).metadata


def test_a_settlement_under_way_commits_nothing_of_a_partition_that_moved_away_and_came_back() -> None:
    ledger = Ledger()
    ledger.assign(PARTITIONS[0], Progress(0))
    ticket = ledger.open(record(PARTITIONS[0], 7), now_s=0.0, size_bytes=1)
    assert ticket is not None
    ledger.finish(ticket, outcome_of(ticket))
    settlement = ledger.take()
    assert settlement is not None
    ledger.forget(PARTITIONS[0])
    ledger.assign(PARTITIONS[0], Progress(0))
    assert ledger.positions(settlement) == {}
    assert ledger.settled(settlement) == []


def test_the_commit_names_the_leader_epoch_of_the_last_record() -> None:
    ledger = Ledger()
    ledger.assign(PARTITIONS[0], Progress(0))
    for offset, epoch in ((0, 3), (1, 4)):
        ticket = ledger.open(record(PARTITIONS[0], offset), now_s=0.0, size_bytes=1, leader_epoch=epoch)
        assert ticket is not None
        ledger.finish(ticket, outcome_of(ticket))
    settlement = ledger.take()
    assert settlement is not None
    assert ledger.positions(settlement) == {PARTITIONS[0]: Position(2, leader_epoch=4)}


def test_a_commit_that_passes_what_was_done_early_names_the_epoch_of_the_last_of_it() -> None:
    ledger = Ledger(in_order=False)
    ledger.assign(PARTITIONS[0], Progress(7), leader_epoch=1)
    tickets = [opened(ledger, offset, leader_epoch=epoch) for offset, epoch in ((7, 2), (8, 2), (9, 3), (10, 4))]
    assert settle(ledger, tickets[1], tickets[2]) == Position(7, 1, Progress(7, ((8, 10),)).metadata)
    assert settle(ledger, tickets[0]) == Position(10, leader_epoch=3), "2 ended at 9, and the log would look truncated"


def test_a_commit_names_no_epoch_where_it_passes_what_was_not_read_here() -> None:
    ledger = Ledger()
    ledger.assign(PARTITIONS[0], Progress(7, ((8, 10),)), leader_epoch=1)
    assert settle(ledger, opened(ledger, 7, leader_epoch=2)) == Position(10)
    assert ledger.open(record(PARTITIONS[0], 9), now_s=0.0, size_bytes=1, leader_epoch=3) is None
    assert settle(ledger, opened(ledger, 10, leader_epoch=3)) == Position(11, leader_epoch=3)


def test_out_of_order_a_commit_says_which_records_beyond_its_offset_are_done() -> None:
    ledger = Ledger(in_order=False)
    ledger.assign(PARTITIONS[0], Progress(0))
    tickets = [opened(ledger, offset, leader_epoch=offset) for offset in range(10, 16)]
    position = settle(ledger, tickets[0], tickets[3], tickets[2], tickets[5])
    assert (position.offset, position.leader_epoch) == (11, 10)
    assert parse(11, position.metadata) == Progress(11, ((12, 14), (15, 16)))


def test_a_new_owner_takes_only_the_rest_in_and_commits_past_what_was_done_before() -> None:
    ledger = Ledger()
    ledger.assign(PARTITIONS[0], Progress(11, ((12, 14), (15, 16))))
    seen = {offset: ledger.open(record(PARTITIONS[0], offset), now_s=0, size_bytes=1) for offset in range(11, 17)}
    left = [ticket for ticket in seen.values() if ticket is not None]
    assert [offset for offset, ticket in seen.items() if ticket is not None] == [11, 14, 16]
    assert settle(ledger, left[0]) == Position(14, metadata=Progress(14, ((15, 16),)).metadata)
    assert settle(ledger, left[1]) == Position(16)
    assert settle(ledger, left[2]) == Position(17)


def test_what_compaction_took_before_records_that_an_earlier_owner_did_holds_no_commit_back() -> None:
    ledger = Ledger(in_order=False)
    ledger.assign(PARTITIONS[0], Progress(2, ((3, 5),)))
    for offset in (3, 4):
        assert ledger.open(record(PARTITIONS[0], offset), now_s=0.0, size_bytes=1) is None
    ticket = ledger.open(record(PARTITIONS[0], 7), now_s=0.0, size_bytes=1)
    assert ticket is not None
    ledger.finish(ticket, outcome_of(ticket))
    settlement = ledger.take()
    assert settlement is not None
    assert ledger.positions(settlement)[PARTITIONS[0]].offset == 8


def test_the_gaps_that_transactions_leave_are_no_stretches_of_their_own() -> None:
    ledger = Ledger(in_order=False, at_once=10_000)
    ledger.assign(PARTITIONS[0], Progress(0))
    tickets = [opened(ledger, offset) for offset in range(0, 20_000, 2)]
    position = settle(ledger, *tickets[1:])
    assert parse(0, position.metadata) == Progress(0, ((1, 19_999),))


def test_what_a_commit_has_no_room_for_waits_for_the_oldest_record() -> None:
    ledger = Ledger(in_order=False, at_once=10_000)
    ledger.assign(PARTITIONS[0], Progress(0))
    tickets = [opened(ledger, offset) for offset in range(5000)]
    position = settle(ledger, *tickets[1::2])
    assert ledger.full == {PARTITIONS[0]}
    while (settlement := ledger.take()) is not None:
        position = ledger.positions(settlement)[PARTITIONS[0]]
        ledger.settled(settlement)
    done = parse(position.offset, position.metadata)
    assert (done.base, done.ahead) == (0, len(done.done))
    assert 1400 < done.ahead < 1500
    assert settle(ledger, *tickets[0:4000:2]).offset == 4000
    assert not ledger.full


def test_a_partition_whose_offsets_went_back_stops_the_worker() -> None:
    ledger = Ledger()
    ledger.assign(PARTITIONS[0], Progress(100))
    with pytest.raises(Fatal, match=r"images\[0\]@7 .* read up to 100: the topic was truncated or made again"):
        opened(ledger, 7)
