"""Where reading begins in partitions that were assigned: the one place that asks for the group's committed offsets.

They are asked for in the assign callback. The answer takes milliseconds, but for a coordinator that is away, or that
holds the offsets back until the transaction of a former owner has ended (KIP-447). What is in flight is settled
meanwhile. A partition is never assigned without its start, since a later `incremental_assign` would make librdkafka
forget that an assignment was lost (read in 2.16).

Where there is no committed offset, a replay begins where it was asked to (bounds.py). Else `kafka.start` decides, but
only of what was there when the group began: a partition that was added later is read from its beginning. To tell the
two apart, a start at the end of a partition is committed before anything is read. That also keeps what comes between
this start and the first settlement (KAFKA-12261).

A committed offset counts a log that may be no more: its topic was made again (topic_id.py), or a leader was elected
that had fewer of its records. Both are looked at before anything is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.errors import Fatal
from worker.kafka.bounds import Bounds
from worker.kafka.ledger import Partition, Position
from worker.kafka.progress import Progress, parse
from worker.kafka.settings import KafkaSettings
from worker.kafka.topic_id import TopicWatch

A = TypeVar("A")

log = structlog.get_logger(__name__)

_ASK_S = 1.0
"""How long one question may take, and how long the thread does nothing else while it waits."""
_PAUSE_S = 0.2
"""Between a question that failed and the next, at least."""
_SEEK_AGAIN_S = 0.005
_PATIENCE_S = 120.0
"""How long all of it may take: longer than a transaction may stay open, shorter than `max.poll.interval.ms`."""

_NEVER = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: "ask for READ on the group",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "ask for READ and DESCRIBE on the topic",
}


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins in one partition."""

    position: Position
    """With the metadata that was committed."""
    progress: Progress
    """What is done from there on."""
    committed: bool = True
    """Whether the group had an offset here."""


Commit = Callable[[Mapping[Partition, Position], float], bool]
"""`Source.commit`."""


class Starts:
    """Finds the starts of assigned partitions.

    Used by the Kafka thread alone: the binding lets no other thread ask while one polls (seen in 2.16).
    """

    def __init__(
        self,
        settings: KafkaSettings,
        consumer: Consumer,
        commit: Commit,
        watch: TopicWatch,
        bounds: Bounds | None = None,
    ) -> None:
        """`bounds`: of a replay, which decides where there is no committed offset."""
        self._bounds = bounds
        self._topic = settings.topics.input
        self._at_end = settings.start == "latest"
        self._consumer = consumer
        self._commit = commit
        self._watch = watch
        self._old: Collection[Partition] = ()
        """The partitions that were there when the group began; none where it began before this member looked."""

    def look(self) -> bool:
        """Whether it is known if the group begins only now, which is asked before it is joined. Call it again if not.

        Raises Fatal where it may not be asked.
        """
        if self._at_end:
            old = self._answer(self._find_old)
            self._old = old or ()
            return old is not None
        return True

    def of(self, partitions: Collection[Partition], goes_on: Callable[[], bool]) -> dict[Partition, Start]:
        """The starts of partitions that were just assigned.

        `goes_on` is called again and again while the answer is awaited; where it says no, the answer is nothing. Raises
        Fatal where it may not be asked, or there is no answer for very long.
        """
        starts: dict[Partition, Start] | None = None
        give_up_s = time.monotonic() + _PATIENCE_S
        while goes_on():
            starts = starts or self._answer(lambda: self._find(partitions))
            if starts is not None and self._pinned(starts):
                return starts
            if time.monotonic() >= give_up_s:
                raise Fatal(
                    f"Kafka has not told the group's offsets for {_PATIENCE_S:.0f} s: see the log of the group's "
                    "coordinator; nothing was lost"
                )
        return {}

    def _pinned(self, starts: dict[Partition, Start]) -> bool:
        """Whether the starts that lie at an end, and those of a replay, are committed."""
        ends = {partition: start.position for partition, start in starts.items() if self._is_to_be_pinned(start)}
        return self._commit(ends, _ASK_S)

    def _is_to_be_pinned(self, start: Start) -> bool:
        return not start.committed and (self._at_end or start.progress.until is not None)

    def _answer(self, question: Callable[[], A]) -> A | None:
        """The answer; None where it must be asked again."""
        asked_s = time.monotonic()
        try:
            return question()
        except KafkaException as error:
            problem: KafkaError = error.args[0]
            if problem.code() in _NEVER:
                raise Fatal(
                    f"Kafka does not tell the group's offsets: {problem.str()} ({problem.name()}): "
                    f"{_NEVER[problem.code()]}"
                ) from error
            log.warning("kafka.start_waits", error=problem.str(), next="ask for the group's offsets again")
            time.sleep(max(0.0, _PAUSE_S - (time.monotonic() - asked_s)))
            return None

    def _find(self, partitions: Iterable[Partition]) -> dict[Partition, Start]:
        committed = self._committed(partitions)
        topic_id = self._watch.now() if committed else None
        return {(entry.topic, entry.partition): self._start(entry, topic_id) for entry in committed}

    def _find_old(self) -> Collection[Partition]:
        numbers = self._consumer.list_topics(self._topic, timeout=_ASK_S).topics[self._topic].partitions
        partitions = {(self._topic, number) for number in numbers}
        begun = any(entry.offset >= 0 for entry in self._committed(partitions))
        return () if begun else partitions

    def _committed(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        found = self._consumer.committed([TopicPartition(*each) for each in partitions], timeout=_ASK_S)
        for entry in found:
            if entry.error is not None:
                raise KafkaException(entry.error)
        return found

    def _start(self, entry: TopicPartition, topic_id: str | None) -> Start:
        """What is committed from here on names the topic; where it is not known now, as the last commit did."""
        if entry.offset >= 0:
            progress = _progress(entry)
            self._watch.check(entry.partition, progress)
            if self._bounds is not None:
                self._bounds.check(progress)
            position = Position(entry.offset, entry.leader_epoch, entry.metadata or "")
            return Start(position, replace(progress, topic_id=topic_id or progress.topic_id))
        begin = replace(self._begin((entry.topic, entry.partition)), topic_id=topic_id)
        return Start(Position(begin.base, metadata=begin.metadata), begin, committed=False)

    def _begin(self, partition: Partition) -> Progress:
        """Where nothing is committed."""
        if self._bounds is not None and (begin := self._bounds.begin(partition)) is not None:
            return begin
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_ASK_S)
        return Progress(high if self._at_end and partition in self._old else low)


def _progress(entry: TopicPartition) -> Progress:
    try:
        return parse(entry.offset, entry.metadata)
    except ValueError as error:
        raise Fatal(
            f"what the group committed for {entry.topic}[{entry.partition}] at {entry.offset} cannot be read: {error}: "
            "run the release that wrote it, or do the partition again from there: `image-worker offsets set`"
        ) from error


def validate(consumer: Consumer, starts: Iterable[TopicPartition], patience_s: float = _ASK_S) -> None:
    """Have the leaders asked whether their logs still have what was read before these assigned starts (KIP-320).

    librdkafka asks when it seeks, not when partitions are assigned (seen in 2.16). Where the answer is no, a poll says
    so, before it brings records. `patience_s`: for a commit that is under way, which holds the assignment back.
    """
    give_up_s = time.monotonic() + patience_s
    for start in starts:
        while start.leader_epoch is not None and not sought(consumer, start):
            if time.monotonic() >= give_up_s:
                log.warning("kafka.start_unchecked", partition=f"{start.topic}[{start.partition}]", next="read on")
                break
            time.sleep(_SEEK_AGAIN_S)


def sought(consumer: Consumer, start: TopicPartition) -> bool:
    """Have an assigned partition read from there. False where its reading has not begun: a commit holds it back."""
    try:
        consumer.seek(start)
    except KafkaException as error:
        if error.args[0].code() != KafkaError._STATE:
            raise
        return False
    return True
