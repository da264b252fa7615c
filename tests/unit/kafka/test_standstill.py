"""The fence: after a standstill longer than the patience of the group, what was in flight is void."""

from __future__ import annotations

import pytest
from structlog.typing import EventDict

from tests.unit.kafka.books import PARTITIONS
from tests.unit.kafka.desk import PATIENCE_S, Desk
from worker.kafka.ledger import Settlement
from worker.kafka.settling import SETTLE_STEP_S
from worker.kafka.sink import Group, Positions

A, B = PARTITIONS[:2]


@pytest.fixture
def desk() -> Desk:
    return Desk()


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
