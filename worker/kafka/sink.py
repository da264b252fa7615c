"""Settlement: publish a group of outcomes, and commit their offsets. The only user of the Producer.

A sink is one delivery guarantee. At-least-once is here; exactly-once is one more class with the same contract.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from worker.errors import Fatal, Reason
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.deadletter import DeadLetters
from worker.kafka.ledger import Partition, Position, Settlement, Ticket
from worker.kafka.properties import producer_properties
from worker.kafka.settings import KafkaSettings
from worker.records import Outcome, OutgoingRecord

log = structlog.get_logger(__name__)

_LEAST_COMMIT_S = 0.05
"""A commit is given this long at least, when publishing took the time of a settlement's step."""

_HINTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "ask for WRITE on the topic",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "ask for IDEMPOTENT_WRITE on the cluster",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create the topic",
    KafkaError._UNKNOWN_TOPIC: "create the topic",
    KafkaError._UNKNOWN_PARTITION: "create the topic",
    KafkaError.INVALID_RECORD: "a compacted topic needs a key in every event",
}


_THE_RECORDS_FAULT = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP}
"""Refusals of a record for what it is. Its whole batch is refused with it, and librdkafka blames every record, or,
where several are to blame, the others with _INVALID_DIFFERENT_RECORD. Only of one that was sent alone it is certain."""

_OUR_REASONS = {Reason.OUTCOME_TOO_LARGE, Reason.OUTCOME_REFUSED}


class Commits(Protocol):
    """What a sink needs of the source."""

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool: ...


Positions = Callable[[Settlement], Mapping[Partition, Position]]
"""What may be committed of a settlement, asked at the last moment: less than all of it after a rebalance."""


class Sink(Protocol):
    """A delivery guarantee. Used by the Kafka thread alone."""

    def settle(self, settlement: Settlement, positions: Positions, source: Commits, timeout_s: float) -> bool:
        """Publish the settlement's outcomes in order and commit the offsets that are still ours.

        True when all of it is done. False when time ran out or the broker asked to try again: call it with the same
        settlement after a poll, and it goes on where it was. Raises Fatal where it can never be done.
        """
        ...

    def close(self) -> None:
        """Let go of the broker. What is not published by then is not published."""
        ...


class AtLeastOnceSink:
    """Produce, await every delivery report, commit. A crash before the commit repeats outcomes, with the same ids."""

    def __init__(self, settings: KafkaSettings, dead_letters: DeadLetters) -> None:
        self._dead_letters = dead_letters
        self._producer = open_client(Producer, producer_properties(settings), ClientErrors("producer"))
        self._settlement: Settlement | None = None
        self._unreported = 0
        self._refused: list[tuple[Ticket, KafkaError]] = []
        self._again: deque[Ticket] = deque()
        """Those of batches that were refused, in their order: sent one at a time."""
        self._alone: Ticket | None = None
        """The last one that was."""

    def settle(self, settlement: Settlement, positions: Positions, source: Commits, timeout_s: float) -> bool:
        if settlement is not self._settlement:
            self._settlement = settlement
            self._alone = None
            for ticket in settlement.tickets:
                self._produce(ticket)
        deadline_s = time.monotonic() + timeout_s
        if not self._published(deadline_s):
            return False
        return source.commit(positions(settlement), max(_LEAST_COMMIT_S, deadline_s - time.monotonic()))

    def close(self) -> None:
        self._producer.purge()
        self._producer.flush(1.0)

    def _published(self, deadline_s: float) -> bool:
        """Whether every outcome is acknowledged, by the deadline at the latest."""
        while self._unreported or self._refused or self._again:
            self._producer.flush(max(0.0, deadline_s - time.monotonic()))
            self._look_at_refused()
            if self._again and not self._unreported:
                self._alone = self._again.popleft()
                self._produce(self._alone)
            elif self._unreported and time.monotonic() >= deadline_s:
                return False
        return True

    def _produce(self, ticket: Ticket) -> None:
        assert ticket.outcome is not None
        record = ticket.outcome.record
        self._unreported += 1
        try:
            self._enqueue(record, partial(self._reported, ticket))
        except KafkaException as error:
            self._unreported -= 1
            self._refused.append((ticket, error.args[0]))

    def _enqueue(self, record: OutgoingRecord, report: Callable[[KafkaError | None, Message], None]) -> None:
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    timestamp=record.timestamp_ms or 0,
                    on_delivery=report,
                )
            except BufferError:
                # The queue is full only while the broker is away; what is in flight is bounded, so this ends.
                self._producer.poll(0.1)
            else:
                return

    def _reported(self, ticket: Ticket, error: KafkaError | None, _message: Message) -> None:
        # A delivery report runs inside flush and must not raise: what failed is kept for settle to look at.
        self._unreported -= 1
        if error is not None:
            self._refused.append((ticket, error))

    def _look_at_refused(self) -> None:
        """Put a dead letter in the place of an outcome that is refused for what it is; its neighbours are sent again.

        Any other refusal is fatal, and so is that of a dead letter made here.
        """
        refused, self._refused = self._refused, []
        for ticket, error in refused:
            assert ticket.outcome is not None
            if error.code() not in {*_THE_RECORDS_FAULT, KafkaError._INVALID_DIFFERENT_RECORD}:
                raise _never_published(ticket.outcome.record, error)
            if ticket is not self._alone:
                self._again.append(ticket)
                continue
            if ticket.outcome.reason in _OUR_REASONS:
                raise _never_published(ticket.outcome.record, error)
            log.warning("kafka.outcome_refused", record=str(ticket.record.coordinates), error=error.str())
            ticket.outcome = self._instead(ticket, error)
            self._again.appendleft(ticket)

    def _instead(self, ticket: Ticket, error: KafkaError) -> Outcome:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return self._dead_letters.without_value(ticket.record)
        assert ticket.outcome is not None
        hint = _HINTS.get(error.code(), "see the topic's message.timestamp settings")
        topic = ticket.outcome.record.topic
        return self._dead_letters.without_timestamp(ticket.record, f"topic {topic}: {error.str()}: {hint}")


def _never_published(record: OutgoingRecord, error: KafkaError) -> Fatal:
    hint = _HINTS.get(error.code(), "see the broker's log")
    return Fatal(
        f"Kafka refused a record for topic {record.topic!r}: {error.str()} ({error.name()}): {hint}; "
        "its event is not committed and will be done again"
    )
