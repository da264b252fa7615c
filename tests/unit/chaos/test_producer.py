"""The producer counts what each topic was given, and says where it died."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock

from confluent_kafka import KafkaError

from tests.chaos.producer import SteadyProducer


def producer(hosts: Any) -> SteadyProducer:
    return SteadyProducer("127.0.0.1:1", ["one", "two"], hosts, 1000.0)


def test_each_topic_has_its_own_count_of_what_was_acknowledged() -> None:
    told = producer(Mock())
    for topic, error in (("one", None), ("two", None), ("two", None), ("two", KafkaError(KafkaError._MSG_TIMED_OUT))):
        told._reported(error, Mock(**{"topic.return_value": topic}))
    assert told.acknowledged == {"one": 1, "two": 2}
    assert len(told.refused) == 1


def test_one_that_dies_before_it_is_stopped_says_so() -> None:
    told = producer(Mock(**{"missing.side_effect": KeyError("host")}))
    told.start()
    deadline_s = time.monotonic() + 10
    while not told.refused:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert told.stop(0)
    assert told.refused == ["the producer died: KeyError('host')"]
