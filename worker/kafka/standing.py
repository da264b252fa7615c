"""How far a replay is, whoever works on it: the group's committed offsets, asked of the broker now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future

import structlog
from confluent_kafka import ConsumerGroupTopicPartitions

from worker.errors import Fatal
from worker.kafka.groups import GroupLook
from worker.kafka.ledger import Position
from worker.kafka.progress import Span, parse

log = structlog.get_logger(__name__)

_EVERY_S = 2.0


class Standing:
    """Refreshed by the Kafka thread, without waiting. `left` and `complete` may be read by any thread."""

    def __init__(self, look: GroupLook, topic: str, spans: Mapping[int, Span]) -> None:
        self._look = look
        self._topic = topic
        self._answer: Future[ConsumerGroupTopicPartitions] | None = None
        self._due_s = 0.0
        self.left = spans
        """By partition, from what is committed to the end."""
        self.complete = False

    def refresh(self) -> None:
        """Ask where it is time to, and take the answer where it is there."""
        if self._answer is None:
            if time.monotonic() >= self._due_s:
                self._answer = self._look.ask(self._topic, self.left)
        elif self._answer.done():
            self._hear(self._answer)
            self._answer = None
            self._due_s = time.monotonic() + _EVERY_S

    def hurry(self) -> None:
        """Ask at once: something came to its end."""
        self._due_s = 0.0

    def _hear(self, answer: Future[ConsumerGroupTopicPartitions]) -> None:
        try:
            committed = self._look.told(answer)
        except Fatal as error:
            log.warning("kafka.standing_unknown", error=str(error), next="ask again")
            return
        self.left = {number: left_of(committed.get(number), span) for number, span in self.left.items()}
        self.complete = self.left.keys() <= committed.keys() and not any(map(length, self.left.values()))


def left_of(committed: Position | None, span: Span) -> Span:
    """What is left of a partition. Where nothing is committed, nobody has begun it."""
    if committed is None:
        return span
    until = parse(committed.offset, committed.metadata).until
    return (committed.offset, span[1] if until is None else until)


def length(span: Span) -> int:
    """Offsets in a span; each holds one record at most."""
    return max(0, span[1] - span[0])
