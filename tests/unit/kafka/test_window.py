"""What a replay takes in and when it is over, without a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import cast

import pytest
from confluent_kafka import KafkaError, Message
from structlog.typing import EventDict

from worker.errors import Fatal
from worker.kafka import window as room
from worker.kafka.bounds import Bounds
from worker.kafka.groups import GroupLook
from worker.kafka.ledger import Ledger, Partition, Position
from worker.kafka.messages import source_record
from worker.kafka.progress import Progress, Span, parse
from worker.kafka.standing import Standing
from worker.kafka.window import Window
from worker.records import Outcome, OutgoingRecord

ONE, TWO, OTHER = ("images", 0), ("images", 1), ("images", 9)
SPANS: Mapping[int, Span] = {0: (10, 20), 1: (0, 5)}


class Broker:
    """Holds a group's commits, and tells them to whoever looks."""

    def __init__(self) -> None:
        self.held: dict[Partition, Position] = {}
        self.commits: list[set[Partition]] = []
        self.answers = True

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        assert timeout_s >= 0
        self.commits.append(set(positions))
        if self.answers:
            self.held.update(positions)
        return self.answers

    def committed(self, topic: str, numbers: Iterable[int], timeout_s: float) -> dict[int, Position]:
        return {number: self.held[topic, number] for number in numbers if (topic, number) in self.held}


class Replay:
    """A member of a replay of two partitions, and what happens to it."""

    def __init__(self, broker: Broker | None = None) -> None:
        self.broker = broker or Broker()
        self.ledger = Ledger()
        bounds = Bounds(SPANS, "asked")
        standing = Standing(cast(GroupLook, self.broker), "images", SPANS, bounds, [0, 1, 2])
        self.window = Window(bounds, standing)

    def assigned(self, *partitions: Partition) -> None:
        known = {}
        for partition in partitions:
            begin = self.window.bounds.begin(partition) or Progress(0)
            if begin.until is not None:
                self.broker.held.setdefault(partition, Position(begin.base, metadata=begin.metadata))
            held = self.broker.held.get(partition)
            known[partition] = parse(held.offset, held.metadata) if held else begin
            self.ledger.assign(partition, known[partition])
        self.window.assigned(known)

    def record(self, partition: Partition, offset: int) -> bool:
        message = Message(topic=partition[0], partition=partition[1], offset=offset, value=b"{}")
        if taken := self.window.takes(message):
            self.ledger.open(source_record(message), now_s=0, size_bytes=0)
        return taken

    def end_of_partition(self, partition: Partition, offset: int) -> None:
        error = KafkaError(KafkaError._PARTITION_EOF)
        message = SimpleNamespace(
            topic=lambda: partition[0], partition=lambda: partition[1], offset=lambda: offset, error=lambda: error
        )
        assert not self.window.takes(cast(Message, message))

    def settle(self) -> None:
        for _, ticket in self.ledger.oldest():
            if ticket is not None:
                self.ledger.finish(ticket, Outcome("classification", OutgoingRecord("results", None, b"", ())))
        settlement = self.ledger.take()
        assert settlement is not None
        self.broker.commit(self.ledger.positions(settlement), 0)
        self.ledger.settled(settlement)

    def is_over(self) -> bool:
        self.window.standing.hurry()
        return self.window.is_over(self.ledger, self.broker.commit)


def test_nothing_at_or_past_the_end_is_taken_in_nor_anything_of_a_partition_that_is_not_asked_for() -> None:
    replay = Replay()
    replay.assigned(ONE, OTHER)
    assert replay.window.arrived == {OTHER}
    assert [replay.record(ONE, offset) for offset in (12, 19, 20, 25)] == [True, True, False, False]
    assert not replay.record(OTHER, 0)
    assert replay.window.arrived >= {ONE, OTHER}


@pytest.mark.parametrize("offset", [20, 21, 100])
def test_at_the_end_of_what_there_is_the_end_itself_is_committed_when_all_is_settled(offset: int) -> None:
    replay = Replay()
    replay.assigned(ONE)
    replay.record(ONE, 12)
    replay.end_of_partition(ONE, offset)
    assert not replay.is_over()
    assert replay.broker.held[ONE].offset == 10, "it was closed with a record in flight"
    replay.settle()
    assert replay.broker.held[ONE].offset == 13
    replay.is_over()
    assert replay.broker.held[ONE].offset == 20
    assert parse(20, replay.broker.held[ONE].metadata) == Progress(20, until=20, asked="asked")


def test_a_partition_that_was_added_since_is_taken_over_from_who_knew_it_and_done() -> None:
    """One that was started later has begun it, and died."""
    replay = Replay()
    added = ("images", 3)
    replay.broker.held[added] = Position(4, metadata=Progress(0, until=6, asked="asked").metadata)
    replay.assigned(ONE, added)
    assert replay.record(added, 5)
    replay.settle()
    replay.end_of_partition(added, 6)
    assert not replay.is_over()
    assert not replay.is_over()
    assert replay.broker.held[added].offset == 6


def test_before_the_end_there_may_be_nothing_to_read_for_now() -> None:
    replay = Replay()
    replay.assigned(ONE)
    replay.end_of_partition(ONE, 15)
    replay.is_over()
    assert replay.broker.held[ONE].offset == 10
    assert replay.record(ONE, 15)


def test_it_is_over_when_every_partition_is_at_its_end_whoever_had_it() -> None:
    broker = Broker()
    one, two = Replay(broker), Replay(broker)
    one.assigned(ONE)
    one.end_of_partition(ONE, 20)
    assert not one.is_over(), "nobody has begun the other partition"
    two.assigned(TWO)
    assert not one.is_over()
    two.end_of_partition(TWO, 5)
    assert two.is_over()
    assert one.is_over()


def test_all_ends_that_are_reached_are_committed_at_once_and_again_where_that_came_to_no_end(
    logs: list[EventDict],
) -> None:
    replay = Replay()
    replay.assigned(ONE, TWO)
    replay.end_of_partition(ONE, 20)
    replay.end_of_partition(TWO, 5)
    replay.broker.answers = False
    assert not replay.is_over()
    assert not logs
    replay.broker.answers = True
    assert replay.is_over()
    assert replay.broker.commits == [{ONE, TWO}, {ONE, TWO}]
    assert [line["event"] for line in logs] == ["replay.partition_done"] * 2


def test_each_end_is_committed_once() -> None:
    replay = Replay()
    replay.assigned(ONE, TWO)
    replay.end_of_partition(ONE, 20)
    replay.is_over()
    replay.is_over()
    replay.end_of_partition(TWO, 5)
    assert replay.is_over()
    assert list(filter(None, replay.broker.commits)) == [{ONE}, {TWO}]


def test_what_is_closed_and_read_again_is_closed_again() -> None:
    replay = Replay()
    replay.assigned(ONE)
    for _ in range(2):
        replay.end_of_partition(ONE, 20)
        replay.window.is_over(replay.ledger, replay.broker.commit)
        replay.window.reopen([ONE])
    assert list(filter(None, replay.broker.commits)) == [{ONE}, {ONE}]


def test_what_a_former_owner_had_done_ahead_is_no_part_of_the_end() -> None:
    replay = Replay()
    ahead = Progress(12, ((14, 16),), until=20, asked="asked")
    replay.broker.held[ONE] = Position(12, metadata=ahead.metadata)
    replay.assigned(ONE)
    replay.end_of_partition(ONE, 20)
    replay.is_over()
    assert replay.broker.held[ONE].offset == 20
    assert parse(20, replay.broker.held[ONE].metadata) == Progress(20, until=20, asked="asked")


def test_an_error_is_for_the_worker_and_says_nothing_of_the_end() -> None:
    replay = Replay()
    replay.assigned(ONE)
    assert replay.window.takes(Message(topic="images", partition=0, offset=99, error=KafkaError(KafkaError._TRANSPORT)))
    assert replay.window.arrived == set()


def test_what_waits_for_an_open_transaction_is_said_now_and_then_and_no_more_when_it_goes_on(
    logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    replay, now_s = Replay(), [time.monotonic()]
    monkeypatch.setattr(room.time, "monotonic", lambda: now_s[0])

    def said(after_s: float) -> list[tuple[str, int, int]]:
        logs.clear()
        now_s[0] += after_s
        replay.is_over()
        return [(line["partition"], line["at"], line["until"]) for line in logs if line["event"] == "replay.waits"]

    replay.assigned(ONE, TWO)
    replay.end_of_partition(TWO, 5)
    replay.end_of_partition(ONE, 15)
    assert said(29) == []
    assert said(1) == [("images[0]", 15, 20)]
    assert said(29) == []
    assert said(1) == [("images[0]", 15, 20)]
    replay.record(ONE, 16)
    assert said(30) == [], "it has gone on"
    replay.end_of_partition(ONE, 17)
    replay.window.reopen([ONE])
    assert said(30) == [], "it is read again"
    replay.end_of_partition(ONE, 18)
    replay.ledger.forget(ONE)
    assert said(30) == [], "it is another's"


def test_where_nothing_comes_at_all_that_is_said_of_each_partition_that_is_not_at_its_end(
    logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it begins behind the start of a transaction that is open: no end of what there is to read is told."""
    now_s = [time.monotonic()]
    monkeypatch.setattr(room.time, "monotonic", lambda: now_s[0])
    replay = Replay()

    def said(after_s: float) -> list[tuple[str, int]]:
        replay.is_over()
        logs.clear()
        now_s[0] += after_s
        replay.is_over()
        return [(line["partition"], line["at"]) for line in logs if line["event"] == "replay.waits"]

    replay.assigned(ONE, TWO, OTHER)
    replay.end_of_partition(TWO, 5)
    assert said(30) == [("images[0]", 10)]
    replay.record(ONE, 12)
    assert said(30) == [], "it is in flight"
    replay.settle()
    assert said(30) == [("images[0]", 13)]
    replay.end_of_partition(ONE, 20)
    assert said(30) == []


def test_an_end_that_a_late_commit_moved_back_is_committed_again() -> None:
    replay = Replay()
    replay.assigned(ONE, TWO)
    replay.end_of_partition(ONE, 20)
    assert not replay.is_over()
    replay.broker.held[ONE] = Position(15, metadata=Progress(15, until=20, asked="asked").metadata)
    replay.end_of_partition(TWO, 5)
    assert not replay.is_over(), "it is seen"
    assert replay.is_over()


@pytest.mark.parametrize("at", [20, 25])
def test_what_is_done_when_it_is_begun_is_not_read_nor_committed_again_but_where_a_late_commit_moved_it_back(
    at: int,
) -> None:
    replay = Replay()
    done = Progress(at, until=20, asked="asked")
    assert not replay.window.reads(done)
    replay.broker.held[ONE] = Position(at, metadata=done.metadata)
    replay.assigned(ONE, TWO)
    replay.window.reopen([ONE, TWO])
    assert replay.window.arrived == {ONE}
    assert not replay.is_over()
    assert not any(replay.broker.commits)
    replay.broker.held[ONE] = Position(15, metadata=Progress(15, until=20, asked="asked").metadata)
    replay.end_of_partition(TWO, 5)
    assert not replay.is_over(), "it is seen"
    assert replay.is_over()
    assert replay.broker.held[ONE].offset == at


def test_what_was_done_and_is_assigned_again_with_something_left_is_read() -> None:
    replay = Replay()
    replay.broker.held[ONE] = Position(20, metadata=Progress(20, until=20, asked="asked").metadata)
    replay.assigned(ONE)
    replay.broker.held[ONE] = Position(15, metadata=Progress(15, until=20, asked="asked").metadata)
    replay.ledger.forget(ONE)
    replay.assigned(ONE)
    assert replay.window.arrived == set()
    assert replay.record(ONE, 15)
    replay.settle()
    replay.end_of_partition(ONE, 20)
    replay.is_over()
    assert replay.broker.held[ONE].offset == 20


def test_of_a_partition_that_is_not_asked_for_nothing_is_read() -> None:
    assert not Replay().window.reads(Progress(0))


@pytest.mark.parametrize("number", [1, 2])
def test_where_the_group_is_that_of_another_replay_too_it_is_not_over_but_ends(number: int) -> None:
    replay = Replay()
    replay.assigned(ONE)
    replay.end_of_partition(ONE, 20)
    replay.broker.held["images", number] = Position(5, metadata=Progress(5, until=5, asked="other").metadata)
    with pytest.raises(Fatal, match="a replay of this id has another --from"):
        replay.is_over()


def test_progress_that_nobody_can_read_ends_it_with_a_line() -> None:
    replay = Replay()
    replay.broker.held[TWO] = Position(5, metadata="image-worker/1;done=!")
    with pytest.raises(Fatal, match="the progress of this replay cannot be read"):
        replay.is_over()


def test_what_is_read_again_is_not_closed_before_it_is_done_again() -> None:
    replay = Replay()
    replay.assigned(ONE)
    replay.record(ONE, 19)
    assert replay.window.arrived == {ONE}
    replay.ledger.forget(ONE)
    replay.ledger.assign(ONE, Progress(10, until=20, asked="asked"))
    replay.window.reopen([ONE])
    replay.is_over()
    assert replay.window.arrived == set()
    assert replay.broker.held[ONE].offset == 10


def test_an_end_is_that_of_the_first_owner_whatever_a_later_one_would_have_made_of_it() -> None:
    replay = Replay()
    earlier = Progress(12, until=18, asked="asked")
    replay.broker.held[ONE] = Position(12, metadata=earlier.metadata)
    replay.assigned(ONE)
    assert [replay.record(ONE, offset) for offset in (17, 18)] == [True, False]


@pytest.mark.parametrize(
    ("progress", "line"), [(Progress(3), "no replay committed"), (Progress(3, until=9), "another")]
)
def test_offsets_of_something_else_are_refused(progress: Progress, line: str) -> None:
    with pytest.raises(Fatal, match=line):
        Bounds(SPANS, "asked").check(progress)
