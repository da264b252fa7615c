"""The part of a topic that a replay goes through, as one member of its group sees it.

An end is an offset, which need not be that of a record: transaction markers and compaction leave gaps. A partition is
at its end when a record at or past it was seen, or the end of what there is to read is at or past it, and all that was
taken in before is settled. Then the end itself is committed. The replay is over when all partitions are at their ends,
by the broker's word: so a process whose colleague died takes its partitions over before it ends, and an end that a late
commit moved back is committed again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, Message

from worker.kafka.bounds import Bounds
from worker.kafka.ledger import Partition, Position
from worker.kafka.progress import Progress
from worker.kafka.standing import Standing, length
from worker.kafka.starts import Commit

log = structlog.get_logger(__name__)

_CLOSE_S = 1.0
_SAY_EVERY_S = 30.0


class InFlight(Protocol):
    """What is needed of the ledger."""

    @property
    def partitions(self) -> tuple[Partition, ...]: ...

    def in_flight_of(self, partition: Partition) -> int: ...


class Window:
    """Which records a replay takes in, and when it is over. Used by the Kafka thread alone, but for `standing`."""

    def __init__(self, bounds: Bounds, standing: Standing, *, rate: float | None = None) -> None:
        """`rate`: records a second that this process takes in at most."""
        self.bounds = bounds
        self.standing = standing
        self.rate = rate
        self._ends: dict[Partition, Progress] = {}
        """Of the partitions of the replay that this member was given so far: their ends never change."""
        self._unread: set[Partition] = set()
        """Those of which there was nothing left to do when they were begun."""
        self._closed: set[Partition] = set()
        """Those of which the end is committed."""
        self._waits: dict[Partition, int] = {}
        """Those before their ends in which there is nothing more to read, and how far they are."""
        self._said_s = self._heard_s = time.monotonic()
        self.arrived: set[Partition] = set()
        """Of which nothing more is to be taken in, and nothing at all of those that are not of the replay."""

    def reads(self, progress: Progress) -> bool:
        """Whether anything is to be read of a partition that is so far.

        Retention may have passed its end, or a transaction be open before that: to read there would fail, or wait.
        """
        return progress.until is not None and progress.base < progress.until

    def assigned(self, known: Mapping[Partition, Progress]) -> None:
        """These are this member's from now on, each with what is done of it."""
        self._unread -= known.keys()
        self.reopen(known)
        for partition, progress in known.items():
            if progress.until is not None:
                self._ends[partition] = replace(progress, base=max(progress.base, progress.until), done=())
            if not self.reads(progress):
                self._unread.add(partition)
                self._closed |= {partition} & self._ends.keys()
                self.arrived.add(partition)

    def reopen(self, partitions: Iterable[Partition]) -> None:
        """These are read from now on, or from an earlier offset again."""
        for partition in partitions:
            if partition not in self._unread:
                self.arrived.discard(partition)
                self._closed.discard(partition)
                self._waits.pop(partition, None)

    def takes(self, message: Message) -> bool:
        """Whether this is for the worker; if not, it is past the end, or says that there is nothing more to read."""
        error, offset = message.error(), message.offset() or 0
        self._heard_s = time.monotonic()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            return True
        partition = (message.topic() or "", message.partition() or 0)
        until = self._ends[partition].base if partition in self._ends else 0
        self._waits.pop(partition, None)
        if offset + (error is None) >= until:
            self.arrived.add(partition)
        elif error is not None:
            self._waits[partition] = offset
        return error is None and offset < until

    def is_over(self, in_flight: InFlight, commit: Commit) -> bool:
        """Whether all partitions are at their ends, whoever owns them. Commits the ends of our own that are.

        To be called after each poll, and before anything else is committed.
        """
        own = in_flight.partitions
        self._close([each for each in own if self._is_to_be_closed(each, in_flight)], commit)
        self._say_what_it_waits_for(own, in_flight)
        if self.standing.refresh():
            left = self.standing.left
            # Of a partition that was added since this process began, whoever has begun it waits for its end.
            self._closed = {each for each in self._closed if each[1] not in left or not length(left[each[1]])}
        return self.standing.complete

    def _is_to_be_closed(self, partition: Partition, in_flight: InFlight) -> bool:
        arrived = partition in self._ends and partition in self.arrived - self._closed
        return arrived and not in_flight.in_flight_of(partition)

    def _close(self, partitions: Sequence[Partition], commit: Commit) -> None:
        ends = {each: self._ends[each] for each in partitions}
        if not commit({each: Position(end.base, metadata=end.metadata) for each, end in ends.items()}, _CLOSE_S):
            return
        self._closed |= ends.keys()
        for partition, end in ends.items():
            self.standing.hurry()
            log.info("replay.partition_done", partition="{}[{}]".format(*partition), until=end.base)

    def _say_what_it_waits_for(self, own: Sequence[Partition], in_flight: InFlight) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s < _SAY_EVERY_S:
            return
        self._said_s = now_s
        # Where it begins behind the start of an open transaction, librdkafka 2.16 says nothing of an end (seen).
        silent = now_s - self._heard_s >= _SAY_EVERY_S and not any(map(in_flight.in_flight_of, own))
        for partition in own:
            if partition in self._waits or (silent and partition in self._ends and partition not in self.arrived):
                log.warning(
                    "replay.waits",
                    partition="{}[{}]".format(*partition),
                    at=self._waits.get(partition, self.standing.left.get(partition[1], (0, 0))[0]),
                    until=self._ends[partition].base,
                    why="nothing more can be read there: a producer has a transaction open, or its broker is away",
                    next="go on when that has ended",
                )
