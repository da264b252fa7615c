"""What a worker in chaos may end with, and what is a trouble."""

from __future__ import annotations

import pytest

from tests.chaos.groups import Group
from tests.chaos.verifier import Books
from tests.chaos.workers import Combination

AWAY = "image-worker: no Kafka broker answered at 127.0.0.1:1"
LATE = "image-worker: group g: Local: Timed out (_TIMED_OUT): is the cluster well?"
EARLY = "image-worker: replay chaos was stopped with 7 offsets left: the same command goes on with it"
OTHER = "image-worker: the Kafka thread failed: KeyError()"


def group(*, is_replay: bool) -> Group:
    return Group(Combination("exactly-once", "consumer", is_replay=is_replay), Books("g", "in", "out", "dead"), ())


@pytest.mark.parametrize(
    ("is_replay", "told_to", "fair"),
    [
        (False, False, {AWAY}),
        (False, True, {AWAY}),
        (True, False, {AWAY}),
        (True, True, {AWAY, EARLY}),
    ],
)
def test_an_outage_is_a_fair_end_and_for_a_replay_to_be_stopped(is_replay: bool, told_to: bool, fair: set[str]) -> None:
    words = {AWAY, LATE, EARLY, OTHER}
    assert {each for each in words if group(is_replay=is_replay).may_end_with(each, told_to=told_to)} == fair


def test_only_a_replay_is_over_and_only_where_it_ended_well() -> None:
    assert group(is_replay=True).is_over(0)
    assert not any(group(is_replay=True).is_over(code) for code in (None, 1, -9))
    assert not group(is_replay=False).is_over(0)
