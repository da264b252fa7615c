"""When the cluster is asked for the replicas of our topics, and what is made of its answers, which are put in by hand.

tests/broker/test_replicas.py and test_brokers.py have real ones.
"""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Node, TopicCollection, TopicPartitionInfo, Uuid
from confluent_kafka.admin._topic import TopicDescription
from structlog.typing import EventDict

from worker.kafka import replicas as room
from worker.kafka.replicas import Replicas

A, B = ("images", 0), ("images", 1)
ONE, TWO, THREE = (Node(number, "host", 9092) for number in (1, 2, 3))


def led(number: int, leader: Node | None = ONE, in_sync: int = 3) -> TopicPartitionInfo:
    nodes: Any = leader
    return TopicPartitionInfo(number, nodes, [ONE, TWO, THREE], [ONE, TWO, THREE][:in_sync])


class Asked:
    """An admin client and a clock. Answers are given when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.questions: list[dict[str, Future[TopicDescription]]] = []
        monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        admin: Any = self
        self.replicas = Replicas(admin, "images", every_s=30.0)

    def describe_topics(self, topics: TopicCollection, request_timeout: float) -> dict[str, Future[TopicDescription]]:
        self.questions.append({topic: Future() for topic in topics.topic_names})
        return self.questions[-1]

    def answer(self, **topics: list[TopicPartitionInfo] | int) -> None:
        """With partitions, or with an error; all that is not told is well."""
        for topic, future in self.questions[-1].items():
            told = topics.get(topic, [led(0), led(1)])
            if isinstance(told, int):
                future.set_exception(KafkaException(KafkaError(told)))
            else:
                future.set_result(TopicDescription(topic, Uuid(1, 1), False, told))

    def look(self, seconds: float = 0.0, *outcomes: str) -> None:
        self.now_s += seconds
        self.replicas.look(outcomes)

    def failing(self, partition: tuple[str, int] = A) -> tuple[float, str]:
        return self.replicas.failing(partition, self.now_s)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_where_all_is_well_it_is_asked_for_the_events_alone_and_now_and_then(asked: Asked) -> None:
    asked.look()
    asked.look(100.0)
    assert [list(question) for question in asked.questions] == [["images"]], "one question at a time"
    asked.answer()
    for seconds, count in ((0.0, 2), (29.9, 2), (0.0, 2)):
        asked.look(seconds)
        assert len(asked.questions) == count
    asked.answer()
    asked.look()
    asked.look(0.1)
    assert len(asked.questions) == 3
    assert asked.failing() == asked.failing(B) == (0.0, "")


def test_a_partition_without_a_leader_fails_from_when_that_was_heard_until_it_has_one(asked: Asked) -> None:
    asked.look()
    asked.answer(images=[led(0), led(1, None)])
    asked.look(5.0)
    asked.look(1.0)
    assert len(asked.questions) == 2, "asked again each second"
    assert (asked.failing(), asked.failing(B)) == ((0.0, ""), (1.0, "it has no leader"))
    asked.answer(images=[led(0), led(1, Node(-1, "", -1))])
    asked.look(1.0)
    assert asked.failing(B) == (2.0, "it has no leader")
    asked.look(1.0)
    asked.answer()
    asked.look()
    assert asked.failing(B) == (0.0, "")


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN])
def test_where_no_broker_answers_no_partition_can_be_fetched_until_one_does(asked: Asked, code: int) -> None:
    asked.look()
    asked.answer(images=code)
    asked.look(100.0)
    assert asked.failing() == (0.0, "no broker answers"), "since it was heard: it is this process that stood still"
    for _ in range(3):
        asked.look(1.0)
        asked.answer(images=code)
        asked.look()
    assert asked.failing() == asked.failing(B) == (3.0, "no broker answers")
    asked.look(1.0)
    asked.answer()
    asked.look()
    assert asked.failing() == (0.0, "")


def test_a_partition_that_still_has_no_leader_when_brokers_answer_again_fails_since_they_did_not(asked: Asked) -> None:
    asked.look()
    asked.answer(images=KafkaError._TIMED_OUT)
    asked.look()
    asked.look(400.0)
    asked.answer(images=[led(0), led(1, None)])
    asked.look()
    assert (asked.failing(), asked.failing(B)) == ((0.0, ""), (400.0, "it has no leader"))
    asked.look(1.0)
    asked.answer(images=KafkaError._TIMED_OUT)
    asked.look(1.0)
    assert asked.failing(B) == (402.0, "it has no leader"), "an answer that is lost does not end it"


def test_where_records_come_a_broker_answers(asked: Asked) -> None:
    asked.look()
    asked.answer(images=KafkaError._TIMED_OUT)
    asked.look()
    asked.now_s += 10.0
    assert asked.failing() == (10.0, "no broker answers")
    asked.replicas.heard()
    assert asked.failing() == (0.0, "")


def test_where_the_cluster_does_not_tell_nothing_is_known_to_be_wrong(asked: Asked) -> None:
    asked.look()
    asked.answer(images=KafkaError.TOPIC_AUTHORIZATION_FAILED)
    asked.look(1.0)
    assert asked.failing() == (0.0, "")


def test_while_outcomes_wait_it_is_said_once_which_of_their_partitions_lack_replicas(
    asked: Asked, logs: list[EventDict]
) -> None:
    lacking = [led(number, in_sync=1) for number in range(4)]
    asked.look()
    asked.answer()
    asked.look(0.0, "results", "dead")
    for _ in range(3):
        asked.look(1.0, "results", "dead")
        asked.answer(results=[led(0), led(1, None)], dead=lacking)
        asked.look(0.0, "results", "dead")
    dead = tuple(f"dead[{number}] has 1 of 3 replicas in sync" for number in range(3))
    assert asked.replicas.short == (*dead, "2 more partitions lack replicas")
    assert [line["event"] for line in logs] == ["kafka.replicas_missing"]
    asked.look(1.0, "results", "dead")
    asked.answer(results=[led(0), led(1, None)])
    asked.look(0.0, "results", "dead")
    assert asked.replicas.short == ("results[1] has no leader",)
    asked.look()
    assert asked.replicas.short == (), "they do not wait any more"


def test_events_that_lack_replicas_and_can_be_read_are_well(asked: Asked) -> None:
    asked.look()
    asked.answer(images=[led(0, in_sync=1)])
    asked.look()
    assert asked.failing() == (0.0, "")
    assert asked.replicas.short == ()
