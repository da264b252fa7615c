"""How much is taken in: what counts against which budget, and what an outage lets through."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.typing import EventDict

from worker.kafka import intake as room
from worker.kafka.fetching import Fetching
from worker.kafka.intake import Intake
from worker.kafka.ledger import Ledger, Partition, Ticket
from worker.kafka.progress import Progress
from worker.kafka.settings import KafkaSettings
from worker.observe.metrics import Metrics
from worker.records import Coordinates, Outcome, OutgoingRecord, SourceRecord

DONE = Outcome("classification", OutgoingRecord("results", None, b"", ()))


class Tap:
    """The part of a source that intake turns: on or off."""

    paused = False

    def __init__(self) -> None:
        self.held: set[Partition] = set()

    def hold(self, partitions: set[Partition]) -> None:
        self.held = partitions

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Taking:
    """An intake, its ledger, and a clock that is set by hand."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, in_order: bool = True, rate: float | None = None, **settings: int
    ) -> None:
        """`rate`: of a replay."""
        self.now_s = 1000.0
        monkeypatch.setattr(room.time, "monotonic", lambda: self.now_s)
        self.tap = Tap()
        self.held_up = 0
        self.ledger = Ledger(in_order=in_order)
        self.ledger.assign(("images", 0), Progress(0))
        source = SimpleNamespace(fetching=cast(Fetching, self.tap))
        window: Any = SimpleNamespace(rate=rate, arrived=set()) if rate is not None else None
        self.intake = Intake(KafkaSettings(**settings), self.ledger, source, Metrics(), lambda: self.held_up, window)
        self.tickets: list[Ticket] = []

    def open(self, count: int) -> None:
        for _ in range(count):
            record = SourceRecord(Coordinates("images", 0, len(self.tickets)), -1, None, b"", ())
            ticket = self.ledger.open(record, now_s=self.now_s, size_bytes=1)
            assert ticket is not None
            self.tickets.append(ticket)

    def lets_in(self) -> bool:
        """Whether a record would be taken in by the next round."""
        return not self.intake.full() and not self.tap.paused


def test_records_at_work_have_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    taking = Taking(monkeypatch, max_at_work=10)
    taking.open(9)
    assert taking.lets_in()
    taking.open(1)
    assert not taking.lets_in()


def test_records_that_are_done_and_wait_for_an_earlier_one_leave_room_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taking = Taking(monkeypatch, max_at_work=10)
    taking.open(10)
    for ticket in taking.tickets[1:]:
        taking.ledger.finish(ticket, DONE)
    assert taking.lets_in()


def test_records_that_hosts_hold_up_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    taking = Taking(monkeypatch, max_at_work=10)
    taking.open(10)
    taking.held_up = 1
    assert taking.lets_in()


def test_all_that_is_in_flight_has_a_budget_whatever_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    taking = Taking(monkeypatch, max_at_work=10, max_in_flight=100)
    taking.open(100)
    taking.held_up = 100
    assert not taking.lets_in()


def test_a_budget_that_is_used_up_for_a_second_pauses_the_source_until_a_quarter_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taking = Taking(monkeypatch, max_at_work=8)
    taking.open(8)
    assert taking.intake.full()
    taking.now_s += 1
    assert not taking.intake.full(), "a paused source is polled, or the group would lose this member"
    assert taking.tap.paused
    for ticket in taking.tickets[:2]:
        taking.ledger.finish(ticket, DONE)
        taking.intake.full()
    assert taking.tap.paused
    taking.ledger.finish(taking.tickets[2], DONE)
    assert taking.lets_in()


def test_in_an_outage_one_record_is_taken_in_every_quarter_of_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    taking = Taking(monkeypatch)
    taking.intake.held_back = True
    assert not taking.lets_in()
    taking.now_s += 14
    assert not taking.lets_in()
    taking.now_s += 2
    assert taking.lets_in()
    assert taking.lets_in(), "none has come yet"
    taking.open(1)
    assert not taking.lets_in()
    taking.now_s += 16
    assert taking.lets_in()


def test_after_an_outage_all_is_taken_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    taking = Taking(monkeypatch)
    taking.intake.held_back = True
    assert not taking.lets_in()
    taking.intake.held_back = False
    taking.intake.full()
    assert taking.lets_in()


def test_a_probe_that_met_no_record_is_none_of_the_next_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    taking = Taking(monkeypatch)
    taking.open(5)
    taking.intake.held_back = True
    taking.intake.full()
    taking.now_s += 16
    assert taking.lets_in()
    taking.intake.held_back = False
    taking.intake.full()
    for ticket in taking.tickets[:3]:
        taking.ledger.finish(ticket, DONE)
    settlement = taking.ledger.take()
    assert settlement is not None
    taking.ledger.settled(settlement)
    taking.intake.held_back = True
    assert not taking.lets_in()


def test_a_probe_keeps_to_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    taking = Taking(monkeypatch, max_at_work=10)
    taking.open(9)
    taking.intake.held_back = True
    taking.intake.full()
    taking.now_s += 16
    assert taking.lets_in()
    taking.ledger.forget(("images", 0))
    taking.ledger.assign(("images", 0), Progress(9))
    for _ in range(9):
        taking.open(1)
        assert taking.lets_in(), "fewer than before the probe"
    taking.open(1)
    assert not taking.lets_in()


def test_a_partition_whose_commits_are_full_waits_by_itself(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    taking = Taking(monkeypatch, in_order=False, max_at_work=10_000)
    taking.open(5000)
    outcome = Outcome("classification", OutgoingRecord("results", None, b"", ()))
    for ticket in taking.tickets[1::2]:
        taking.ledger.finish(ticket, outcome)
    settlement = taking.ledger.take()
    assert settlement is not None
    assert taking.lets_in()
    assert taking.tap.held == {("images", 0)}
    assert [line["what"] for line in logs if line["event"] == "kafka.partition_waits"] == ["images[0]@0"]
    taking.ledger.settled(settlement)
    for ticket in taking.tickets[::2]:
        taking.ledger.finish(ticket, outcome)
    assert taking.ledger.take() is not None
    assert taking.lets_in()
    assert taking.tap.held == set()


def test_a_replay_with_a_rate_takes_in_no_more_than_that_whatever_else_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taking = Taking(monkeypatch, rate=5.0)
    for second in range(4):
        taken = 0
        while not taking.intake.full():
            taking.open(1)
            taking.intake.took()
            taken += 1
        assert taken == 5, f"in second {second}, of which the first is let through at once"
        taking.now_s += 1.0
    assert not taking.tap.paused, "it is polled for all that"
