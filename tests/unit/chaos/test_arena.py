"""Replays begin when they can, be it later; who ends on its own account is noted, and which commits came late."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock, Mock

from confluent_kafka import KafkaError, KafkaException

from tests.chaos.arena import Arena
from tests.chaos.books import LateCommit
from tests.chaos.groups import Group
from tests.chaos.plan import Action, Fault
from tests.chaos.verifier import Books
from tests.chaos.wires import OFFSET_COMMIT, Late
from tests.chaos.workers import Combination
from tests.unit.chaos.offset_commits import commit_request

PRODUCE = 0
REPLAY = Combination("exactly-once", "consumer", is_replay=True)
LIVE = Combination("at-least-once", "consumer")
BOOKS = Books("g", "in", "out", "dead", exactly_once=True)


def arena(*workers: Any, wires: Any = None) -> Arena:
    """With one group, of these workers."""
    return Arena(Mock(), wires or Mock(), Mock(), {str(LIVE): Group(LIVE, BOOKS, workers)}, Mock(), Mock(), [])


def ended(code: int, said: str) -> Mock:
    return Mock(**{"exited.return_value": code, "said.return_value": said, "last_words.return_value": "its last words"})


def test_a_replay_that_cannot_begin_now_begins_later(monkeypatch: Any) -> None:
    """The brokers are no part of it: that one is not ready when it is asked is a matter of milliseconds."""
    monkeypatch.setattr(Arena, "brokers_are_whole", lambda self: True)
    group = Group(REPLAY, BOOKS, ())
    begin = Mock(side_effect=[KafkaException(KafkaError(KafkaError._DESTROY_BROKER)), group])
    arena = Arena(Mock(), Mock(), Mock(), {}, Mock(), begin, [REPLAY])
    arena.begin_replays()
    assert (arena.groups, arena.replays_to_come) == ({}, [REPLAY])
    arena.begin_replays()
    arena.begin_replays()
    assert (arena.groups, arena.replays_to_come) == ({str(REPLAY): group}, [])
    assert begin.call_count == 2


def test_who_ends_though_nobody_ended_it_is_noted_and_started_again() -> None:
    fair, unfair = ended(1, "no Kafka broker answered"), ended(1, "KeyError()")
    whole = arena(fair, unfair)
    whole.watch({(str(LIVE), 1)})
    assert (whole.troubles, unfair.start.called) == ([], False)
    whole.watch(set())
    assert [each.endswith("ended of itself with 1: its last words") for each in whole.troubles] == [True]
    assert fair.start.called
    assert unfair.start.called


def test_who_is_to_be_killed_and_has_ended_before_that_is_noted() -> None:
    killed, before = ended(-9, "worker.started"), ended(1, "KeyError()")
    whole = arena(killed, before)
    assert whole.end(Action(0.0, 1.0, Fault.WORKER_KILLED, 0, str(LIVE)))
    assert whole.troubles == []
    assert whole.end(Action(0.0, 1.0, Fault.WORKER_KILLED, 1, str(LIVE)))
    assert [each.endswith("worker killed, and ended with 1: its last words") for each in whole.troubles] == [True]
    assert before.start.called


def test_brokers_that_do_not_run_are_named() -> None:
    whole = arena()
    runs, died, killed = (MagicMock(number=number) for number in (1, 2, 3))
    runs.process.poll.return_value, died.process.poll.return_value, killed.process = None, 1, None
    whole.kafka.brokers = [runs, died, killed]
    assert [each[:16] for each in whole.dead_brokers()] == ["broker 2 is dead", "broker 3 is dead"]


def test_of_what_came_late_commits_count_be_they_brought_or_left_without_an_answer() -> None:
    one, two = commit_request("g", {"in": {3: 17, 4: 5}}), commit_request("h", {"in": {0: 2}})
    late = [Late(one, "w", OFFSET_COMMIT, 100, 110), Late(b"?", "w", PRODUCE, 100, 110)]
    wires = Mock(late=late, unanswered=[Late(two, "w", OFFSET_COMMIT, 200, 210)])
    assert arena(wires=wires).late_commits() == {
        "g": [LateCommit(3, 17, 100, 110), LateCommit(4, 5, 100, 110)],
        "h": [LateCommit(0, 2, 200, 210)],
    }
