"""The topics that a worker reads and writes, as its settings name them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from confluent_kafka.admin import AclOperation

from worker.errors import ConfigurationError, Fatal
from worker.kafka import topics
from worker.kafka.settings import KafkaSettings
from worker.kafka.topics import Finding, wanted_topics
from worker.settings import resolve


def test_the_topics_are_read_or_written() -> None:
    wanted = wanted_topics(resolve(None, [], {}).settings.kafka, {"block": "blocked"})
    read, write = AclOperation.READ, AclOperation.WRITE
    assert wanted == {"images": read, "classifications": write, "images-dead-letters": write, "blocked": write}


class Look:
    """What brokers say that are asked one after the other. The cluster is a fake."""

    def __init__(self, *missing: list[str]) -> None:
        self._missing = list(missing)
        self.asked = 0

    def __call__(self, settings: KafkaSettings) -> Look:
        self.asked += 1
        return self

    def missing(self, names: Iterable[str]) -> list[Finding]:
        return [Finding(f"topic {name}", "does not exist", "create it") for name in self._missing.pop(0)]

    def too_few_replicas(self, names: Iterable[str]) -> list[Finding]:
        return []


def test_a_topic_that_was_created_just_now_may_be_unknown_to_a_broker_still(monkeypatch: pytest.MonkeyPatch) -> None:
    look = Look(["images"], ["images"], [])
    monkeypatch.setattr(topics, "ClusterLook", look)
    monkeypatch.setattr(topics, "_AGAIN_S", 0.001)
    topics.require_topics(resolve(None, [], {}).settings.kafka, {})
    assert look.asked == 3


def test_one_that_is_not_there_for_a_while_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "ClusterLook", Look(["images"], ["images", "classifications"]))
    monkeypatch.setattr(topics, "_AGAIN_S", 0.02)
    monkeypatch.setattr(topics, "_KNOWN_S", 0.01)
    with pytest.raises(Fatal, match="topic images: does not exist: create it; topic classifications: does not exist"):
        topics.require_topics(resolve(None, [], {}).settings.kafka, {})


@pytest.mark.parametrize(
    ("flag", "actions", "key"),
    [
        ("kafka.topics.results=images", {}, "kafka.topics.results"),
        ("kafka.topics.dead_letters=images", {}, "kafka.topics.dead_letters"),
        ("kafka.topics.input=classifications", {}, "kafka.topics.results"),
        ("kafka.topics.input=blocked", {"block": "blocked"}, "policy.topics.block"),
    ],
)
def test_a_worker_that_would_feed_itself_is_refused(flag: str, actions: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{key}: .* is the topic of events"):
        wanted_topics(resolve(None, [flag], {}).settings.kafka, actions)
