"""The topics that a worker reads and writes, as its settings name them."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AclOperation

from worker.errors import ConfigurationError
from worker.kafka.topics import wanted_topics
from worker.settings import resolve


def test_the_topics_are_read_or_written() -> None:
    wanted = wanted_topics(resolve(None, [], {}).settings.kafka, {"block": "blocked"})
    read, write = AclOperation.READ, AclOperation.WRITE
    assert wanted == {"images": read, "classifications": write, "images-dead-letters": write, "blocked": write}


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
