"""Settling: as a state machine, when it settles, and how it drains."""

from __future__ import annotations

import pytest
from hypothesis import settings
from structlog.typing import EventDict

from tests.mutation import examples
from tests.unit.kafka.books import PARTITIONS
from tests.unit.kafka.desk import Broker, Desk
from tests.unit.kafka.settlings import Settlings
from worker.kafka.ledger import Ticket
from worker.kafka.settings import KafkaSettings
from worker.kafka.settling import SETTLE_STEP_S

A, B = PARTITIONS[:2]


@pytest.fixture
def desk() -> Desk:
    return Desk()


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


@pytest.mark.parametrize(
    ("takes_s", "finished", "rhythm_s"),
    [
        pytest.param(0.0025, 1, 0.05, id="a short cycle keeps the rhythm of the settings"),
        pytest.param(0.005, 1, 0.095, id="it takes a twentieth of the time"),
        pytest.param(0.04, 1, 0.2, id="four times that rhythm at most"),
        pytest.param(0.04, 249, 0.2, id="half of what a cycle takes is not there yet"),
        pytest.param(0.04, 250, 0.05, id="it is: else a cycle would not take all"),
    ],
)
def test_under_load_a_cycle_that_takes_long_is_followed_by_a_longer_rest(
    takes_s: float, finished: int, rhythm_s: float
) -> None:
    desk = Desk(settle_interval_ms=50)
    desk.assign(A)
    first, *others = (desk.open(A, offset) for offset in range(300))
    desk.clock.now_s += 1
    desk.finish(first)
    desk.broker.takes_s = takes_s
    desk.cycle()
    assert desk.broker.committed == {A: 1}
    desk.finish(*others[:finished])
    desk.clock.now_s += rhythm_s - 0.000_01
    desk.cycle()
    assert desk.broker.committed == {A: 1}
    desk.clock.now_s += 0.000_02
    desk.cycle()
    assert desk.broker.committed == {A: 1 + finished}


def test_a_cycle_that_came_to_no_end_goes_on_in_the_rhythm_of_the_settings() -> None:
    desk = Desk(settle_interval_ms=50)
    desk.assign(A)
    first, *_ = (desk.open(A, offset) for offset in range(12))
    desk.clock.now_s += 1
    desk.finish(first)
    desk.broker.takes_s, desk.broker.answers = 1.0, False
    desk.cycle()
    desk.broker.answers = True
    desk.clock.now_s += 0.051
    desk.cycle()
    assert desk.broker.committed == {A: 1}


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


def test_within_a_callback_nothing_is_published_that_could_not_be_committed(desk: Desk, logs: list[EventDict]) -> None:
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    desk.broker.unanswered = True
    desk.run(desk.settling.drain, [A])
    assert desk.broker.published == []
    assert [line["left_to_the_next_owner"] for line in logs if line["event"] == "kafka.drain_unanswered"] == [1]


def test_but_what_is_being_settled_already_is_waited_for(desk: Desk) -> None:
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    desk.broker.answers = False
    desk.cycle()
    desk.broker.answers, desk.broker.unanswered = True, True
    desk.finish(desk.open(A, 1))
    desk.run(desk.settling.drain, [A])
    assert desk.broker.committed == {A: 1}


def test_where_polls_can_tell_of_answers_a_drain_goes_on_when_they_do(desk: Desk) -> None:
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    desk.broker.unanswered, polls = True, []

    def poll() -> None:
        polls.append(1)
        desk.broker.unanswered = len(polls) < 3

    desk.run(desk.settling.drain, [A], poll)
    assert len(polls) == 3
    assert desk.broker.committed == {A: 1}


def test_a_commit_that_is_refused_in_the_middle_of_a_rebalance_is_sent_again_when_a_poll_has_told(desk: Desk) -> None:
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    desk.broker.answers, polls = False, []

    def poll() -> None:
        polls.append(1)
        desk.broker.answers = len(polls) > 1

    desk.run(desk.settling.drain, [A], poll)
    assert desk.broker.committed == {A: 1}
    assert len(polls) == 2


def test_a_stop_has_one_deadline_for_its_drain_and_for_rebalances_in_it(desk: Desk) -> None:
    desk.assign(A, B)
    desk.open(A, 0)
    desk.open(B, 0)
    began_s, rebalances = desk.clock.now_s, []
    desk.settling.leave_by_s = began_s + 30

    def poll() -> None:
        desk.settling.polls()
        if desk.clock.now_s >= began_s + 29 and not rebalances:
            rebalances.append(A)
            desk.settling.drain([A])
            desk.settling.forget([A])

    desk.run(desk.settling.drain, [A, B], poll)
    assert rebalances
    assert desk.clock.now_s == pytest.approx(began_s + 30, abs=0.01)


def test_a_drain_ends_when_it_is_told_that_nothing_more_is_to_be_settled(desk: Desk) -> None:
    desk.assign(A)
    desk.open(A, 0)
    began_s = desk.clock.now_s

    def poll() -> None:
        if desk.clock.now_s >= began_s + 1:
            desk.settling.leave_by_s = desk.clock.now_s

    desk.run(desk.settling.drain, [A], poll)
    assert desk.clock.now_s == pytest.approx(began_s + 1, abs=0.01)


def test_within_a_callback_no_transaction_is_begun_that_the_group_would_take_no_offsets_of() -> None:
    desk = Desk(delivery="exactly-once")
    desk.broker.membership = None
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    began_s = desk.clock.now_s
    desk.run(desk.settling.drain, [A])
    assert desk.broker.published == []
    assert desk.clock.now_s == pytest.approx(began_s, abs=0.01)


def test_in_a_transaction_the_commits_beside_it_keep_no_drain_waiting() -> None:
    desk = Desk(delivery="exactly-once")
    desk.assign(A)
    desk.finish(desk.open(A, 0))
    desk.broker.unanswered = True
    desk.run(desk.settling.drain, [A])
    assert desk.broker.committed == {A: 1}


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


Settlings.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=50, deadline=None)
TestSettlings = Settlings.TestCase
