"""What is asked about where a partition begins, and what is done by a client that does not know the partition.

The clients are fakes; a real one is brought to it in tests/broker/test_unknown_partition.py.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from structlog.typing import EventDict

from tests.unit.kafka.test_member import NOWHERE
from worker.kafka import scout as room
from worker.kafka.scout import Scout, Watermarks
from worker.kafka.settings import KafkaSettings

A, B = ("images", 3), ("images", 4)
TIMEOUT_S = 0.7
UNKNOWN = KafkaError._UNKNOWN_PARTITION


class Client:
    """Of a cluster where the group has committed something for the second partition alone."""

    def __init__(self, refusals: list[int], leaders: dict[int, int]) -> None:
        self._refusals = refusals
        """Of the watermarks, one after the other."""
        self._leaders = leaders
        self.polled = False
        self.asked: list[tuple[Any, ...]] = []

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.asked.append((timeout, *((each.topic, each.partition) for each in partitions)))
        return [TopicPartition(each.topic, each.partition, 0 if each.partition == 4 else -1001) for each in partitions]

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        assert (partition.topic, partition.partition, timeout) == (*A, TIMEOUT_S)
        if self._refusals:
            raise KafkaException(KafkaError(self._refusals.pop()))
        return (3, 7)

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.asked.append((timeout, topic))
        partitions = {number: SimpleNamespace(leader=leader) for number, leader in self._leaders.items()}
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=partitions)})

    def poll(self, timeout_s: float) -> None:
        assert timeout_s == 0
        self.polled = True


class Clients:
    """The clients of a scout. The first is refused the watermarks so many times, and no later one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *refusals: int, leaders: dict[int, int] | None = None) -> None:
        self._refusals = list(refusals)
        self._leaders = {3: 1} if leaders is None else leaders
        self.opened: list[Client] = []
        monkeypatch.setattr(room, "open_client", self._open)
        self.scout = Scout(KafkaSettings(bootstrap_servers=NOWHERE))

    def _open(self, *_: Any) -> Client:
        self.opened.append(client := Client([] if self.opened else self._refusals, self._leaders))
        return client

    def refused(self) -> int:
        with pytest.raises(KafkaException) as refusal:
            self.scout.explore([A, B], TIMEOUT_S)
        code: int = refusal.value.args[0].code()
        return code


def test_the_watermarks_are_told_of_what_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients(monkeypatch)
    assert clients.scout.explore([A, B], TIMEOUT_S) == {A: Watermarks(3, 7)}
    assert clients.opened[0].polled, "what it was told of an outage would gather"


def test_a_client_that_had_heard_of_no_leader_is_told_of_it_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    clients = Clients(monkeypatch, UNKNOWN)
    assert clients.scout.explore([A], TIMEOUT_S) == {A: Watermarks(3, 7)}
    assert clients.opened[0].asked[1:] == [(TIMEOUT_S, "images")]
    assert not logs


@pytest.mark.parametrize("leaders", [{3: -1}, {4: 1}])
def test_a_partition_that_has_no_leader_is_said_to_have_none(
    monkeypatch: pytest.MonkeyPatch, leaders: dict[int, int]
) -> None:
    clients = Clients(monkeypatch, UNKNOWN, leaders=leaders)
    assert clients.refused() == KafkaError.LEADER_NOT_AVAILABLE
    assert len(clients.opened) == 1


def test_a_leader_of_any_number_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Clients(monkeypatch, UNKNOWN, leaders={3: 0}).scout.explore([A], TIMEOUT_S) == {A: Watermarks(3, 7)}


def test_a_client_that_does_not_know_what_it_was_told_is_replaced(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    clients = Clients(monkeypatch, UNKNOWN, UNKNOWN)
    assert clients.refused() == UNKNOWN
    assert clients.scout.explore([A, B], TIMEOUT_S) == {A: Watermarks(3, 7)}
    assert len(clients.opened) == 2
    assert [(line["event"], line["topic"], line["partition"]) for line in logs] == [("kafka.partition_unknown", *A)]


def test_whatever_else_is_wrong_is_asked_again_of_the_same_client(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients(monkeypatch, KafkaError._TIMED_OUT)
    assert clients.refused() == KafkaError._TIMED_OUT
    assert clients.opened[0].polled
    assert len(clients.opened) == 1
    assert clients.opened[0].asked == [(TIMEOUT_S, A, B)]


def test_the_group_is_reached_by_a_question_about_its_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients(monkeypatch)
    clients.scout.reach(2.0)
    assert clients.opened[0].asked == [(2.0, ("images", 0))]
