"""A few records of a window, read outside any group: how dense the offsets are, and how large the records.

They are of three stretches of each partition, its beginning, its middle and its end, which stand for a third each: what
is written to a topic changes with time, and compaction leaves less of what is old.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.messages import size_bytes, source_record
from worker.kafka.progress import Span
from worker.kafka.properties import consumer_properties
from worker.kafka.settings import KafkaSettings
from worker.records import SourceRecord

_PATIENCE_S = 10.0
_POLL_S = 0.2
_STRETCHES = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """Records from the stretches of each partition's span."""

    records: tuple[SourceRecord, ...]
    expected: float | None
    """How many records there are in all, an estimate; None where nothing could be read of what there is."""
    expected_bytes: float | None
    """And how many bytes they have of key, value and headers."""


def take(settings: KafkaSettings, topic: str, spans: Mapping[int, Span], count: int) -> Sample:
    """Up to so many records in all. Joins no group. What does not come in ten seconds is done without."""
    begun = {number: span for number, span in spans.items() if span[0] < span[1]}
    each = -(-count // max(1, _STRETCHES * len(begun)))
    stretches = {number: _lanes(span, each) for number, span in begun.items()}
    rounds = [
        {number: lanes[nth] for number, lanes in stretches.items() if nth < len(lanes)} for nth in range(_STRETCHES)
    ]
    if begun:
        _read(settings, topic, rounds)
    lanes = [lane for lanes in rounds for lane in lanes.values()]
    records = tuple(record for lane in lanes for record in lane.records)
    return Sample(records, _in_all(lanes, lambda _: 1), _in_all(lanes, size_bytes))


def _in_all(lanes: Sequence[_Lane], weigh: Callable[[SourceRecord], int]) -> float | None:
    """What the records of all thirds weigh, by what was read of each. One of which nothing was is as the others."""
    read = [lane for lane in lanes if lane.reached > lane.start]
    there, known = sum(lane.stands_for for lane in lanes), sum(lane.stands_for for lane in read)
    if there and not known:
        return None
    weights = (sum(map(weigh, lane.records)) * lane.stands_for / (lane.reached - lane.start) for lane in read)
    return sum(weights) * there / known if there else 0.0


def _lanes(span: Span, each: int) -> list[_Lane]:
    """Where to read: at the begin of the first third, in the middle of the second, at the end of the last.

    A span that is read whole has one.
    """
    start, end = span
    if end - start <= _STRETCHES * each:
        return [_Lane(start, end, each * _STRETCHES, end - start)]
    edges = [start + (end - start) * nth // _STRETCHES for nth in range(_STRETCHES + 1)]
    return [
        _Lane(first + (last - first - each) * nth // (_STRETCHES - 1), last, each, last - first)
        for nth, (first, last) in enumerate(pairwise(edges))
    ]


@dataclass(slots=True)
class _Lane:
    """What was read of one stretch of a partition."""

    start: int
    end: int
    wanted: int
    stands_for: int
    """Offsets of the span."""
    records: list[SourceRecord] = field(default_factory=list)
    done: bool = False
    reached: int = 0

    def __post_init__(self) -> None:
        self.reached = self.start

    def note(self, message: Message) -> None:
        offset, error = message.offset() or 0, message.error()
        if error is None and offset < self.end and not self.done:
            self.records.append(source_record(message))
            self.reached = offset + 1
            self.done = len(self.records) >= self.wanted
        elif error is None or error.code() == KafkaError._PARTITION_EOF:
            if not self.done:
                self.reached = min(offset, self.end)
            self.done = True


def _read(settings: KafkaSettings, topic: str, rounds: Sequence[Mapping[int, _Lane]]) -> None:
    properties = {**consumer_properties(settings), "enable.partition.eof": True, "auto.offset.reset": "earliest"}
    consumer = open_client(Consumer, properties, ClientErrors("sample"))
    deadline_s = time.monotonic() + _PATIENCE_S
    try:
        for lanes in rounds:
            left = {number: lane for number, lane in lanes.items() if lane.start < lane.end}
            consumer.assign([TopicPartition(topic, number, lane.start) for number, lane in left.items()])
            while time.monotonic() < deadline_s and not all(lane.done for lane in left.values()):
                if (message := consumer.poll(_POLL_S)) is not None and message.partition() in left:
                    left[message.partition() or 0].note(message)
    finally:
        consumer.close()
