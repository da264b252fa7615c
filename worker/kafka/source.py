"""The input topic, read as a member of the consumer group: as one member, or one after the other.

A member's end is no end of the worker where another one can take its place (poll_errors.py says where).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from confluent_kafka import KafkaError, Message, TopicPartition

from worker.kafka.clients import Throttle
from worker.kafka.failing import Failing, place
from worker.kafka.fetching import Fetching
from worker.kafka.ledger import Partition, Position
from worker.kafka.member import Listener, Member
from worker.kafka.poll_errors import fatal, is_damage, is_id_taken, is_member_over
from worker.kafka.properties import patience_s, poll_interval_s
from worker.kafka.replicas import Replicas
from worker.kafka.settings import KafkaSettings
from worker.kafka.topic_id import TopicWatch
from worker.kafka.window import Window

log = structlog.get_logger(__name__)

_PAUSE_S = 1.0
"""Between two members that ask for a static id which another one has."""
_FREE_AFTER_S = 60.0
"""When such an id is free at the latest, if that one is dead: a session is 45 s, where the cluster does not say
otherwise."""


class Source:
    """The input topic. Used by the Kafka thread alone."""

    def __init__(self, settings: KafkaSettings, listener: Listener, window: Window | None = None) -> None:
        """`window`: of a replay, what it takes in."""
        self._settings = settings
        self._window = window
        self._listener = listener
        self.patience_s, self.poll_interval_s = patience_s(settings), poll_interval_s(settings)
        self._throttle = Throttle("consumer")
        self.failing = Failing()
        """Partitions that cannot be fetched."""
        self._watch = TopicWatch(settings, replay=window is not None)
        self.replicas = Replicas(self._watch.admin, settings.topics.input, self._watch.every_s)
        self._member = self._new_member()
        self._taken_s: float | None = None
        """Since when another member has our static id, as far as was heard."""

    def _new_member(self) -> Member:
        return Member(self._settings, self._listener, self._watch, self._throttle, self._window)

    def poll(self, timeout_s: float) -> Message | None:
        """The next message, or None. Joins the group, and rebalance callbacks run in here.

        What failed in one of them is raised from here.
        """
        self._watch.look()
        message = self._member.poll(timeout_s)
        if message is None or (self._window is not None and not self._window.takes(message)):
            return None
        if (error := message.error()) is None:
            self.failing.clear(message)
            self.replicas.heard()
            return message
        if self._can_begin_anew(error):
            self._begin_anew(error)
            return None
        partition = (message.topic() or "", message.partition() or 0)
        if partition in self.fetching.shunned:
            # Where its damaged bytes led librdkafka.
            return None
        if (end := fatal(self._settings, self._member.client, message)) is not None:
            raise end
        self.failing.note(message)
        hint = {"next": "read no more of the partition until it is assigned anew"} if is_damage(error) else {}
        log.warning("kafka.poll_error", error=error.str(), code=error.name(), at=place(message), **hint)
        if is_damage(error):
            self.fetching.shun(partition)
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:
            self._member.expire()
        return None

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        """Commit, and wait for the answer. False where it must be gone on with after a poll; Fatal where it never will.

        Called again after False, it waits for the same answer, if there was none yet.
        """
        return self._member.committer.commit(positions, timeout_s)

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, Position]:
        """What the group has committed, for the partitions of which it has something. Raises KafkaException."""
        return self._member.committed(partitions, timeout_s)

    @property
    def membership(self) -> Any:
        """The member's generation, as of the last callback; None while it has none."""
        return self._member.generation

    @property
    def fetching(self) -> Fetching:
        return self._member.fetching

    @property
    def waiting(self) -> Mapping[Partition, float]:
        """Since when (monotonic) each partition is assigned that is not begun, since its start is not known yet."""
        return self._member.starts.waiting

    @property
    def unanswered(self) -> bool:
        """Whether the last commit must be answered before there can be another, which a poll tells."""
        return self._member.committer.is_overdue

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
        _, high = self._member.client.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return high if high >= 0 else None

    def close(self) -> None:
        """Leave the group in bounded time. Runs the revoke callback for what is still assigned, on another thread."""
        self._member.leave()

    def _can_begin_anew(self, error: KafkaError) -> bool:
        """Whether another member can go on.

        One that died, in this process or before it, holds the static id until its session has ended.
        """
        if self._member.joined:
            return is_member_over(error)
        in_time = self._taken_s is None or time.monotonic() < self._taken_s + _FREE_AFTER_S
        return is_id_taken(error) and in_time

    def _begin_anew(self, error: KafkaError) -> None:
        if self._member.joined:
            self._taken_s = None
            log.error("kafka.member_over", error=error.str(), next="join as a new one; what is in flight is done again")
        else:
            self._taken_s = self._taken_s or time.monotonic()
            log.warning("kafka.instance_id_taken", error=error.str(), next="ask again until that one's session is over")
            time.sleep(_PAUSE_S)
        paused = self.fetching.paused
        self._member.end()
        self._member = self._new_member()
        self.fetching.paused = paused
