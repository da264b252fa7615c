"""How far a replay is, whoever works on it: the group's committed offsets, asked of the broker now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future

import structlog

from worker.errors import Fatal
from worker.kafka.groups import Committed, GroupLook
from worker.kafka.span import Mark, Span

log = structlog.get_logger(__name__)

_EVERY_S = 2.0


class Standing:
    """Refreshed by the Kafka thread, without waiting. `left` and `complete` may be read by any thread."""

    def __init__(self, look: GroupLook, topic: str, spans: Mapping[int, Span]) -> None:
        self._look = look
        self._topic = topic
        self._answer: Future[dict[int, Committed]] | None = None
        self._due_s = 0.0
        self.left = spans
        """What is still to be done, by partition."""
        self.complete = False

    def refresh(self) -> None:
        if self._answer is None and time.monotonic() >= self._due_s:
            self._answer = self._look.ask(self._topic, self.left)
        elif self._answer is not None and self._answer.done():
            self._hear(self._answer)
            self._answer = None
            self._due_s = time.monotonic() + _EVERY_S

    def hurry(self) -> None:
        """Ask as soon as may be: something came to its end."""
        self._due_s = 0.0

    def _hear(self, answer: Future[dict[int, Committed]]) -> None:
        try:
            committed = answer.result()
        except Fatal as error:
            log.warning("kafka.standing_unknown", error=str(error), next="ask again")
            return
        self.left = {number: _left(committed.get(number), span) for number, span in self.left.items()}
        begun = self.left.keys() <= committed.keys()
        self.complete = begun and not any(span.offsets for span in self.left.values())


def _left(committed: Committed | None, span: Span) -> Span:
    """What is left of a partition. Nobody has begun it where nothing is committed."""
    if committed is None:
        return span
    mark = Mark.decode(committed.metadata)
    return Span(committed.offset, mark.until if mark is not None else span.end)
