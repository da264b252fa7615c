"""Settlement: publish a group of outcomes, and commit their offsets. A sink is one delivery guarantee.

At-least-once is here, exactly-once in exactly_once.py: the same contract, and the same tests over both.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import structlog
from confluent_kafka import Producer

from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.deadletter import DeadLetters
from worker.kafka.ledger import Partition, Position, Settlement, Ticket
from worker.kafka.properties import producer_properties
from worker.kafka.publisher import Publisher
from worker.kafka.refusals import instead, is_for_what_it_is, never_published
from worker.kafka.settings import KafkaSettings

log = structlog.get_logger(__name__)

_LEAST_COMMIT_S = 0.05
"""A commit is given this long at least, when publishing took the time of a settlement's step."""


class Group(Protocol):
    """What a sink needs of the source: the consumer group, as its member sees it."""

    @property
    def membership(self) -> Any:
        """The member's generation as of the last rebalance that this process took part in; None while it has none."""
        ...

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool: ...

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, Position]: ...


Positions = Callable[[Settlement], Mapping[Partition, Position]]
"""What may be committed of a settlement, asked at the last moment: less than all of it after a rebalance."""


class Sink(Protocol):
    """A delivery guarantee. Used by the Kafka thread alone."""

    def open(self, timeout_s: float) -> bool:
        """Make ready to publish. False where the broker did not answer in time: call it again."""
        ...

    def settle(self, settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
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
        self._publisher = Publisher(open_client(Producer, producer_properties(settings), ClientErrors("producer")))
        self._settlement: Settlement | None = None
        self._again: deque[Ticket] = deque()
        """Those of batches that were refused, in their order: sent one at a time."""
        self._alone: Ticket | None = None
        """The last one that was."""

    def open(self, timeout_s: float) -> bool:
        return True

    def settle(self, settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
        if settlement is not self._settlement:
            self._settlement = settlement
            self._alone = None
            for ticket in settlement.tickets:
                self._publisher.produce(ticket)
        deadline_s = time.monotonic() + timeout_s
        if not self._published(deadline_s):
            return False
        return group.commit(positions(settlement), max(_LEAST_COMMIT_S, deadline_s - time.monotonic()))

    def close(self) -> None:
        self._publisher.close()

    def _published(self, deadline_s: float) -> bool:
        """Whether every outcome is acknowledged, by the deadline at the latest."""
        while True:
            reported = self._publisher.flush(deadline_s)
            self._look_at_refused()
            if not reported:
                return False
            if not self._again:
                return True
            self._alone = self._again.popleft()
            self._publisher.produce(self._alone)

    def _look_at_refused(self) -> None:
        """Put a dead letter in the place of an outcome that is refused for what it is; its neighbours are sent again.

        Any other refusal is fatal, and so is that of a dead letter made here.
        """
        for ticket, error in self._publisher.take_refused():
            if not is_for_what_it_is(error):
                raise never_published(ticket, error)
            if ticket is not self._alone:
                self._again.append(ticket)
                continue
            ticket.outcome = instead(ticket, error, self._dead_letters)
            log.warning("kafka.outcome_refused", record=str(ticket.record.coordinates), error=error.str())
            self._again.appendleft(ticket)
