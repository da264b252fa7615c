"""How far a replay is, whoever works on it: the group's committed offsets, asked of the broker now and then."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import structlog

from worker.errors import Fatal
from worker.kafka.bounds import Bounds
from worker.kafka.groups import GroupLook
from worker.kafka.progress import Progress, Span

log = structlog.get_logger(__name__)

_EVERY_S = 2.0
_PATIENCE_S = 0.5
"""It takes a millisecond, and the thread has better to do than to wait for a broker that is away."""


class Standing:
    """Refreshed by the Kafka thread. Its public fields may be read by any thread."""

    def __init__(
        self,
        look: GroupLook,
        topic: str,
        spans: Mapping[int, Span],
        bounds: Bounds,
        numbers: Iterable[int] = (),
        *,
        ahead: int = 0,
    ) -> None:
        """`numbers`: the topic's other partitions, of which the group must have nothing that is not this replay's.

        `ahead`: how many offsets in the spans are done already.
        """
        self._look = look
        self._topic = topic
        self._bounds = bounds
        self._numbers = sorted({*spans, *numbers})
        self._due_s = 0.0
        self.left = spans
        """By partition, from what is committed to the end."""
        self.remaining = sum(map(length, spans.values())) - ahead
        """Offsets in them that are not done."""
        self.complete = False

    def refresh(self) -> bool:
        """Ask where it is time to. Whether there was an answer. Fatal where the group is another replay's, too."""
        if time.monotonic() < self._due_s:
            return False
        self._due_s = time.monotonic() + _EVERY_S
        try:
            committed = self._look.committed(self._topic, self._numbers, _PATIENCE_S)
        except Fatal as error:
            log.warning("kafka.standing_unknown", error=str(error), next="ask again")
            return False
        known = {number: self._bounds.known(position) for number, position in committed.items()}
        self.left = {number: left_of(known.get(number), span) for number, span in self.left.items()}
        self.remaining = sum(
            known[number].left_before(span[1]) if number in known else length(span)
            for number, span in self.left.items()
        )
        self.complete = self.left.keys() <= known.keys() and not any(map(length, self.left.values()))
        return True

    def hurry(self) -> None:
        """Ask next time: something came to its end."""
        self._due_s = 0.0


def left_of(known: Progress | None, span: Span) -> Span:
    """What is left of a partition. Where nothing is known, nobody has begun it."""
    return span if known is None else (known.base, span[1] if known.until is None else known.until)


def length(span: Span) -> int:
    """Offsets in a span; each holds one record at most."""
    return max(0, span[1] - span[0])
