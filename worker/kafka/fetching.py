"""Which of the assigned partitions are fetched, and from where: paused, held, shunned, not begun yet, read again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.kafka.entries import partitions_of
from worker.kafka.ledger import Partition


class Fetching:
    """Part of the source, and like it used by the Kafka thread alone."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._begun: set[Partition] = set()
        """What may be read, where it is assigned still."""
        self.paused = False
        """Whether nothing is fetched at all."""
        self.held: set[Partition] = set()
        """What is left alone even where others are fetched."""
        self.shunned: set[Partition] = set()
        """What is left alone until it is assigned anew, since what comes next cannot be read."""

    def assign(self, partitions: Collection[Partition]) -> None:
        """Take what was just assigned, of which nothing is read until it is begun. To be called in the assign callback.

        A later `incremental_assign` would make librdkafka forget that an assignment was lost. So they are assigned at
        any offset, and paused before that: librdkafka pauses no partition of which it has not heard, be it that it was
        asked for its position. At no logical offset: the leader's late answer would undo a seek (read in 2.16).
        """
        self._consumer.position([TopicPartition(*partition) for partition in partitions])
        self.stop(partitions)
        self._consumer.incremental_assign([TopicPartition(*partition, 0) for partition in partitions])

    def stop(self, partitions: Collection[Partition]) -> None:
        """Fetch nothing of these until they are begun."""
        self._begun.difference_update(partitions)
        self.shunned.difference_update(partitions)
        self._consumer.pause([TopicPartition(*partition) for partition in partitions])

    def begin(self, start: TopicPartition) -> bool:
        """Read an assigned partition from there. False where that cannot be said yet.

        A seek has the partition's leader asked whether its log still has what was read before the start (KIP-320); an
        assignment does not (seen in 2.16). Where the answer is no, a poll says so, before it brings records.
        """
        if not self._seek(start):
            return False
        self._begun.add((start.topic, start.partition))
        if not self.paused and self._is_open((start.topic, start.partition)):
            self._consumer.resume([start])
        return True

    def shun(self, partition: Partition) -> None:
        """Leave a partition alone until it is assigned anew, since what comes next in it cannot be read.

        librdkafka would go on behind it, or at an offset that it takes damaged bytes for, and then not at all until the
        next assignment (seen in 2.16).
        """
        self.shunned.add(partition)
        self._consumer.pause(self._assigned(partition.__eq__))

    def pause(self) -> None:
        """Stop fetching; polls go on. Throws the prefetch away, so it is for sustained pressure only."""
        self.paused = True
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        self.paused = False
        self._consumer.resume(self._assigned(self._is_open))

    def hold(self, partitions: set[Partition]) -> None:
        """Fetch nothing of these for now, and go on with those that were held before."""
        stop, go_on = partitions - self.held, self.held - partitions
        self.held = set(partitions)
        if not self.paused:
            self._consumer.pause(self._assigned(stop.__contains__))
            self._consumer.resume(self._assigned(lambda partition: partition in go_on and self._is_open(partition)))

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        """Go back to these offsets in the partitions that are still assigned."""
        for topic, number in (each for each in partitions_of(self._consumer.assignment()) if each in offsets):
            # Where a commit holds the assignment back, nothing was read yet.
            self._seek(TopicPartition(topic, number, offsets[topic, number]))

    def _is_open(self, partition: Partition) -> bool:
        return partition in self._begun and partition not in self.held and partition not in self.shunned

    def _assigned(self, wanted: Callable[[Partition], bool]) -> list[TopicPartition]:
        return [TopicPartition(*each) for each in partitions_of(self._consumer.assignment()) if wanted(each)]

    def _seek(self, to: TopicPartition) -> bool:
        """False where a commit under way holds the assignment back."""
        while True:
            try:
                self._consumer.seek(to)
            except KafkaException as error:
                # A pause or a beginning of librdkafka's own overtook it on the way to its thread (read in 2.16).
                if error.args[0].code() == KafkaError._OUTDATED:
                    continue
                if error.args[0].code() != KafkaError._STATE:
                    raise
                return False
            return True
