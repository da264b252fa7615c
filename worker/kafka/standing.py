"""How far a replay is, whoever works on it: the group's committed offsets, asked of the broker now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog

from worker.errors import Fatal
from worker.kafka.groups import GroupLook
from worker.kafka.ledger import Position
from worker.kafka.progress import Span, parse

log = structlog.get_logger(__name__)

_EVERY_S = 2.0
_PATIENCE_S = 0.5
"""It takes a millisecond, and the thread has better to do than to wait for a broker that is away."""


class Standing:
    """Refreshed by the Kafka thread. `left` and `complete` may be read by any thread."""

    def __init__(self, look: GroupLook, topic: str, spans: Mapping[int, Span]) -> None:
        self._look = look
        self._topic = topic
        self._due_s = 0.0
        self.left = spans
        """By partition, from what is committed to the end."""
        self.complete = False

    def refresh(self) -> bool:
        """Ask where it is time to. Whether there was an answer."""
        if time.monotonic() < self._due_s:
            return False
        self._due_s = time.monotonic() + _EVERY_S
        try:
            committed = self._look.committed(self._topic, self.left, _PATIENCE_S)
        except Fatal as error:
            log.warning("kafka.standing_unknown", error=str(error), next="ask again")
            return False
        self.left = {number: left_of(committed.get(number), span) for number, span in self.left.items()}
        self.complete = self.left.keys() <= committed.keys() and not any(map(length, self.left.values()))
        return True

    def hurry(self) -> None:
        """Ask next time: something came to its end."""
        self._due_s = 0.0


def left_of(committed: Position | None, span: Span) -> Span:
    """What is left of a partition. Where nothing is committed, nobody has begun it."""
    if committed is None:
        return span
    until = parse(committed.offset, committed.metadata).until
    return (committed.offset, span[1] if until is None else until)


def length(span: Span) -> int:
    """Offsets in a span; each holds one record at most."""
    return max(0, span[1] - span[0])
