"""Exactly-once without a broker: offsets that are refused, and when another transaction follows an aborted one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError
from structlog.typing import EventDict

from tests.unit.kafka.coordinator import Trouble
from tests.unit.kafka.once import PARTITIONS
from tests.unit.kafka.scene import Scene, a_scene
from worker.errors import Fatal
from worker.kafka.refused_offsets import RefusedOffsets
from worker.kafka.settings import KafkaSettings
from worker.kafka.transactions import Phase

A = PARTITIONS[0]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with a_scene() as scene:
        yield scene


def test_a_generation_that_was_refused_is_not_tried_again_until_the_next_one_comes(scene: Scene) -> None:
    scene.come(0, 1)
    scene.cluster.generation = object()
    assert not scene.goes_on_after()
    assert scene.phase is Phase.ABORTING
    for _ in range(3):
        assert not scene.goes_on_after(19.0)
    assert scene.phase is Phase.READY
    assert scene.cluster.open is None, "a transaction was begun for nothing"
    scene.hear_of_it()
    assert scene.goes_on_after(60.0)


@pytest.mark.parametrize(
    ("protocol", "session_ms", "after_s", "hint"),
    [
        ("consumer", 60_000, 60, "brokers before 4.3 do so with kafka.group_protocol consumer: set it to classic"),
        (
            "classic",
            15_000,
            60,
            "members that died or do not poll may hold it up: look at the group's others, and .*",
        ),
        ("classic", 63_000, 180, "members that died or do not poll may hold it up: .*"),
    ],
)
def test_a_generation_that_is_refused_for_long_with_no_rebalance_ends_the_worker(
    scene: Scene, protocol: str, session_ms: int, after_s: int, hint: str
) -> None:
    properties = {"session.timeout.ms": session_ms, "heartbeat.interval.ms": 3000}
    given = {"group_protocol": protocol, "consumer_properties": properties if protocol == "classic" else {}}
    scene.sink._refused = RefusedOffsets(KafkaSettings.model_validate(given))
    scene.come(0, 1)
    scene.cluster.generation = object()
    for seconds in (0.0, 0.0, after_s - 0.1):
        assert not scene.goes_on_after(seconds)
    said = f"^Kafka has refused this member's offsets for {after_s} s and no rebalance came: {hint}; nothing was lost$"
    with pytest.raises(Fatal, match=said):
        scene.goes_on_after(0.1)


def test_an_outage_that_begins_in_the_middle_of_a_rebalance_is_waited_out(scene: Scene) -> None:
    scene.come(0, 1)
    scene.cluster.generation = object()
    assert not scene.goes_on_after()
    for _ in range(7):
        scene.happens("abort", Trouble.NOT_DONE).happens("init", Trouble.NOT_DONE)
        assert not scene.goes_on_after(10.0), "no broker answers, and no rebalance can be heard of"
    assert not scene.goes_on_after()
    scene.hear_of_it()
    assert scene.goes_on_after()


def test_to_a_coordinator_that_says_nothing_offsets_are_sent_again_when_it_answers(scene: Scene) -> None:
    scene.come(0, 1).happens("offsets", Trouble.SILENT)
    assert not scene.goes_on_after()
    assert not scene.goes_on_after(5.0), "a new producer"
    producers = scene.sink._transactions.publisher
    for _ in range(3):
        assert not scene.happens("ask", Trouble.NOT_DONE).goes_on_after(5.0)
        assert scene.phase is Phase.READY
    assert scene.goes_on_after(5.0)
    assert scene.sink._transactions.publisher is producers


def test_a_refusal_that_was_got_over_is_forgotten(scene: Scene) -> None:
    scene.come(0, 1)
    current, scene.cluster.generation = scene.cluster.generation, object()
    assert not scene.goes_on_after()
    scene.cluster.generation = scene.group.membership = object()
    assert scene.goes_on_after()
    scene.cluster.generation = scene.group.membership = current
    assert scene.come(0, 1).goes_on_after(100.0)


@pytest.mark.parametrize("patience_s", [0.0, 1.0])
def test_offsets_that_are_refused_for_good_end_the_worker_at_once_and_what_was_begun_is_aborted(
    scene: Scene, patience_s: float
) -> None:
    scene.happens("offsets", Trouble.FOR_GOOD).come(0, 1)
    with pytest.raises(Fatal, match=r"OFFSET_METADATA_TOO_LARGE.*raise the brokers' offset.metadata.max.bytes to 4096"):
        scene.goes_on_after(patience_s=patience_s)
    scene.sink.close()
    assert scene.cluster.open is None


def test_offsets_of_a_partition_that_the_coordinator_does_not_know_for_long_end_the_worker(scene: Scene) -> None:
    scene.come(0, 1)
    for seconds in (0.0, 10.0, 9.9):
        assert not scene.happens("offsets", Trouble.UNKNOWN).goes_on_after(seconds)
    scene.happens("offsets", Trouble.UNKNOWN)
    with pytest.raises(Fatal, match=r"UNKNOWN_TOPIC_OR_PART.*the input topic was deleted: create it again"):
        scene.goes_on_after(0.1)


def test_a_partition_that_the_coordinator_knows_a_moment_later_ends_nothing(scene: Scene) -> None:
    scene.come(0, 1)
    assert not scene.happens("offsets", Trouble.UNKNOWN).goes_on_after()
    assert scene.goes_on_after(1.0)
    scene.come(0, 1)
    for trouble in (Trouble.UNKNOWN, Trouble.UNKNOWN, Trouble.REFUSED, Trouble.UNKNOWN, Trouble.UNKNOWN):
        assert not scene.happens("offsets", trouble).goes_on_after(9.0)
    assert scene.goes_on_after(1.0)


def test_what_one_settlement_was_refused_does_not_count_against_the_next(scene: Scene) -> None:
    """The first was given up with its partition, in a rebalance."""
    scene.come(0, 1)
    for seconds in (0.0, 10.0):
        assert not scene.happens("offsets", Trouble.UNKNOWN).goes_on_after(seconds)
    scene.take_away(second=False, heard=True, works=False, seconds=0.0)
    assert scene.goes_on_after(1.0)
    scene.come(1, 1)
    for seconds in (5.0, 10.0, 9.0):
        assert not scene.happens("offsets", Trouble.UNKNOWN).goes_on_after(seconds)
    assert scene.goes_on_after(1.0)


@pytest.mark.parametrize("call", ["flush", "offsets"])
def test_transactions_that_are_aborted_again_and_again_are_begun_twice_a_second_at_most(
    scene: Scene, logs: list[EventDict], call: str
) -> None:
    scene.come(0, 1)
    for _ in range(1000):
        assert not scene.happens(call, Trouble.REFUSED).goes_on_after(0.01, patience_s=1.0)
    aborted = [line for line in logs if line["event"] == "kafka.transaction_aborted"]
    assert 15 <= len(aborted) <= 21, "in ten seconds"
    scene.cluster.troubles.clear()
    assert scene.goes_on_after(1.0)


def test_where_outcomes_are_to_blame_the_next_transaction_follows_at_once(scene: Scene) -> None:
    scene.cluster.blames = {(A, each): KafkaError.INVALID_RECORD for each in range(4)}
    scene.come(0, 4).come(1, 1)
    assert scene.goes_on_after(patience_s=1.0)
