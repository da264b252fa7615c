"""What is asked about where a partition begins, and what is done by a client that does not know the partition.

The clients are fakes; a real one is brought to it in tests/broker/test_unknown_partition.py.
"""

from __future__ import annotations

import time
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


class Client:
    """Of a cluster where the group has committed something for the second partition alone."""

    def __init__(self, refusal: int | None) -> None:
        self._refusal = refusal
        self.polled = False
        self.asked: list[tuple[Any, ...]] = []

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.asked.append((timeout, *((each.topic, each.partition) for each in partitions)))
        return [TopicPartition(each.topic, each.partition, 0 if each.partition == 4 else -1001) for each in partitions]

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout == TIMEOUT_S
        if self._refusal is not None:
            raise KafkaException(KafkaError(self._refusal))
        return (3, 7)

    def poll(self, timeout_s: float) -> None:
        assert timeout_s == 0
        self.polled = True


class Clients:
    """The first client is refused the watermarks of a partition, and no later one."""

    def __init__(self, refusal: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._refusal = refusal
        self.opened: list[Client] = []
        monkeypatch.setattr(room, "open_client", self._open)
        self.scout = Scout(KafkaSettings(bootstrap_servers=NOWHERE))
        with pytest.raises(KafkaException):
            self.scout.explore([A, B], TIMEOUT_S)

    def _open(self, *_: Any) -> Client:
        self.opened.append(client := Client(None if self.opened else self._refusal))
        return client


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is long after the one before."""
    now_s = [time.monotonic()]

    def monotonic() -> float:
        now_s[0] += room._ANEW_AFTER_S
        return now_s[0]

    monkeypatch.setattr(room.time, "monotonic", monotonic)


@pytest.mark.usefixtures("later")
def test_a_client_that_does_not_know_a_partition_is_replaced_by_one_that_does(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    clients = Clients(KafkaError._UNKNOWN_PARTITION, monkeypatch)
    assert clients.scout.explore([A, B], TIMEOUT_S) == {A: Watermarks(3, 7)}, "of those of which nothing is committed"
    assert len(clients.opened) == 2
    assert [line["partition"] for line in logs if line["event"] == "kafka.partition_unknown"] == [3]


@pytest.mark.usefixtures("later")
def test_whatever_else_is_wrong_is_asked_again_of_the_same_client(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients(KafkaError._TIMED_OUT, monkeypatch)
    assert clients.opened[0].polled, "what it was told of an outage would gather"
    with pytest.raises(KafkaException):
        clients.scout.explore([A], TIMEOUT_S)
    assert len(clients.opened) == 1


def test_the_group_is_reached_by_a_question_about_its_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients(KafkaError._TIMED_OUT, monkeypatch)
    clients.scout.reach(2.0)
    assert clients.opened[0].asked == [(TIMEOUT_S, A, B), (2.0, ("images", 0))]


def test_a_client_that_is_new_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that the cluster itself does not know makes no client after the other."""
    assert len(Clients(KafkaError._UNKNOWN_PARTITION, monkeypatch).opened) == 1
