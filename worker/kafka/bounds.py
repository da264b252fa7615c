"""Where a replay begins and ends in each partition, kept where all its members find it, and where it outlives them: in
the group's committed offsets.

Whoever is the first to be given a partition, which is one member at a time, commits its start, with its end in the
commit's metadata; each later commit carries that along, and each later owner goes by it. So processes share a replay
without speaking to each other, and one that is started again finds where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition

from worker.errors import Fatal
from worker.kafka.ledger import Partition, Position
from worker.kafka.span import Mark, Span

_STEP_S = 1.0
_PATIENCE_S = 120.0
"""For the group's offsets at an assignment: a transaction that a killed owner left open holds them back for its timeout
of up to a minute, and the broker's next look."""


class Group(Protocol):
    """What is needed of the source: the consumer group, as its member sees it."""

    def entries(self, partitions: Iterable[Partition], timeout_s: float) -> list[TopicPartition]:
        """The group's committed offsets, with their metadata. Raises KafkaException."""
        ...

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool: ...


class Bounds:
    """The bounds of the partitions that this member was given. Used by the Kafka thread alone."""

    def __init__(self, spans: Mapping[int, Span], asked: str) -> None:
        """`spans`: where each partition of the replay begins and ends if nobody has begun it. `asked`: see Mark."""
        self._spans = spans
        self._asked = asked
        self._until: dict[Partition, int] = {}
        """They never change, so those of partitions that were given up may stay."""
        self._starts: dict[Partition, TopicPartition] = {}

    def take_over(self, group: Group, partitions: Sequence[Partition], beat: Callable[[], None]) -> None:
        """Learn where these partitions go on and end, or fix it. To be called when they are assigned.

        Calls `beat` while it waits for the broker. Raises Fatal where that does not answer, or the group's offsets are
        those of another replay.
        """
        mine = [partition for partition in partitions if partition[1] in self._spans]
        if not mine:
            return
        deadline_s = time.monotonic() + _PATIENCE_S
        entries = _patiently(lambda: group.entries(mine, _STEP_S), beat, deadline_s)
        begun = [entry for entry in entries if entry.offset >= 0]
        fresh = [(entry.topic, entry.partition) for entry in entries if entry.offset < 0]
        for entry in begun:
            self._until[entry.topic, entry.partition] = known_end(entry.metadata, self._asked)
            self._starts[entry.topic, entry.partition] = entry
        self._begin(group, fresh, beat, deadline_s)

    def start(self, entry: TopicPartition) -> TopicPartition:
        """Where to go on in a partition that was taken over; in one that is not of the replay, its end."""
        partition = (entry.topic, entry.partition)
        return self._starts.pop(partition, TopicPartition(*partition, OFFSET_END))

    def until(self, partition: Partition) -> int:
        """The offset before which records are taken in; 0 in a partition that is not of the replay."""
        return self._until.get(partition, 0)

    def holds(self, partition: Partition) -> bool:
        """Whether a partition is of the replay, and was given to this member at some time."""
        return partition in self._until

    def end(self, partition: Partition) -> Position:
        """What is committed when all before the end is done."""
        return self.marked({partition: Position(self._until[partition])})[partition]

    def marked(self, positions: Mapping[Partition, Position]) -> dict[Partition, Position]:
        """The positions with what every commit of this replay carries."""
        return {
            partition: replace(position, metadata=Mark(self._asked, self._until[partition]).encode())
            for partition, position in positions.items()
        }

    def _begin(self, group: Group, fresh: Sequence[Partition], beat: Callable[[], None], deadline_s: float) -> None:
        """Commit the starts of partitions that nobody has begun."""
        spans = {partition: self._spans[partition[1]] for partition in fresh}
        self._until.update({partition: span.end for partition, span in spans.items()})
        positions = self.marked({partition: Position(span.start) for partition, span in spans.items()})
        while positions and not group.commit(positions, _STEP_S):
            _wait(beat, deadline_s, "does not take the start of the replay")
        for partition, span in spans.items():
            self._starts[partition] = TopicPartition(*partition, span.start)


def known_end(metadata: str | None, asked: str) -> int:
    """The end that a commit's metadata tells. Raises Fatal where it is not one of the replay that is asked for."""
    mark = Mark.decode(metadata)
    if mark is None:
        raise Fatal("the group of this replay has offsets that no replay committed: choose another --id")
    if mark.asked != asked:
        raise Fatal("a replay of this id has another --from, --to or --partitions: repeat those, or choose another --id")
    return mark.until


def _patiently(
    ask: Callable[[], list[TopicPartition]], beat: Callable[[], None], deadline_s: float
) -> list[TopicPartition]:
    """The answer, each partition's error looked at. It may take as long as a transaction that was left open."""
    while True:
        try:
            entries = ask()
        except KafkaException as error:
            refusal: KafkaError = error.args[0]
        else:
            errors = [entry.error for entry in entries if entry.error is not None]
            if not errors:
                return entries
            refusal = errors[0]
        _wait(beat, deadline_s, f"does not tell its offsets: {refusal.str()} ({refusal.name()})")


def _wait(beat: Callable[[], None], deadline_s: float, what: str) -> None:
    beat()
    if time.monotonic() >= deadline_s:
        raise Fatal(f"the group's coordinator {what}; is the cluster well? Start the replay again, and it goes on")
