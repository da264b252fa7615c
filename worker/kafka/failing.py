"""Partitions whose fetches fail, as where a batch of records is damaged: the ledger has nothing of them to be stuck."""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import Message

from worker.kafka.ledger import Partition

_GOES_ON_S = 60.0
"""A fetch that fails for good is said to again and again: what was not said for so long has passed."""


class Failing:
    """Used by the Kafka thread alone."""

    def __init__(self) -> None:
        self._since_s: dict[Partition, tuple[float, float]] = {}
        """When (monotonic) an error was said first, and last."""

    def note(self, error: Message) -> None:
        """Note an error that a poll brought, where it is of one partition."""
        topic, number = error.topic(), error.partition()
        if topic is not None and number is not None and number >= 0:
            now_s = time.monotonic()
            since_s = now_s - self.seconds((topic, number), now_s)
            self._since_s[topic, number] = (since_s, now_s)

    def lasts(self, partitions: Iterable[Partition]) -> None:
        """What was said of these holds, though nothing more is said of it."""
        for partition in partitions:
            now_s = time.monotonic()
            self._since_s[partition] = (now_s - self.seconds(partition, now_s), now_s)

    def clear(self, record: Message) -> None:
        """A record came of its partition."""
        if self._since_s:
            self._since_s.pop((record.topic() or "", record.partition() or 0), None)

    def seconds(self, partition: Partition, now_s: float) -> float:
        """For how long it has failed; 0 where it does not."""
        since_s, last_s = self._since_s.get(partition, (now_s, now_s))
        return now_s - since_s if now_s - last_s < _GOES_ON_S else 0.0


def place(message: Message) -> str | None:
    """Where in the topic an error is, for the operator; None where it is of no partition."""
    topic, number, offset = message.topic(), message.partition(), message.offset()
    if topic is None or number is None or number < 0:
        return None
    return f"{topic}[{number}]" + (f"@{offset}" if offset is not None and offset >= 0 else "")
