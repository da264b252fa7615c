"""A few records of a window, read outside any group: how dense the offsets are, and how large the records.

They are of three stretches of each partition, its beginning, its middle and its end: what is written to a topic changes
with time, and compaction leaves less of what is old.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    offsets: int
    """How many offsets were read for them: more, where transaction markers and compaction left gaps."""

    @property
    def density(self) -> float:
        """Records an offset, from 0 to 1."""
        return len(self.records) / self.offsets if self.offsets else 0.0

    @property
    def record_bytes(self) -> float:
        """Bytes of key, value and headers, on average."""
        return sum(map(size_bytes, self.records)) / len(self.records) if self.records else 0.0


def take(settings: KafkaSettings, topic: str, spans: Mapping[int, Span], count: int) -> Sample:
    """Up to so many records in all. Joins no group. What does not come in ten seconds is done without."""
    begun = {number: span for number, span in spans.items() if span[0] < span[1]}
    each = -(-count // max(1, _STRETCHES * len(begun)))
    stretches = {number: _stretches(span, each) for number, span in begun.items()}
    rounds = [
        {number: _Lane(*lanes[nth], wanted=each, reached=lanes[nth][0]) for number, lanes in stretches.items()}
        for nth in range(_STRETCHES)
    ]
    if begun:
        _read(settings, topic, rounds)
    read = [lane for lanes in rounds for lane in lanes.values()]
    records = tuple(record for lane in read for record in lane.records)
    return Sample(records, sum(lane.reached - lane.start for lane in read))


def _stretches(span: Span, each: int) -> list[Span]:
    """Where to read: each up to where the next one begins, where its records do not come sooner."""
    start, end = span
    last = max(start, end - each)
    begins = [start + (last - start) * nth // (_STRETCHES - 1) for nth in range(_STRETCHES)]
    return list(zip(begins, [*begins[1:], end], strict=True))


@dataclass(slots=True)
class _Lane:
    """What was read of one stretch of a partition."""

    start: int
    end: int
    wanted: int
    reached: int
    records: list[SourceRecord] = field(default_factory=list)
    done: bool = False

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
