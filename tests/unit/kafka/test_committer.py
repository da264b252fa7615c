"""Commits with a time limit: whatever the broker does, the Kafka thread goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pytest
from confluent_kafka import KafkaError, KafkaException

from worker.errors import Fatal
from worker.kafka import committer as room
from worker.kafka.committer import Committer, goes_again, is_reached, never_committed
from worker.kafka.ledger import Partition, Position
from worker.kafka.progress import Progress

SOON = 20.0
AT_ONCE = 0.01
A, B = ("images", 0), ("images", 1)


def done(base: int, *offsets: int) -> Position:
    """The commit of what is done before a base, and of these after it."""
    return Position(base, metadata=Progress(base).after((offset, offset + 1) for offset in offsets).metadata)


class Coordinator:
    """Takes commits and tells what it holds; while it is away, neither."""

    def __init__(self) -> None:
        self.away = False
        self.sent: list[Mapping[Partition, Position]] = []
        self.held: dict[Partition, Position] = {}
        self.committer = Committer(self._take, self._tell)

    def _take(self, positions: Mapping[Partition, Position]) -> None:
        self.sent.append(positions)
        if not self.away:
            self.held.update(positions)

    def _tell(self, partitions: Iterable[Partition], timeout_s: float) -> Mapping[Partition, Position]:
        if self.away:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return {partition: self.held[partition] for partition in partitions if partition in self.held}

    def is_back(self) -> None:
        """What was sent meanwhile arrives."""
        self.away = False
        for positions in self.sent:
            self.held.update(positions)


def test_a_commit_is_done_when_the_group_holds_it_though_no_answer_was_heard() -> None:
    coordinator = Coordinator()
    assert coordinator.committer.commit({A: Position(1)}, SOON)
    assert coordinator.committer.unanswered == 1


def test_a_commit_that_is_not_answered_is_waited_for_again_and_not_sent_twice() -> None:
    coordinator = Coordinator()
    coordinator.away = True
    assert not coordinator.committer.commit({A: Position(1)}, AT_ONCE)
    assert not coordinator.committer.commit({A: Position(1)}, AT_ONCE)
    coordinator.is_back()
    assert coordinator.committer.commit({A: Position(1)}, SOON)
    assert coordinator.sent == [{A: Position(1)}]


def test_after_a_rebalance_the_rest_of_what_was_sent_is_waited_for() -> None:
    coordinator = Coordinator()
    coordinator.away = True
    assert not coordinator.committer.commit({A: Position(1), B: Position(2)}, AT_ONCE)
    coordinator.is_back()
    assert coordinator.committer.commit({B: Position(2)}, SOON)
    assert len(coordinator.sent) == 1


def test_within_a_callback_the_next_commit_is_sent_though_the_answer_to_the_last_one_was_not_heard() -> None:
    coordinator = Coordinator()
    assert coordinator.committer.commit({A: Position(1)}, SOON)
    assert coordinator.committer.commit({A: Position(2)}, SOON)
    assert coordinator.held == {A: Position(2)}


def test_a_commit_that_the_group_holds_and_that_a_poll_did_not_tell_of_is_answered_before_the_next_one_is_sent() -> (
    None
):
    """librdkafka sends it again, since its connection broke: behind the next one it would move the offset back."""
    coordinator = Coordinator()
    assert coordinator.committer.commit({A: Position(1)}, SOON)
    coordinator.committer.polled()
    assert not coordinator.committer.commit({A: Position(2)}, SOON)
    assert coordinator.committer.commit({A: Position(1)}, SOON), "that it is held is known"
    coordinator.committer.answered()
    assert coordinator.committer.commit({A: Position(2)}, SOON)
    assert coordinator.sent == [{A: Position(1)}, {A: Position(2)}]


def test_of_two_such_commits_both_are_answered_before_the_next_one_is_sent() -> None:
    coordinator = Coordinator()
    for offset in (1, 2):
        assert coordinator.committer.commit({A: Position(offset)}, SOON)
    coordinator.committer.polled()
    coordinator.committer.answered()
    assert not coordinator.committer.commit({A: Position(3)}, SOON)
    coordinator.committer.answered()
    assert coordinator.committer.commit({A: Position(3)}, SOON)


def test_a_commit_whose_answer_the_poll_told_keeps_the_next_one_waiting_for_nothing() -> None:
    coordinator = Coordinator()
    assert coordinator.committer.commit({A: Position(1)}, SOON)
    coordinator.committer.answered()
    coordinator.committer.polled()
    assert coordinator.committer.commit({A: Position(2)}, SOON)


def test_what_is_read_again_after_a_standstill_moves_no_commit_back_that_is_answered_late() -> None:
    coordinator = Coordinator()
    coordinator.away = True
    assert not coordinator.committer.commit({A: Position(5)}, AT_ONCE)
    assert not coordinator.committer.commit({A: Position(3)}, AT_ONCE), "the group does not say what it holds"
    coordinator.away = False
    assert not coordinator.committer.commit({A: Position(3)}, AT_ONCE), "the first may arrive still"
    coordinator.is_back()
    coordinator.committer.answered()
    assert coordinator.committer.commit({A: Position(3), B: Position(1)}, SOON)
    assert coordinator.committer.commit({A: Position(4)}, SOON)
    assert coordinator.sent == [{A: Position(5)}, {B: Position(1)}]
    assert coordinator.held == {A: Position(5), B: Position(1)}


def test_where_the_higher_commit_was_refused_the_lower_one_is_sent() -> None:
    coordinator = Coordinator()
    coordinator.away = True
    assert not coordinator.committer.commit({A: Position(5)}, AT_ONCE)
    coordinator.committer.answered()
    coordinator.away = False
    assert coordinator.committer.commit({A: Position(3)}, SOON)
    assert coordinator.held == {A: Position(3)}


def test_the_highest_commit_that_was_ever_sent_may_come_late_though_a_lower_one_was_taken_since() -> None:
    coordinator = Coordinator()
    coordinator.away = True
    assert not coordinator.committer.commit({A: Position(50)}, AT_ONCE)
    coordinator.away = False
    coordinator.committer.answered()  # its time is up; the broker may have it all the same
    assert coordinator.committer.commit({A: Position(40)}, SOON)
    coordinator.held[A] = Position(50)
    assert coordinator.committer.commit({A: Position(45)}, SOON)
    assert coordinator.held == {A: Position(50)}


def test_each_commit_that_is_sent_is_answered_for() -> None:
    coordinator = Coordinator()
    for offset in (1, 2):
        assert coordinator.committer.commit({A: Position(offset)}, SOON)
    assert coordinator.committer.unanswered == 2
    coordinator.committer.answered()
    assert coordinator.committer.unanswered == 1


def test_it_asks_for_no_longer_than_it_may_take_and_at_least_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, asked_s = [100.0], []

    def tell(_partitions: object, timeout_s: float) -> Mapping[Partition, Position]:
        asked_s.append(timeout_s)
        now_s[0] += 0.4
        return {}

    monkeypatch.setattr(room.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(room.time, "sleep", lambda _seconds: None)
    assert not Committer(lambda _positions: None, tell).commit({A: Position(1)}, 1.2)
    assert asked_s == pytest.approx([1.2, 0.8, 0.4])
    assert not Committer(lambda _positions: None, tell).commit({A: Position(1)}, 0.0)
    assert asked_s[3:] == [0.005]


def test_a_commit_that_was_refused_is_sent_again() -> None:
    coordinator = Coordinator()
    coordinator.away = True
    assert not coordinator.committer.commit({A: Position(1)}, AT_ONCE)
    coordinator.committer.answered()
    coordinator.away = False
    assert coordinator.committer.commit({A: Position(1)}, SOON)
    assert len(coordinator.sent) == 2


def test_an_older_commit_and_one_that_says_less_are_not_taken_for_this_one() -> None:
    coordinator = Coordinator()
    committer = coordinator.committer
    assert committer.commit({A: Position(1)}, SOON)
    coordinator.committer = Committer(lambda positions: None, coordinator._tell)
    assert not coordinator.committer.commit({A: Position(2)}, AT_ONCE)
    assert not coordinator.committer.commit({A: done(1, 3)}, AT_ONCE)


def test_a_commit_is_reached_where_another_has_done_more_after_the_same_offset() -> None:
    sent = done(1, 3)
    assert is_reached(sent, sent)
    assert is_reached(done(1, 3, 5), sent)
    assert is_reached(Position(9), sent)
    assert not is_reached(done(1, 5), sent)
    assert not is_reached(Position(1), sent)
    assert not is_reached(None, sent)


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (KafkaError.ILLEGAL_GENERATION, True),
        (KafkaError._TIMED_OUT_QUEUE, True),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, False),
        (KafkaError.OFFSET_METADATA_TOO_LARGE, False),
    ],
)
def test_a_commit_is_tried_again_where_that_can_help(code: int, again: bool) -> None:
    assert goes_again(KafkaError(code)) is again


def test_a_partition_that_the_coordinator_does_not_know_yet_is_committed_when_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that was added a moment ago. Of one that is gone it says so for longer."""
    now_s, unknown = [100.0], KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    monkeypatch.setattr(room.time, "monotonic", lambda: now_s[0])
    committer = Coordinator().committer
    for after_s in (0.0, 19.9):
        now_s[0] += after_s
        committer.answered(unknown)
    committer.answered()
    for after_s in (0.1, 19.9):
        now_s[0] += after_s
        committer.answered(unknown)
    committer.answered(KafkaError(KafkaError.NOT_COORDINATOR))
    committer.answered(unknown)
    now_s[0] += 20.0
    with pytest.raises(Fatal, match=r"UNKNOWN_TOPIC_OR_PART\): the input topic was deleted"):
        committer.answered(unknown)


def test_a_commit_that_is_refused_for_good_ends_the_worker_at_once_and_one_of_a_client_that_is_over_does_not() -> None:
    committer = Coordinator().committer
    committer.answered(KafkaError(KafkaError._FATAL))
    with pytest.raises(Fatal, match="GROUP_AUTHORIZATION_FAILED"):
        committer.answered(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "ask for READ on the group"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "the input topic was deleted: .*"),
        (KafkaError.UNKNOWN, "see the log of the group's coordinator"),
    ],
)
def test_a_commit_that_is_refused_for_good_ends_the_worker_which_says_what_to_do(code: int, hint: str) -> None:
    said = str(never_committed(KafkaError(code)))
    assert re.fullmatch(
        rf"Kafka refused to commit offsets: .* \({KafkaError(code).name()}\): {hint}; nothing was lost", said
    )


def test_a_commit_of_another_release_at_the_same_offset_is_not_taken_for_this_one() -> None:
    ours, theirs = Progress(5, topic_id="id").metadata, "image-worker/0;id"
    assert not is_reached(Position(5, metadata=theirs), Position(5, metadata=ours))
    assert is_reached(Position(6, metadata=theirs), Position(5, metadata=ours))
