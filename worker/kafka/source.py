"""The owner of the Consumer: poll, rebalance, commit. Owned by the Kafka thread.

Its parts use it as well: fetching.py says what is read, starts.py asks where that begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.kafka.aside import aside
from worker.kafka.clients import ClientErrors, Throttle, open_client
from worker.kafka.committer import Committer, goes_again, never_committed
from worker.kafka.entries import offsets_of, partitions_of
from worker.kafka.fetching import Fetching
from worker.kafka.goodbye import leave
from worker.kafka.joining import Joining
from worker.kafka.ledger import Partition, Position
from worker.kafka.poll_errors import fatal, is_member_over
from worker.kafka.properties import consumer_properties, patience_s, poll_interval_s
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


class Source:
    """The input topic as a member of the consumer group."""

    def __init__(self, settings: KafkaSettings, listener: Listener, window: Window | None = None) -> None:
        """`window`: of a replay, what it takes in."""
        self._settings = settings
        self._window = window
        self._listener = listener
        self._failure: BaseException | None = None
        self._left = False
        """Whether we are gone without a goodbye: what is heard of the group after that is of no use."""
        self._given: set[Partition] = set()
        """What is assigned."""
        self._expired: set[Partition] = set()
        """What was assigned when the poll interval was over, until a callback says what becomes of it."""
        self.membership: Any = None
        """The member's generation, as of the last callback: a transaction sends it with its offsets.

        A broker refuses the offsets of an older generation. It accepts those of a newer one for partitions that are
        someone else's by then (seen on Apache Kafka 4.3.1), so it is taken nowhere else.
        """
        self.patience_s, self.poll_interval_s = patience_s(settings), poll_interval_s(settings)
        self._throttle = Throttle("consumer")
        self._watch = TopicWatch(settings, replay=window is not None)
        self._open()

    def _open(self) -> None:
        """Begin with a client that is not in the group yet."""
        settings, window = self._settings, self._window
        self._committer = Committer(self._send_commit, self.committed)
        of_ours = {"on_commit": partial(self._on_commit, self._committer), "enable.partition.eof": window is not None}
        properties = {**consumer_properties(settings), **of_ours}
        self._consumer = open_client(Consumer, properties, ClientErrors("consumer"), self._throttle)
        bounds = window.bounds if window else None
        self._starts = Starts(settings, self._consumer, self.commit, self._watch, bounds)
        self.fetching = Fetching(self._consumer)
        self._joining = Joining(self._starts.reach)
        self._joins = self._joined = False

    def _join(self) -> bool:
        """Whether the group is being joined. False where the broker did not answer what has to be known first."""
        if not self._joins and self._starts.look():
            given, taken, lost = self._on_assign, self._on_revoke, self._on_lost
            self._consumer.subscribe([self._settings.topics.input], on_assign=given, on_revoke=taken, on_lost=lost)
            self._joins = True
        if not self._joined:
            self._joining.look()
        return self._joins

    def poll(self, timeout_s: float) -> Message | None:
        """The next message, or None. Joins the group, and rebalance callbacks run in here.

        What failed in one of them is raised from here.
        """
        self._watch.look()
        if not self._join():
            return None
        self._begin()
        message = self._consumer.poll(timeout_s)
        self._committer.polled()
        self._raise_failure()
        if message is None or (self._window is not None and not self._window.takes(message)):
            return None
        if (error := message.error()) is None:
            return message
        if self._joined and is_member_over(error):
            self._begin_anew(error)
            return None
        if (end := fatal(self._settings, self._consumer, message)) is not None:
            raise end
        log.warning("kafka.poll_error", error=error.str(), code=error.name())
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:
            self._expire()
        return None

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        """Commit, and wait for the answer. False where it must be gone on with after a poll; Fatal where it never will.

        Called again after False, it waits for the same answer, if there was none yet.
        """
        return not positions or self._committer.commit(positions, timeout_s)

    @property
    def waiting(self) -> Mapping[Partition, float]:
        """Since when (monotonic) each partition is assigned that is not begun, since its start is not known yet."""
        return self._starts.waiting

    @property
    def unanswered(self) -> bool:
        """Whether the last commit must be answered before there can be another, which a poll tells."""
        return self._committer.is_overdue

    @property
    def throttled(self) -> bool:
        """Whether a broker lets it wait because of a quota."""
        return self._throttle.on

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        """Go back to these offsets in the partitions that are still assigned."""
        if self._window is not None:
            self._window.reopen(offsets)
        self.fetching.rewind(offsets)

    def high_watermark(self, partition: Partition) -> int | None:
        """The partition's end as of the last fetch, without a round trip. None before the first."""
        _, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return high if high >= 0 else None

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, Position]:
        """What the group has committed, for the partitions of which it has something. Raises KafkaException."""
        wanted = [TopicPartition(*partition) for partition in partitions]
        found = self._consumer.committed(wanted, timeout=timeout_s)
        for error in filter(None, (entry.error for entry in found)):
            raise KafkaException(error)  # such as that a transaction holds the offsets: that is not "nothing"
        return {
            (entry.topic, entry.partition): Position(entry.offset, metadata=entry.metadata or "")
            for entry in found
            if entry.offset >= 0
        }

    def close(self) -> None:
        """Leave the group in bounded time. Runs the revoke callback for what is still assigned, on another thread."""
        deadline_s = time.monotonic() + _LAST_COMMIT_S
        while self._committer.unanswered and time.monotonic() < deadline_s:
            self._consumer.poll(_LAST_POLL_S)
        self._left = not leave(self._consumer)
        self._raise_failure()

    def _begin(self) -> None:
        """Read the partitions whose starts are known by now."""
        starts = self._starts.ready()
        if not starts:
            return
        at = offsets_of({partition: start.position for partition, start in starts.items()})
        begun = {each: starts[each] for each in partitions_of(entry for entry in at if self.fetching.begin(entry))}
        if begun:
            self._starts.forget(begun)
            self._listener.begun(begun)

    def _expire(self) -> None:
        """Void what is assigned: others may have it by now, and it may be that no callback says so.

        Where the coordinator is away just then and a commit ends, librdkafka 2.16 takes a member of the new protocol to
        have left, and has it go on with all that it had when it is taken in again (seen).
        """
        self.membership = None
        self._expired = set(self._given)
        self._starts.forget(self._expired)
        self.fetching.stop(self._expired)
        self._listener.lost(sorted(self._expired))

    def _begin_anew(self, error: KafkaError) -> None:
        """Join the group as another member, since librdkafka has ended this one."""
        log.error("kafka.member_over", error=error.str(), next="join as a new one; what is in flight is done again")
        self.membership = None
        self._listener.lost(sorted(self._given))
        self._given.clear()
        self._expired.clear()
        old, paused = self._consumer, self.fetching.paused
        self._open()
        self.fetching.paused = paused
        # What it calls back for from here on is over.
        aside(old.close, "goodbye")

    # No exception may leave a callback: librdkafka's binding would throw fetched messages away.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        def act() -> None:
            self._joined = True
            self.membership = _membership(consumer)
            given, again = partitions_of(partitions), sorted(self._expired)
            self._expired.clear()
            self.fetching.assign(given)
            self.fetching.stop(again)
            given += again
            self._given.update(given)
            self._starts.ask(given)
            self._listener.assigned(given)

        self._guarded(consumer, act)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        def act() -> None:
            self.membership = _membership(consumer)
            self._forget(partitions)
            try:
                self._listener.revoked(partitions_of(partitions))
            finally:
                consumer.incremental_unassign(partitions)

        self._guarded(consumer, act)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        def act() -> None:
            self.membership = None
            self._forget(partitions)
            self._listener.lost(partitions_of(partitions))
            consumer.incremental_unassign(partitions)

        self._guarded(consumer, act)

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        self._given.difference_update(partitions_of(partitions))
        self._expired.difference_update(partitions_of(partitions))
        self._starts.forget(partitions_of(partitions))

    def _guarded(self, of: Consumer | Committer, act: Callable[[], None]) -> None:
        """`of`: what is called back for, which may be over."""
        if self._left or of not in (self._consumer, self._committer):
            return
        try:
            act()
        except BaseException as failure:  # noqa: BLE001 - kept, and raised by the poll it happened in
            self._failure = self._failure or failure

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _on_commit(self, of: Committer, overall: KafkaError | None, partitions: list[TopicPartition]) -> None:
        def act() -> None:
            of.answered()
            # Each partition has an error of its own, and the first one says it.
            errors = [overall, *(entry.error for entry in partitions)]
            if refusal := next(filter(None, errors), None):
                self._refused(refusal)

        self._guarded(of, act)

    def _send_commit(self, positions: Mapping[Partition, Position]) -> None:
        try:
            self._consumer.commit(offsets=offsets_of(positions), asynchronous=True)
        except KafkaException as error:
            self._committer.answered()
            self._refused(error.args[0])

    def _refused(self, error: KafkaError) -> None:
        # Of a client that is over a poll says why.
        if not goes_again(error) and error.code() != KafkaError._FATAL:
            raise never_committed(error)
        log.warning("kafka.commit_refused", error=error.str(), code=error.name(), next="poll and try again")


def _membership(consumer: Consumer) -> Any:
    try:
        return consumer.consumer_group_metadata()
    except RuntimeError:
        # librdkafka has none any more where it leaves the group by itself: seen while the brokers were away.
        return None
