"""Commits with a time limit: whatever the broker does, the Kafka thread goes on."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from worker.errors import Fatal
from worker.kafka.committer import Committer

SOON = 20.0
AT_ONCE = 0.01


class Broker:
    """Answers a commit when it is told to."""

    def __init__(self, *, passes: bool = True) -> None:
        self.passes = passes
        self.may_answer = threading.Event()
        self.asked: list[Mapping[str, int]] = []

    def commit(self, positions: Mapping[str, int]) -> bool:
        self.asked.append(positions)
        self.may_answer.wait()
        return self.passes


def test_a_commit_that_is_answered_in_time_is_done() -> None:
    broker = Broker()
    broker.may_answer.set()
    assert Committer(broker.commit).commit({"a": 1}, SOON)
    assert broker.asked == [{"a": 1}]


def test_a_commit_that_is_not_answered_is_waited_for_again_and_not_sent_twice() -> None:
    broker = Broker()
    committer = Committer(broker.commit)
    assert not committer.commit({"a": 1}, AT_ONCE)
    assert not committer.commit({"a": 1}, AT_ONCE)
    broker.may_answer.set()
    assert committer.commit({"a": 1}, SOON)
    assert broker.asked == [{"a": 1}]


def test_a_late_answer_counts_for_the_partitions_that_are_left() -> None:
    broker = Broker()
    committer = Committer(broker.commit)
    assert not committer.commit({"a": 1, "b": 2}, AT_ONCE)
    broker.may_answer.set()
    assert committer.commit({"b": 2}, SOON)


def test_a_late_answer_does_not_count_for_what_was_not_in_it() -> None:
    broker = Broker()
    committer = Committer(broker.commit)
    assert not committer.commit({"a": 1}, AT_ONCE)
    broker.may_answer.set()
    assert not committer.commit({"a": 5}, SOON)
    assert committer.commit({"a": 5}, SOON)
    assert broker.asked == [{"a": 1}, {"a": 5}]


def test_a_refused_commit_is_not_done_and_is_sent_again() -> None:
    broker = Broker(passes=False)
    broker.may_answer.set()
    committer = Committer(broker.commit)
    assert not committer.commit({"a": 1}, SOON)
    broker.passes = True
    assert committer.commit({"a": 1}, SOON)


def test_what_a_commit_raises_is_raised_to_whoever_waits() -> None:
    def fail(_positions: Mapping[str, int]) -> bool:
        raise Fatal("never")

    with pytest.raises(Fatal, match="never"):
        Committer(fail).commit({"a": 1}, SOON)


def test_closing_says_whether_a_commit_is_still_under_way() -> None:
    broker = Broker()
    committer = Committer(broker.commit)
    assert not committer.commit({"a": 1}, AT_ONCE)
    assert not committer.close(AT_ONCE)
    broker.may_answer.set()
    assert committer.close(SOON)
