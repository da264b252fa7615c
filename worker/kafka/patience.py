"""A question asked again and again, while who has to answer it is away, is being chosen, or moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException

T = TypeVar("T")

log = structlog.get_logger(__name__)

AT_A_TERMINAL_S = 10.0
"""For whoever looks on: a mistake is to be told of soon."""
UNATTENDED_S = 60.0
"""For what has work to do when there is an answer: all brokers may be restarted meanwhile."""

_AGAIN_S = 0.1
_SILENCE_S = 2.0
_PASSING = {
    # On the way to it.
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.REQUEST_TIMED_OUT,
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
    begun_s, said = time.monotonic(), False
    while True:
        try:
            return call()
        except KafkaException as error:
            waited_s = time.monotonic() - begun_s
            if error.args[0].code() not in _PASSING or waited_s >= timeout_s:
                raise
            if waited_s >= _SILENCE_S and not said:
                said, what_next = True, f"ask again for up to {timeout_s:.0f} s"
                log.warning("kafka.asks_again", error=error.args[0].str(), next=what_next)
            time.sleep(_AGAIN_S)
