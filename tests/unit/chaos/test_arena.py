"""Replays begin when they can, be it later."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from confluent_kafka import KafkaError, KafkaException

from tests.chaos.arena import Arena
from tests.chaos.groups import Group
from tests.chaos.verifier import Books
from tests.chaos.workers import Combination

REPLAY = Combination("exactly-once", "consumer", is_replay=True)


def test_a_replay_that_cannot_begin_now_begins_later(monkeypatch: Any) -> None:
    """The brokers are no part of it: that one is not ready when it is asked is a matter of milliseconds."""
    monkeypatch.setattr(Arena, "brokers_are_whole", lambda self: True)
    group = Group(REPLAY, Books("g", "in", "out", "dead"), ())
    begin = Mock(side_effect=[KafkaException(KafkaError(KafkaError._DESTROY_BROKER)), group])
    arena = Arena(Mock(), Mock(), Mock(), {}, Mock(), begin, [REPLAY])
    arena.begin_replays()
    assert (arena.groups, arena.replays_to_come) == ({}, [REPLAY])
    arena.begin_replays()
    arena.begin_replays()
    assert (arena.groups, arena.replays_to_come) == ({str(REPLAY): group}, [])
    assert begin.call_count == 2
