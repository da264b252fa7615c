"""Where a replay begins and ends in each partition, kept where all its members find it, and where it outlives them: in
the group's committed offsets.

Whoever is the first to be given a partition, which is one member at a time, commits its start, with its end in the
commit's metadata; each later commit carries that along, and each later owner goes by it. So processes share a replay
without speaking to each other, and one that is started again finds where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import KafkaException

from worker.errors import Fatal
from worker.kafka.ledger import Partition, Position
from worker.kafka.progress import Progress, Span, parse

_STEP_S = 1.0
_PATIENCE_S = 120.0
"""For the group's offsets at an assignment: a transaction that a killed owner left open holds them back for its timeout
of up to a minute, and the broker's next look."""


class Group(Protocol):
    """What is needed of the source: the consumer group, as its member sees it."""

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, Position]: ...

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool: ...


class Bounds:
    """The bounds of a replay's partitions. Used by the Kafka thread alone."""

    def __init__(self, spans: Mapping[int, Span], asked: str) -> None:
        """`spans`: where each partition of the replay begins and ends, if nobody has begun it.

        `asked`: a digest of the question that they are the answer to. It stands in each commit.
        """
        self._spans = spans
        self._asked = asked

    def take_over(
        self, group: Group, partitions: Sequence[Partition], beat: Callable[[], None]
    ) -> dict[Partition, Progress]:
        """Learn how far those of the replay are and where they end, or fix it. To be called when they are assigned.

        Calls `beat` while it waits for the broker. Raises Fatal where that does not answer, or the group's offsets are
        those of another replay.
        """
        mine = [partition for partition in partitions if partition[1] in self._spans]
        deadline_s = time.monotonic() + _PATIENCE_S
        committed = _committed(group, mine, beat, deadline_s) if mine else {}
        known = {partition: known_progress(position, self._asked) for partition, position in committed.items()}
        fresh = {partition: self._begun(partition[1]) for partition in mine if partition not in known}
        positions = {partition: Position(each.base, metadata=each.metadata) for partition, each in fresh.items()}
        while positions and not group.commit(positions, _STEP_S):
            _wait(beat, deadline_s, "does not take the start of the replay")
        return known | fresh

    def _begun(self, number: int) -> Progress:
        start, end = self._spans[number]
        return Progress(start, until=end, asked=self._asked)


def known_progress(position: Position, asked: str) -> Progress:
    """The progress that a commit tells. Raises Fatal where it is not one of the replay that is asked for."""
    try:
        progress = parse(position.offset, position.metadata)
    except ValueError as error:
        raise Fatal(f"the progress of this replay cannot be read: {error}: choose another --id") from error
    if progress.until is None:
        raise Fatal("the group of this replay has offsets that no replay committed: choose another --id")
    if progress.asked != asked:
        raise Fatal("a replay of this id has another --from, --to or --partitions: write those, or choose another --id")
    return progress


def _committed(
    group: Group, partitions: Sequence[Partition], beat: Callable[[], None], deadline_s: float
) -> dict[Partition, Position]:
    """The answer may take as long as a transaction that was left open."""
    while True:
        try:
            return group.committed(partitions, _STEP_S)
        except KafkaException as error:
            _wait(beat, deadline_s, f"does not tell its offsets: {error.args[0].str()}")


def _wait(beat: Callable[[], None], deadline_s: float, what: str) -> None:
    beat()
    if time.monotonic() >= deadline_s:
        raise Fatal(f"the group's coordinator {what}; is the cluster well? Start the replay again, and it goes on")
