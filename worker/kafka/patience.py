"""A question asked again and again, while who has to answer it is being chosen, or moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

T = TypeVar("T")

_AGAIN_S = 0.1
_MOVING = {
    # The group's coordinator.
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    # The partition's leader.
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._NOENT,  # librdkafka's, where none of the partitions has one
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}


def patiently(call: Callable[[], T], timeout_s: float) -> T:
    """What the call returns in the end. Raises its KafkaException where it is refused, or time ran out."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return call()
        except KafkaException as error:
            if error.args[0].code() not in _MOVING or time.monotonic() >= deadline_s:
                raise
            time.sleep(_AGAIN_S)
