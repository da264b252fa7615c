"""Where the offsets of a topic begin and end, and which one a point stands for. Joins no group and commits nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_INVALID, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import ListOffsetsResultInfo, OffsetSpec

from worker.errors import ConfigurationError, Fatal
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.patience import AT_A_TERMINAL_S, patiently
from worker.kafka.points import Point
from worker.kafka.properties import client_properties
from worker.kafka.settings import KafkaSettings
from worker.kafka.topic_id import ask_id, told_id
from worker.kafka.topics import ClusterLook

_TIMEOUT_S = 10.0
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Extent:
    """The offsets that a partition has."""

    low: int
    """Of the first record that is still there."""
    stable: int
    """The end for readers of committed transactions: before the first transaction that is open."""
    high: int
    """The end of all that was written: what is in open transactions may still be committed, and is before it."""

    def before(self, offset: int) -> Extent:
        """The part that is before an offset."""
        return Extent(min(self.low, offset), min(self.stable, offset), min(self.high, offset))

    def within(self, offset: int) -> int:
        """The nearest offset that a reader can begin at."""
        return min(max(offset, self.low), self.stable)


class TopicOffsets:
    """Some partitions of one topic. Each call asks the brokers; Fatal where they do not answer for `patience_s`."""

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        numbers: Iterable[int] = (),
        *,
        patience_s: float = AT_A_TERMINAL_S,
    ) -> None:
        """All partitions where none are named. Raises Fatal for a topic, ConfigurationError for a partition, that is
        not there.
        """
        look = ClusterLook(settings)
        for finding in look.missing([topic]):
            raise Fatal(f"{finding.subject}: {finding.result}: {finding.remedy}")
        count = look.partitions(topic) or 0
        self.topic = topic
        self._patience_s = patience_s
        self.all_numbers = tuple(range(count))
        named = tuple(sorted(set(numbers)))
        self.named = bool(named)
        """Whether the partitions were named."""
        self.numbers = named or self.all_numbers
        if unknown := [number for number in self.numbers if number >= count]:
            raise ConfigurationError(f"--partitions {unknown[0]}: topic {topic} has the partitions 0 to {count - 1}")
        self._admin = open_client(AdminClient, client_properties(settings), ClientErrors("admin"))

    def topic_id(self) -> str | None:
        """Which topic this is; None where the cluster gives topics no ids. Fatal where nobody answers."""
        try:
            return patiently(self._ask_id, self._patience_s)
        except KafkaException as error:
            raise Fatal(f"the id of topic {self.topic} cannot be had: {error.args[0].str()}") from error

    def _ask_id(self) -> str | None:
        try:
            return told_id(ask_id(self._admin, self.topic))
        except TimeoutError as error:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error

    def extents(self) -> dict[int, Extent]:
        committed, all_ = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED
        low = self._ask(_EARLIEST, all_)
        stable, high = self._ask(_LATEST, committed), self._ask(_LATEST, all_)
        return {n: Extent(low[n].offset, stable[n].offset, high[n].offset) for n in self.numbers}

    def at(self, point: Point, ends: Mapping[int, int], extents: Mapping[int, Extent]) -> dict[int, int]:
        """The offset that a point stands for in each partition, its end being that of `ends`.

        A time is that of the first record from then on, or the end where there is none. An offset is taken as it is.
        """
        if point.offset is not None:
            return dict.fromkeys(self.numbers, point.offset)
        if point.time_ms is not None:
            found = self._ask(OffsetSpec.for_timestamp(point.time_ms), IsolationLevel.READ_UNCOMMITTED)
            return {n: min(f.offset, ends[n]) if f.offset >= 0 else ends[n] for n, f in found.items()}
        return {number: ends[number] if point.end else extents[number].low for number in self.numbers}

    def _ask(self, spec: OffsetSpec, isolation: IsolationLevel) -> dict[int, ListOffsetsResultInfo]:
        asked = {TopicPartition(self.topic, number): spec for number in self.numbers}

        def ask() -> dict[int, ListOffsetsResultInfo]:
            # Of a partition without a leader librdkafka 2.16 asks nobody again by itself (scout.py).
            self._admin.list_topics(self.topic, timeout=_TIMEOUT_S)
            futures = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=_TIMEOUT_S)
            found = {key.partition: future.result() for key, future in futures.items()}
            if any(each.offset == OFFSET_INVALID for each in found.values()):
                # What librdkafka 2.16 says, and not an error, of partitions whose broker did not answer in time.
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return found

        try:
            return patiently(ask, self._patience_s)
        except KafkaException as error:
            raise Fatal(f"the offsets of topic {self.topic} cannot be had: {error.args[0].str()}") from error
