"""Settlement: publish a group of outcomes, and commit their offsets. A sink is one delivery guarantee.

At-least-once is here, exactly-once in exactly_once.py: the same contract, and the same tests over both.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import structlog
from confluent_kafka import KafkaException, Producer

from worker.kafka.clients import ClientErrors, Throttle, error_in, open_client
from worker.kafka.deadletter import DeadLetters
from worker.kafka.gone import GoneTopics
from worker.kafka.ledger import Partition, Position, Settlement, Ticket
from worker.kafka.properties import patience_s, untransacted_properties
from worker.kafka.publisher import Publisher
from worker.kafka.refusals import Verdict, instead, never_again, never_published, verdict
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

    Of each partition no more than one batch is under way. A broker that knows nothing of a producer yet takes any batch
    of it: the second, where it refused the first (no leader yet, too few replicas), and the first after it.
    """

    def __init__(self, settings: KafkaSettings, dead_letters: DeadLetters) -> None:
        self._settings = settings
        self._dead_letters = dead_letters
        self._patience_s = patience_s(settings) / 2
        self._gone = GoneTopics(settings)
        self._throttle = Throttle("producer")
        self._due_s = 0.0
        """When the producer is given up."""
        self._publisher = self._new_publisher()
        self._settlement: Settlement | None = None
        self._to_produce: deque[Ticket] = deque()
        self._again: deque[Ticket] = deque()
        """Those of batches that were refused, in their order: sent one at a time."""
        self._alone: Ticket | None = None
        """The last one that was."""
        self._dropped: list[Ticket] = []
        """Those that librdkafka gave up: since this process stood still, or since the producer is over."""
        self._over = False
        """Whether the producer has failed for good."""

    @property
    def throttled(self) -> bool:
        return self._throttle.on

    def open(self, timeout_s: float) -> bool:
        return True

    def settle(self, settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
        owned = positions(settlement)
        if settlement is not self._settlement:
            self._settlement = settlement
            self._begin(settlement.tickets, owned)
        elif self._is_stale(owned):
            self._begin_again(settlement, owned)
        deadline_s = time.monotonic() + timeout_s
        try:
            if not self._published(deadline_s):
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

    def _is_stale(self, owned: Mapping[Partition, Position]) -> bool:
        """Whether the producer holds something for too long, or something that is not ours any more."""
        waiting = self._publisher.waiting
        overdue = bool(waiting) and time.monotonic() >= self._due_s
        return self._over or bool(self._dropped) or overdue or any(ticket.partition not in owned for ticket in waiting)

    def _begin(self, tickets: Iterable[Ticket], owned: Mapping[Partition, Position]) -> None:
        """With those that are still ours."""
        self._alone = None
        self._to_produce = deque(ticket for ticket in tickets if ticket.partition in owned)

    def _begin_again(self, settlement: Settlement, owned: Mapping[Partition, Position]) -> None:
        """Let a new producer begin with all that has no report."""
        # Before the old producer is closed: that reports what it held as purged.
        refused = (ticket for ticket, _ in self._publisher.take_refused())
        left = {*self._publisher.waiting, *refused, *self._dropped, *self._again, *self._to_produce}
        self._gone.look(left, self._publisher, time.monotonic())
        try:
            self._publisher.close()
        except (KafkaException, SystemError) as exception:
            self._failed(exception)
        self._dropped.clear()
        self._again.clear()
        log.warning("kafka.producer_renewed", outcomes=len(left), next="publish what is still ours again")
        self._publisher = self._new_publisher()
        self._over = False
        self._begin((ticket for ticket in settlement.tickets if ticket in left), owned)

    def _published(self, deadline_s: float) -> bool:
        """Whether every outcome is acknowledged, by the deadline at the latest."""
        while True:
            if not self._publisher.waiting:
                self._hand_in()
            reported = self._publisher.flush(deadline_s)
            self._look_at_refused()
            if not reported or self._dropped:
                return False
            if not self._again and not self._to_produce:
                return True

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

    def _failed(self, exception: KafkaException | SystemError) -> None:
        """Let another producer go on, as far as that can help; a fatal error of librdkafka's is raised in a flush."""
        error = error_in(exception)
        if error is not None and verdict(error) is not Verdict.AGAIN:
            raise never_again(error) from exception
        self._over = True

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
            self._send_again(again)

    def _send_again(self, refused: set[Ticket]) -> None:
        """With those that wait for it, in their order: of several topics the reports come one topic after the other."""
        assert self._settlement is not None
        refused.update(self._again)
        self._again = deque(ticket for ticket in self._settlement.tickets if ticket in refused)
