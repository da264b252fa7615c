"""One member of the consumer group, from before it joins until it is over: its client, and what the group gives it.

Its parts use the client as well: fetching.py says what is read, starts.py asks where that begins, committer.py commits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import shuffle
from typing import Any, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.kafka.aside import aside
from worker.kafka.clients import ClientErrors, Throttle, open_client
from worker.kafka.committer import Committer
from worker.kafka.entries import checked, offsets_of, partitions_of
from worker.kafka.fetching import Fetching
from worker.kafka.goodbye import leave
from worker.kafka.joining import Joining
from worker.kafka.ledger import Partition, Position
from worker.kafka.properties import consumer_properties
from worker.kafka.settings import KafkaSettings
from worker.kafka.starts import Start, Starts
from worker.kafka.topic_id import TopicWatch
from worker.kafka.window import Window

log = structlog.get_logger(__name__)

_LAST_POLL_S = 0.1
_LAST_COMMIT_S = 5.0
"""How long leaving waits for a commit under way."""


class Listener(Protocol):
    """Who hears of rebalances. Called inside `poll`, on the Kafka thread; may commit and must not poll.

    A partition that is assigned brings records when it is begun, where its start says; it may be given up before.
    """

    def assigned(self, partitions: Sequence[Partition]) -> None: ...
    def begun(self, starts: Mapping[Partition, Start]) -> None: ...
    def revoked(self, partitions: Sequence[Partition]) -> None: ...
    def lost(self, partitions: Sequence[Partition]) -> None: ...

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        """Commit starts, within a poll and outside of callbacks: see `Sink.commit`."""
        ...


class Member:
    """Used by the Kafka thread alone. What is called back when it is over does nothing."""

    def __init__(
        self,
        settings: KafkaSettings,
        listener: Listener,
        watch: TopicWatch,
        throttle: Throttle,
        window: Window | None = None,
    ) -> None:
        """`window`: of a replay, what it takes in."""
        self._topic = settings.topics.input
        self._window = window
        self._listener = listener
        self._over = self._joins = False
        self._failure: BaseException | None = None
        self._given: set[Partition] = set()
        """What is assigned."""
        self._expired: set[Partition] = set()
        """What was assigned when the poll interval was over, until a callback says what becomes of it."""
        self.joined = False
        """Whether the group has assigned it something once, be it nothing."""
        self.generation: Any = None
        """As of the last callback: a transaction sends it with its offsets.

        A broker refuses the offsets of an older generation. It accepts those of a newer one for partitions that are
        someone else's by then (seen on Apache Kafka 4.3.1), so it is taken nowhere else.
        """
        self.committer = Committer(self._send_commit, self.committed)
        of_ours = {"on_commit": self._on_commit, "enable.partition.eof": window is not None}
        properties = {**consumer_properties(settings), **of_ours}
        self.client = open_client(Consumer, properties, ClientErrors("consumer"), throttle)
        bounds = window.bounds if window else None
        self.starts = Starts(settings, self.client, listener.commit, watch, bounds)
        self.fetching = Fetching(self.client)
        self._joining: Joining | None = Joining(self.starts.reach)
        """While nothing is assigned, or may be."""

    def poll(self, timeout_s: float) -> Message | None:
        """The next message, an error among them, or None. Joins the group, and rebalance callbacks run in here.

        What failed in one of them is raised from here.
        """
        if not self._join():
            return None
        self._begin()
        message = self.client.poll(timeout_s)
        self.committer.polled()
        self._raise_failure()
        return message

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, Position]:
        """What the group has committed, for the partitions of which it has something. Raises KafkaException."""
        wanted = [TopicPartition(*partition) for partition in partitions]
        found = checked(self.client.committed(wanted, timeout=timeout_s))
        return {
            (entry.topic, entry.partition): Position(entry.offset, metadata=entry.metadata or "")
            for entry in found
            if entry.offset >= 0
        }

    def expire(self) -> None:
        """Void what is assigned: others may have it by now, and it may be that no callback says so.

        Where the coordinator is away just then and a commit ends, librdkafka 2.16 takes a member of the new protocol to
        have left, and has it go on with all that it had when it is taken in again (seen).
        """
        self._void()
        self._expired = set(self._given)
        self.starts.forget(self._expired)
        self.fetching.stop(self._expired)
        self._listener.lost(sorted(self._expired))

    def end(self) -> None:
        """Void what is assigned, and be over."""
        self._over = True
        self._listener.lost(sorted(self._given))
        aside(self.client.close, "goodbye")

    def leave(self) -> None:
        """Leave the group in bounded time. Runs the revoke callback for what is still assigned, on another thread."""
        deadline_s = time.monotonic() + _LAST_COMMIT_S
        while self.committer.unanswered and time.monotonic() < deadline_s:
            self.client.poll(_LAST_POLL_S)
        self._over = not leave(self.client)
        self._raise_failure()

    def _join(self) -> bool:
        """Whether the group is being joined. False where the broker did not answer what has to be known first."""
        if not self._joins and self.starts.look():
            given, taken, lost = self._on_assign, self._on_revoke, self._on_lost
            self.client.subscribe([self._topic], on_assign=given, on_revoke=taken, on_lost=lost)
            self._joins = True
        if self._joining is not None:
            self._joining.look()
        return self._joins

    def _begin(self) -> None:
        """Read the partitions whose starts are known by now.

        In any order: what is begun first is fetched first, all of a backlog. Always in the same order, workers that die
        early would do none of the last ones (seen in chaos, on a machine that was overrun).
        """
        starts = self.starts.ready()
        if not starts:
            return
        order = list(starts)
        shuffle(order)
        begun = {each: starts[each] for each in order if self._read(each, starts[each])}
        if begun:
            self.starts.forget(begun)
            self._listener.begun(begun)

    def _read(self, partition: Partition, start: Start) -> bool:
        """Read a partition, unless it is one of which a replay wants nothing. False where that cannot be begun yet."""
        if self._window is not None and not self._window.reads(start.progress):
            return True
        return self.fetching.begin(*offsets_of({partition: start.position}))

    # No exception may leave a callback: librdkafka's binding would throw fetched messages away.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        def act() -> None:
            self.joined, self._joining = True, None
            self.generation = _generation(consumer)
            given, again = partitions_of(partitions), sorted(self._expired)
            self._expired.clear()
            self.fetching.assign(given)
            self.fetching.stop(again)
            given += again
            self._given.update(given)
            self.starts.ask(given)
            self._listener.assigned(given)

        self._guarded(act)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        def act() -> None:
            self.generation = _generation(consumer)
            self._forget(partitions)
            try:
                self._listener.revoked(partitions_of(partitions))
            finally:
                consumer.incremental_unassign(partitions)

        self._guarded(act)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        def act() -> None:
            self._void()
            self._forget(partitions)
            self._listener.lost(partitions_of(partitions))
            consumer.incremental_unassign(partitions)

        self._guarded(act)

    def _on_commit(self, overall: KafkaError | None, partitions: list[TopicPartition]) -> None:
        def act() -> None:
            # Each partition has an error of its own, and the first one says it.
            self.committer.answered(next(filter(None, [overall, *(entry.error for entry in partitions)]), None))

        self._guarded(act)

    def _void(self) -> None:
        """The membership is over, until the group says more."""
        self.generation, self._joining = None, Joining(self.starts.reach)

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        self._given.difference_update(partitions_of(partitions))
        self._expired.difference_update(partitions_of(partitions))
        self.starts.forget(partitions_of(partitions))

    def _guarded(self, act: Callable[[], None]) -> None:
        if self._over:
            return
        try:
            act()
        except BaseException as failure:  # noqa: BLE001 - kept, and raised by the poll it happened in
            self._failure = self._failure or failure

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _send_commit(self, positions: Mapping[Partition, Position]) -> None:
        try:
            self.client.commit(offsets=offsets_of(positions), asynchronous=True)
        except KafkaException as error:
            self.committer.answered(error.args[0])


def _generation(consumer: Consumer) -> Any:
    try:
        return consumer.consumer_group_metadata()
    except RuntimeError:
        # librdkafka has none any more where it leaves the group by itself: seen while the brokers were away.
        return None
