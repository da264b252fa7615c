"""A run in which nothing happened does not balance."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.happened import never_done, never_read
from tests.chaos.plan import Action, Fault


def planned(times: int) -> list[Action]:
    return [Action(float(n), 1.0, Fault.BROKER_KILLED, 0) for n in range(times)]


def test_a_fault_that_was_planned_often_and_never_done_is_named() -> None:
    assert never_done(planned(7), Counter()) == ["broker killed: planned 7 times and never done"]
    assert never_done(planned(7), Counter({Fault.BROKER_FROZEN: 7})) != []


def test_one_that_was_done_once_or_planned_now_and_then_is_not() -> None:
    assert never_done(planned(7), Counter({Fault.BROKER_KILLED: 1})) == []
    assert never_done(planned(4), Counter()) == []


@pytest.mark.parametrize(("events", "acknowledged"), [(0, 0), (0, 5), (4, 5)])
def test_a_topic_that_is_empty_or_has_less_than_was_acknowledged_is_named(events: int, acknowledged: int) -> None:
    assert never_read("g", events, acknowledged) == [
        f"g: {events} events were read, and {acknowledged} were acknowledged"
    ]


@pytest.mark.parametrize(("events", "acknowledged"), [(5, 5), (6, 5), (1, 0)])
def test_one_that_has_as_much_or_more_is_not(events: int, acknowledged: int) -> None:
    assert never_read("g", events, acknowledged) == []
