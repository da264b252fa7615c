"""What a worker in chaos may end with, and what is a trouble."""

from __future__ import annotations

from signal import SIGKILL, SIGTERM

import pytest

from tests.chaos.groups import Group
from tests.chaos.plan import Fault
from tests.chaos.verifier import Books
from tests.chaos.workers import Combination

AWAY = "image-worker: no Kafka broker answered at 127.0.0.1:1"
LATE = "image-worker: group g: Local: Timed out (_TIMED_OUT): is the cluster well?"
EARLY = "image-worker: replay chaos was stopped with 7 offsets left: the same command goes on with it"
OTHER = "image-worker: the Kafka thread failed: KeyError()"
BEGUN = '{"version": "0.1.0", "event": "worker.started", "level": "info"}\n'
KILLED, STOPPED, FROZEN = Fault.WORKER_KILLED, Fault.WORKER_STOPPED, Fault.WORKER_FROZEN


def group(*, is_replay: bool = False) -> Group:
    combination = Combination("exactly-once", "consumer", is_replay=is_replay)
    return Group(combination, Books("g", "in", "out", "dead", exactly_once=True), ())


@pytest.mark.parametrize(
    ("is_replay", "fault", "fair"),
    [
        (False, None, {AWAY}),
        (False, KILLED, {AWAY}),
        (False, STOPPED, {AWAY}),
        (True, None, {AWAY}),
        (True, KILLED, {AWAY}),
        (True, STOPPED, {AWAY, EARLY}),
    ],
)
def test_an_outage_is_a_fair_end_and_for_a_replay_to_be_stopped(
    is_replay: bool, fault: Fault | None, fair: set[str]
) -> None:
    words = {AWAY, LATE, EARLY, OTHER}
    assert {each for each in words if group(is_replay=is_replay).may_end(1, BEGUN + each, fault)} == fair


def test_only_the_last_words_count() -> None:
    assert not group().may_end(1, f"{AWAY}\n{OTHER}\n")


def test_one_that_is_killed_ends_of_that_or_has_ended_by_itself() -> None:
    assert group().may_end(-SIGKILL, BEGUN, KILLED)
    assert not group().may_end(-SIGKILL, BEGUN, STOPPED)
    assert not group().may_end(-SIGKILL, BEGUN)
    assert not any(group().may_end(code, BEGUN, KILLED) for code in (0, 1, -SIGTERM))


def test_one_that_is_stopped_ends_well_or_of_the_signal_where_it_was_still_starting() -> None:
    assert group().may_end(0, BEGUN, STOPPED)
    assert group().may_end(-SIGTERM, "", STOPPED)
    assert not group().may_end(-SIGTERM, BEGUN, STOPPED)
    assert not any(group().may_end(0, BEGUN, fault) for fault in (None, FROZEN))


def test_only_a_replay_is_over_and_only_where_it_ended_well() -> None:
    assert group(is_replay=True).is_over(0)
    assert not any(group(is_replay=True).is_over(code) for code in (None, 1, -9))
    assert not group(is_replay=False).is_over(0)
