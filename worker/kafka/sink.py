"""Settlement: publish a group of outcomes, and commit their offsets. A sink is one delivery guarantee.

At-least-once is here, exactly-once in exactly_once.py: the same contract, and the same tests over both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import structlog
from confluent_kafka import KafkaException, Producer

from worker.kafka.clients import ClientErrors, Throttle, error_in, open_client
from worker.kafka.deadletter import DeadLetters
from worker.kafka.gone import GoneTopics
from worker.kafka.ledger import Partition, Position, Settlement, Ticket
from worker.kafka.properties import patience_s, untransacted_properties
from worker.kafka.publication import Publication
from worker.kafka.publisher import Publisher
from worker.kafka.refusals import Verdict, never_again, verdict
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

    @property
    def throttled(self) -> bool:
        """Whether a broker lets it wait because of a quota."""
        ...

    def open(self, timeout_s: float) -> bool:
        """Make ready to publish. False where the broker did not answer in time: call it again."""
        ...

    def settle(self, settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
        """Publish the settlement's outcomes in order and commit the offsets that are still ours.

        True when all of it is done. False when time ran out or the broker asked to try again: call it with the same
        settlement after a poll, and it goes on where it was. Raises Fatal where it can never be done.
        """
        ...

    def commit(self, positions: Mapping[Partition, Position], group: Group, timeout_s: float) -> bool:
        """Commit positions of partitions in which nothing is to be settled: starts, and the ends of a replay.

        True when the group has them. False where that is to be tried again after a poll, maybe with others: what was
        begun goes on then, be it for none. Raises Fatal where it can never be done.
        """
        ...

    def close(self) -> None:
        """Let go of the broker. What is not published by then is not published."""
        ...


class AtLeastOnceSink:
    """Produce, await every delivery report, commit. A crash before the commit repeats outcomes, with the same ids.

    In an outage outcomes wait for the broker, in order, however long it lasts; but not within librdkafka, which must
    send nothing that a process which stood still has lost (`untransacted_properties`). It drops what has waited for the
    group's patience, and not all of it in one moment: so in half that time the sink gives the producer up, with all
    that it holds, and hands what has no report to a new one. What was on its way to the broker may be there twice.
    """

    def __init__(self, settings: KafkaSettings, dead_letters: DeadLetters) -> None:
        self._settings = settings
        self._dead_letters = dead_letters
        self._patience_s = patience_s(settings) / 2
        self._gone = GoneTopics(settings)
        self._throttle = Throttle("producer")
        self._publisher = self._new_publisher()
        self._over = False
        """Whether the producer has failed for good."""
        self._settlement: Settlement | None = None
        self._publication = self._publication_of(())

    @property
    def throttled(self) -> bool:
        return self._throttle.on

    def open(self, timeout_s: float) -> bool:
        return True

    def settle(self, settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
        if settlement is not self._settlement:
            self._settlement = settlement
            self._publication = self._publication_of(settlement.tickets)
        elif self._over or self._publication.is_stale(positions(settlement)):
            self._begin_again()
        deadline_s = time.monotonic() + timeout_s
        try:
            if not self._publication.published(lambda: positions(settlement), deadline_s):
                return False
        except (KafkaException, SystemError) as exception:
            self._failed(exception)
            return False
        return group.commit(positions(settlement), max(_LEAST_COMMIT_S, deadline_s - time.monotonic()))

    def commit(self, positions: Mapping[Partition, Position], group: Group, timeout_s: float) -> bool:
        return group.commit(positions, timeout_s)

    def close(self) -> None:
        self._publisher.close()

    def _new_publisher(self) -> Publisher:
        properties = untransacted_properties(self._settings)
        producer = open_client(Producer, properties, ClientErrors("producer"), self._throttle)
        return Publisher(producer)

    def _publication_of(self, tickets: Iterable[Ticket]) -> Publication:
        return Publication(tickets, self._publisher, self._dead_letters, self._patience_s)

    def _begin_again(self) -> None:
        """Let a new producer begin with all that has no report."""
        left = self._publication.left()
        self._gone.look(left, self._publisher, time.monotonic())
        try:
            self._publisher.close()
        except (KafkaException, SystemError) as exception:
            self._failed(exception)
        log.warning("kafka.producer_renewed", outcomes=len(left), next="publish what is still ours again")
        self._publisher = self._new_publisher()
        self._over = False
        self._publication = self._publication_of(left)

    def _failed(self, exception: KafkaException | SystemError) -> None:
        """Let another producer go on, as far as that can help; a fatal error of librdkafka's is raised in a flush."""
        error = error_in(exception)
        if error is not None and verdict(error) is not Verdict.AGAIN:
            raise never_again(error) from exception
        self._over = True
