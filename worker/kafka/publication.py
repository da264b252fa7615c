"""The outcomes of a settlement, published by one producer outside of transactions: in order, each with its report.

Of each partition no more than one batch is under way. A broker that knows nothing of a producer yet takes any batch of
it: the second, where it refused the first (no leader yet, too few replicas), and the first after it.

Of a batch that is refused any record may be to blame (refusals.py), so they are sent again one at a time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Iterable

import structlog

from worker.kafka.deadletter import DeadLetters
from worker.kafka.ledger import Partition, Ticket
from worker.kafka.publisher import Publisher
from worker.kafka.refusals import Verdict, instead, never_published, verdict

log = structlog.get_logger(__name__)


class Publication:
    """Used by the Kafka thread alone."""

    def __init__(
        self, tickets: Iterable[Ticket], publisher: Publisher, dead_letters: DeadLetters, patience_s: float
    ) -> None:
        """`patience_s`: how long it may wait for reports of what it handed in last."""
        self._tickets = tuple(tickets)
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._patience_s = patience_s
        self._due_s = 0.0
        self._to_produce = deque(self._tickets)
        self._again: deque[Ticket] = deque()
        """Those of batches that were refused, in their order: sent one at a time."""
        self._alone: Ticket | None = None
        """The last one that was."""
        self._dropped: list[Ticket] = []
        """Those that librdkafka gave up: since this process stood still, or since the producer is over."""

    def published(self, owned: Callable[[], Container[Partition]], deadline_s: float) -> bool:
        """Whether every outcome that is ours is acknowledged, by the deadline at the latest.

        `owned` is asked before each time that some are handed in: those of other partitions are not, any more. Raises
        Fatal where one is refused for good, and KafkaException where the producer has failed.
        """
        while True:
            if not self._publisher.waiting:
                self._keep(owned())
                self._hand_in()
            reported = self._publisher.flush(deadline_s)
            self._look_at_refused()
            if not reported or self._dropped:
                return False
            if not self._again and not self._to_produce:
                return True

    def is_stale(self, owned: Container[Partition]) -> bool:
        """Whether the producer holds something for too long, or something that is not ours any more."""
        waiting = self._publisher.waiting
        overdue = bool(waiting) and time.monotonic() >= self._due_s
        return bool(self._dropped) or overdue or any(ticket.partition not in owned for ticket in waiting)

    def left(self) -> list[Ticket]:
        """Those without a report, in their order. To be asked before the producer is closed, which reports them all."""
        refused = (ticket for ticket, _ in self._publisher.take_refused())
        left = {*self._publisher.waiting, *refused, *self._dropped, *self._again, *self._to_produce}
        return [ticket for ticket in self._tickets if ticket in left]

    def _keep(self, owned: Container[Partition]) -> None:
        """Drop those of other partitions that are not handed in yet."""
        self._to_produce, self._again = (
            deque(ticket for ticket in some if ticket.partition in owned) for some in (self._to_produce, self._again)
        )

    def _hand_in(self) -> None:
        """As many as are one batch for a partition at most; or the next of those that were refused."""
        self._due_s = time.monotonic() + self._patience_s
        if self._again:
            self._alone = self._again.popleft()
            self._publisher.produce(self._alone)
            return
        self._alone = None
        while self._to_produce and not self._publisher.full:
            self._publisher.produce(self._to_produce.popleft())

    def _look_at_refused(self) -> None:
        """Put a dead letter in the place of an outcome that is refused for what it is; its neighbours are sent again.

        Fatal where the refusal is for good, or of a dead letter made here.
        """
        again: set[Ticket] = set()
        for ticket, error in self._publisher.take_refused():
            meaning = verdict(error)
            if meaning is Verdict.STOP:
                raise never_published(ticket, error)
            if meaning is Verdict.AGAIN:
                self._dropped.append(ticket)
                continue
            if ticket is self._alone:
                ticket.outcome = instead(ticket, error, self._dead_letters)
                log.warning("kafka.outcome_refused", record=str(ticket.record.coordinates), error=error.str())
            again.add(ticket)
        if again:
            # In their order: of several topics the reports come one topic after the other.
            again.update(self._again)
            self._again = deque(ticket for ticket in self._tickets if ticket in again)
