"""How long a member may stand still: what the group's patience is, and librdkafka's with it."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from worker.kafka.properties import (
    asking_properties,
    consumer_properties,
    patience_s,
    transactional_properties,
    untransacted_properties,
)
from worker.kafka.settings import KafkaSettings


@pytest.mark.parametrize(
    ("protocol", "properties", "seconds"),
    [
        ("classic", {}, 42),
        ("consumer", {}, 40),
        ("classic", {"session.timeout.ms": 6000}, 3),
        ("classic", {"session.timeout.ms": 10_000, "heartbeat.interval.ms": 1000}, 9),
        ("consumer", {"max.poll.interval.ms": 7000}, 7),
    ],
)
def test_patience_is_the_session_less_a_heartbeat_or_a_shorter_poll_interval(
    protocol: str, properties: dict[str, int], seconds: float
) -> None:
    settings = KafkaSettings(group_protocol=protocol, consumer_properties=properties)
    assert patience_s(settings) == seconds


def test_what_holds_for_all_clients_holds_for_the_session_too() -> None:
    assert patience_s(KafkaSettings(properties={"session.timeout.ms": 9000})) == 6


def test_librdkafka_drops_what_is_older_than_the_groups_patience_but_not_within_a_transaction() -> None:
    settings = KafkaSettings(consumer_properties={"session.timeout.ms": 6000})
    assert untransacted_properties(settings)["message.timeout.ms"] == 3000
    assert transactional_properties(settings, "id")["message.timeout.ms"] == 0


def test_a_transaction_finds_out_within_half_a_minute_that_its_topic_is_gone() -> None:
    assert transactional_properties(KafkaSettings(), "id")["topic.metadata.refresh.interval.ms"] == 30_000


def test_who_only_asks_for_offsets_has_the_rights_of_a_member_and_none_of_its_times() -> None:
    times = {"max.poll.interval.ms": 3000, "session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
    asking = asking_properties(KafkaSettings(properties=times, consumer_properties={"sasl.username": "me", **times}))
    assert asking["sasl.username"] == "me"
    assert not asking.keys() & times.keys()
    assert asking["isolation.level"] == "read_committed", "what a transaction may still change is waited for"


def test_outcomes_are_handed_in_without_a_wait_however_long_an_outage_lasts() -> None:
    properties = transactional_properties(KafkaSettings(), "id")
    assert properties["queue.buffering.max.messages"] == 0, "as many as there are"
    Producer({**properties, "bootstrap.servers": "127.0.0.1:1"})
    for name in ("queue.buffering.max.messages", "queue.buffering.max.kbytes"):
        with pytest.raises(ValueError, match=f"{name}' may not be set here: write kafka.max_in_flight"):
            KafkaSettings(producer_properties={name: 1})


@pytest.mark.parametrize("value", [True, False])
def test_checksums_are_compared_whatever_an_operator_says(value: bool) -> None:
    assert consumer_properties(KafkaSettings())["check.crcs"] is True
    with pytest.raises(ValueError, match=r"check\.crcs' may not be set here: leave it out"):
        KafkaSettings(consumer_properties={"check.crcs": value})
