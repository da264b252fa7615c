"""A consumer group seen from outside: its members, its committed offsets, and setting them while nobody is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from worker.errors import Fatal
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.ledger import Position
from worker.kafka.properties import client_properties
from worker.kafka.settings import KafkaSettings

T = TypeVar("T")

_TIMEOUT_S = 10.0
_HINTS = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: "ask for READ and DESCRIBE on the group",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "ask for READ on the topic",
    KafkaError.UNKNOWN_MEMBER_ID: "a member came in between: stop all workers of the group first",
    KafkaError.UNSTABLE_OFFSET_COMMIT: "a transaction of the group is still open: wait until it has ended",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a group."""

    client: str
    host: str
    partitions: frozenset[tuple[str, int]]

    def __str__(self) -> str:
        return f"{self.client} on {self.host.removeprefix('/')}"


@dataclass(frozen=True, slots=True)
class Membership:
    """Who is in a group."""

    state: str
    """In the broker's words: stable, empty, dead (there is no such group), ..."""
    members: tuple[Member, ...]

    @property
    def exists(self) -> bool:
        return self.state != "dead"

    def __str__(self) -> str:
        count = len(self.members)
        return f"{self.state}, {count} member{'s' if count != 1 else ''}" if self.exists else "there is no such group"


class GroupLook:
    """One group. Each call asks its coordinator; Fatal where that does not answer, or refuses."""

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self.group = group
        self._admin = open_client(AdminClient, client_properties(settings), ClientErrors("admin"))

    def membership(self) -> Membership:
        futures = self._admin.describe_consumer_groups([self.group], request_timeout=_TIMEOUT_S)
        found = self._answer(futures[self.group])
        state = found.state if isinstance(found.state, ConsumerGroupState) else ConsumerGroupState.UNKNOWN
        members = tuple(
            Member(
                each.client_id,
                each.host,
                frozenset((entry.topic, entry.partition) for entry in each.assignment.topic_partitions or ()),
            )
            for each in found.members or ()
        )
        return Membership(state.name.lower(), members)

    def committed(self, topic: str, numbers: Iterable[int]) -> dict[int, Position]:
        """The committed offsets of the partitions that have one."""
        return self.told(self.ask(topic, numbers))

    def ask(self, topic: str, numbers: Iterable[int]) -> Future[ConsumerGroupTopicPartitions]:
        """Ask for the committed offsets; `told` has them when the future is done."""
        wanted = ConsumerGroupTopicPartitions(self.group, [TopicPartition(topic, number) for number in numbers])
        return self._admin.list_consumer_group_offsets([wanted], request_timeout=_TIMEOUT_S)[self.group]

    def told(self, answer: Future[ConsumerGroupTopicPartitions]) -> dict[int, Position]:
        """What `ask` asked for, waiting for it where it is not there yet."""
        found = self._checked(answer)
        return {e.partition: Position(e.offset, metadata=e.metadata or "") for e in found if e.offset >= 0}

    def set(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets in the name of a group that has no members."""
        entries = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        wanted = ConsumerGroupTopicPartitions(self.group, entries)
        futures = self._admin.alter_consumer_group_offsets([wanted], request_timeout=_TIMEOUT_S)
        self._checked(futures[self.group])

    def _checked(self, future: Future[ConsumerGroupTopicPartitions]) -> list[TopicPartition]:
        """The partitions of an answer, in which each has an error of its own."""
        entries = self._answer(future).topic_partitions or []
        for entry in entries:
            if entry.error is not None:
                raise self._failed(entry.error)
        return entries

    def _answer(self, future: Future[T]) -> T:
        try:
            return future.result()
        except KafkaException as error:
            raise self._failed(error.args[0]) from error

    def _failed(self, error: KafkaError) -> Fatal:
        hint = _HINTS.get(error.code(), "is the cluster well, and is this its group?")
        return Fatal(f"group {self.group}: {error.str()} ({error.name()}): {hint}")
