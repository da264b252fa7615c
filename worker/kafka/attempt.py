"""The outcomes of one transaction: handed in, in order, and what the broker says of them.

Of a batch that is refused any record may be to blame (refusals.py). Then the transaction is aborted, and in the next
one each of them is sent alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

import structlog
from confluent_kafka import KafkaError

from worker.kafka.deadletter import DeadLetters
from worker.kafka.ledger import Partition, Ticket
from worker.kafka.refusals import Verdict, instead, never_published, verdict
from worker.kafka.transactions import Aborted, Transactions

log = structlog.get_logger(__name__)


class Attempt:
    """Used by the Kafka thread alone."""

    def __init__(
        self,
        tickets: Iterable[Ticket],
        partitions: Collection[Partition],
        suspects: set[Ticket],
        dead_letters: DeadLetters,
    ) -> None:
        """`suspects`: those of earlier attempts that were refused together with others; kept up to date."""
        self.partitions = frozenset(partitions)
        """Those whose outcomes it holds."""
        self._to_produce = deque(ticket for ticket in tickets if ticket.partition in partitions)
        self._suspects = suspects
        self._dead_letters = dead_letters
        self._alone: Ticket | None = None
        """The suspect that was sent last, while nothing was sent after it."""

    def published(self, transactions: Transactions, deadline_s: float) -> bool:
        """Whether every outcome is acknowledged, by the deadline at the latest. Raises Aborted where one is refused."""
        while self._to_produce:
            suspected = self._to_produce[0] in self._suspects
            if (suspected or self._alone is not None) and not self._acknowledged(transactions, deadline_s):
                return False
            ticket = self._to_produce.popleft()
            transactions.publisher.produce(ticket)
            self._alone = ticket if suspected else None
        return self._acknowledged(transactions, deadline_s)

    def _acknowledged(self, transactions: Transactions, deadline_s: float) -> bool:
        reported = transactions.flush(deadline_s)
        refused = transactions.publisher.take_refused()
        for ticket, error in refused:
            self._look_at(ticket, error)
        if refused:
            blamed = any(verdict(error) is Verdict.BLAME for _, error in refused)
            raise Aborted(f"an outcome was refused: {refused[0][1].str()}", at_once=blamed)
        if reported and self._alone is not None:
            self._suspects.discard(self._alone)
            self._alone = None
        return reported

    def _look_at(self, ticket: Ticket, error: KafkaError) -> None:
        """Put a dead letter in the place of an outcome that is refused for what it is; its neighbours go again.

        Fatal where the refusal is for good, or of a dead letter made here.
        """
        meaning = verdict(error)
        if meaning is Verdict.AGAIN:
            return
        if meaning is Verdict.STOP:
            raise never_published(ticket, error)
        if ticket is not self._alone:
            self._suspects.add(ticket)
            return
        ticket.outcome = instead(ticket, error, self._dead_letters)
        self._suspects.discard(ticket)
        log.warning("kafka.outcome_refused", record=str(ticket.record.coordinates), error=error.str())
