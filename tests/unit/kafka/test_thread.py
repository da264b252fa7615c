"""The Kafka thread at a rebalance, without a cluster: its callbacks are called as librdkafka calls them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from confluent_kafka import Message

from worker.errors import Fatal
from worker.kafka.ledger import Partition, Position, Settlement, Ticket
from worker.kafka.poll_errors import Gap
from worker.kafka.progress import Progress
from worker.kafka.settings import KafkaSettings
from worker.kafka.sink import Group, Positions
from worker.kafka.starts import Start
from worker.kafka.thread import KafkaThread
from worker.observe.metrics import Metrics
from worker.records import Outcome, OutgoingRecord

PARTITION = ("images", 0)


class NotingSink:
    """Publishes nowhere, and notes what would be committed. Keeps the Sink contract."""

    def __init__(self) -> None:
        self.committed: list[Mapping[Partition, Position]] = []
        self.closed = False

    @property
    def throttled(self) -> bool:
        return False

    def open(self, timeout_s: float) -> bool:
        return True

    def settle(self, settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
        self.committed.append(positions(settlement))
        return True

    def commit(self, positions: Mapping[Partition, Position], group: Group, timeout_s: float) -> bool:
        self.committed.append(positions)
        return True

    def close(self) -> None:
        self.closed = True


class Bench:
    """A Kafka thread that is not started, and an event loop that finishes at once what it is handed."""

    def __init__(self, *, works: bool = True) -> None:
        self.sink = NotingSink()
        self.handed_over: list[Ticket] = []
        self.abandoned: list[Ticket] = []
        self.works = works
        settings = KafkaSettings(bootstrap_servers="127.0.0.1:1", drain_deadline_s=0.2)
        self.thread = KafkaThread(settings, self.sink, Metrics(), deliver=self._deliver, abandon=self.abandoned.extend)

    def _deliver(self, tickets: list[Ticket]) -> None:
        self.handed_over.extend(tickets)
        for ticket in tickets if self.works else ():
            record = OutgoingRecord("classifications", None, b"", ())
            self.thread.finish(ticket, Outcome("classification", record, action="allow"))

    def poll_brings(self, offset: int) -> None:
        self.thread._open(Message(topic="images", partition=0, offset=offset, value=b"{}"))


def test_what_was_taken_in_by_an_earlier_poll_is_worked_on_before_it_is_drained() -> None:
    bench = Bench()
    bench.thread.begun({PARTITION: Start(Position(0), Progress(0))})
    for offset in range(3):
        bench.poll_brings(offset)
    bench.thread.revoked([PARTITION])
    assert len(bench.handed_over) == 3
    assert bench.abandoned == []
    assert bench.sink.committed[-1] == {PARTITION: Position(3)}


def test_what_is_not_done_by_the_deadline_of_the_drain_is_abandoned_and_not_committed() -> None:
    bench = Bench(works=False)
    bench.thread.begun({PARTITION: Start(Position(0), Progress(0))})
    bench.poll_brings(0)
    bench.thread.revoked([PARTITION])
    assert bench.abandoned == bench.handed_over
    assert bench.sink.committed == []


def test_what_came_before_a_gap_is_settled_with_polls_between_that_may_find_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(works=False)
    bench.thread.begun({PARTITION: Start(Position(0), Progress(0))})
    bench.poll_brings(0)
    bench.thread._hand_over()

    def poll(timeout_s: float) -> None:
        if bench.thread._source.fetching.paused:
            bench.works = True
            bench._deliver(bench.handed_over[:1])
        raise Gap("records are gone")

    monkeypatch.setattr(bench.thread._source, "poll", poll)
    with pytest.raises(Gap):
        bench.thread._work()
    assert bench.sink.committed[-1] == {PARTITION: Position(1)}


def test_a_lost_partition_is_not_drained() -> None:
    bench = Bench()
    bench.thread.begun({PARTITION: Start(Position(0), Progress(0))})
    bench.poll_brings(0)
    bench.thread.lost([PARTITION])
    assert bench.abandoned == bench.handed_over
    assert bench.sink.committed == []


def test_while_the_sink_may_not_begin_nothing_is_joined_and_that_is_told() -> None:
    bench = Bench()
    told = []

    def opened(_timeout_s: float) -> bool:
        told.append(bench.thread.reporter.opening)
        return len(told) == 3

    bench.sink.open = opened  # type: ignore[method-assign]
    bench.thread._open_sink()
    assert told == [False, True, True]
    assert not bench.thread.reporter.opening


def test_the_sink_is_let_go_though_the_source_fails_at_its_end() -> None:
    """Else readers of committed transactions wait for an open one until its timeout."""
    bench = Bench()
    bench.thread._source._member._failure = Fatal("in a callback")
    assert str(bench.thread._leave()) == "in a callback"
    assert bench.sink.closed
