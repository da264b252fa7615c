"""What a member asks of the group's coordinator, to find out where the partitions that it was given begin."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.kafka.bounds import Bounds
from worker.kafka.entries import checked
from worker.kafka.ledger import Partition
from worker.kafka.progress import Progress
from worker.kafka.scout import Watermarks
from worker.kafka.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Found:
    """What the group has committed for a partition; where it has nothing, where the partition begins instead."""

    committed: TopicPartition
    begin: Progress | None

    @property
    def partition(self) -> Partition:
        return (self.committed.topic, self.committed.partition)


class Asker:
    """Each call waits for its answer, and raises KafkaException where there is none."""

    def __init__(self, settings: KafkaSettings, client: Consumer, bounds: Bounds | None = None) -> None:
        """`bounds`: of a replay, which decides where there is no committed offset."""
        self._topic = settings.topics.input
        self._at_end = settings.start == "latest"
        self._client = client
        self._bounds = bounds
        self._old: Collection[Partition] = ()
        """The partitions that were there when the group began; none where it began before this member looked."""

    def look(self, timeout_s: float) -> None:
        """Note whether the group begins only now. To be called before it is joined."""
        if self._at_end:
            found = self._client.list_topics(self._topic, timeout=timeout_s).topics[self._topic]
            if found.error is not None or not found.partitions:
                # A broker that does not know the topic yet: of no partition nothing would be committed.
                raise KafkaException(found.error or KafkaError(KafkaError._UNKNOWN_PARTITION))
            partitions = {(self._topic, number) for number in found.partitions}
            begun = any(entry.offset >= 0 for entry in self.committed(partitions, timeout_s))
            self._old = () if begun else partitions

    @property
    def saw_it_begin(self) -> bool:
        """Whether the group began only when this member looked."""
        return bool(self._old)

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> list[TopicPartition]:
        """What is committed for each. The coordinator tells it for all of them, or not at all in this time."""
        return checked(self._client.committed([TopicPartition(*each) for each in partitions], timeout=timeout_s))

    def find(
        self, partitions: Iterable[Partition], seen: Mapping[Partition, Watermarks], timeout_s: float
    ) -> list[Found]:
        """What is committed for each, and where those begin of which nothing is; those that are not known left out.

        `seen`: by the scout, which may have found something committed where there is nothing now.
        """
        found = [Found(each, self._begin(each, seen)) for each in self.committed(partitions, timeout_s)]
        return [each for each in found if each.begin is not None or each.committed.offset >= 0]

    def _begin(self, entry: TopicPartition, seen: Mapping[Partition, Watermarks]) -> Progress | None:
        partition = (entry.topic, entry.partition)
        if entry.offset >= 0:
            return None
        if self._bounds is not None and (begin := self._bounds.begin(partition)) is not None:
            return begin
        if (watermarks := seen.get(partition)) is None:
            return None
        return Progress(watermarks.high if self._at_end and partition in self._old else watermarks.low)
