"""For tests of where partitions begin: the coordinator they ask, which is a fake, and the starts over it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tests.broker.test_faults import wait_for
from tests.unit.kafka.test_member import NOWHERE
from worker.kafka.bounds import Bounds
from worker.kafka.ledger import Partition, Position
from worker.kafka.settings import KafkaSettings
from worker.kafka.starts import Starts
from worker.kafka.topic_id import TopicWatch

A, B, C = (("images", number) for number in range(3))


class Coordinator:
    """The client that asks it, with what the group has committed."""

    def __init__(self) -> None:
        self.offsets: dict[Partition, int] = {A: 10, B: 20, C: 30}
        self.held_back: set[Partition] = set()
        """By a transaction that is open."""
        self.takes_s = 0.0
        """To answer."""
        self.refuses: KafkaError | None = None
        self.metadata = ""
        self.leader_epoch = 5
        self.asked: list[list[int]] = []
        self.answers = threading.Event()
        self.answers.set()

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        wanted = [(each.topic, each.partition) for each in partitions]
        self.asked.append([number for _, number in wanted])
        self.answers.wait()
        if self.refuses is not None:
            raise KafkaException(self.refuses)
        if self.held_back & set(wanted) or timeout < self.takes_s:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        epoch = {"leader_epoch": self.leader_epoch}
        return [TopicPartition(*each, self.offsets.get(each, -1001), self.metadata, **epoch) for each in wanted]

    def poll(self, timeout_s: float) -> None: ...

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        return (3, 7)


class Room:
    """The starts, and what they commit."""

    def __init__(self, bounds: Bounds | None = None, **settings: Any) -> None:
        self.coordinator = Coordinator()
        self.committed: dict[Partition, Position] = {}
        self.commits = True
        self.asked = 0
        """How often something was to be committed."""
        self.goes_on = 0
        """How often what is under way was to go on, with nothing more."""
        whole = KafkaSettings(bootstrap_servers=NOWHERE, **settings)
        client: Any = self.coordinator
        self.starts = Starts(whole, client, self.commit, TopicWatch(whole), bounds)
        self.starts._watch._mute = True
        self.starts._scout._client = client

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        self.asked += bool(positions)
        self.goes_on += not positions
        if self.commits:
            self.committed |= positions
        return self.commits

    def ready(self) -> dict[Partition, int]:
        return {partition: start.position.offset for partition, start in self.starts.ready().items()}

    def until(self, *partitions: Partition) -> dict[Partition, int]:
        wait_for(lambda: self.ready().keys() >= set(partitions), "the starts are known")
        return self.ready()

    def answer(self) -> None:
        """The coordinator answers what it was asked."""
        asked = self.starts._asked
        assert asked is not None
        self.coordinator.answers.set()
        wait_for(asked.answer.done, "it answers")
