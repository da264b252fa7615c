"""A consumer group seen from outside: its members, its committed offsets, and setting them while nobody is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._group import ConsumerGroupDescription

from worker.errors import Fatal
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.coordinator import ANSWER_S, ENDLESS_S, Coordinator
from worker.kafka.entries import checked
from worker.kafka.ledger import Position
from worker.kafka.patience import AT_A_TERMINAL_S, patiently
from worker.kafka.properties import client_properties
from worker.kafka.settings import KafkaSettings

T = TypeVar("T")

_HINTS = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: "ask for READ and DESCRIBE on the group",
    KafkaError.GROUP_ID_NOT_FOUND: "a group of another kind (share, streams) may have this name: take another one for "
    "the worker's (kafka.group_id), or delete that one",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "ask for READ on the topic",
    KafkaError.UNKNOWN_MEMBER_ID: "a member came in between: stop all workers of the group first",
    KafkaError.UNSTABLE_OFFSET_COMMIT: "a transaction of the group is still open: wait until it has ended",
}


@dataclass(frozen=True, slots=True)
class GroupMember:
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
    members: tuple[GroupMember, ...]

    @property
    def exists(self) -> bool:
        return self.state != "dead"

    def __str__(self) -> str:
        count = len(self.members)
        if not self.exists:
            return "there is no consumer group of this name"
        return f"{self.state}, {count} member{'s' if count != 1 else ''}"


class GroupLook:
    """One group. Each call asks its coordinator; Fatal where that refuses, or does not answer for `patience_s`."""

    def __init__(self, settings: KafkaSettings, group: str, patience_s: float = AT_A_TERMINAL_S) -> None:
        self.group = group
        self._patience_s = patience_s
        self._coordinator = Coordinator(settings)
        # It joins nothing. An AdminClient that asks for offsets while their coordinator moves ends the process with a
        # segmentation fault (seen in librdkafka 2.16.0, in rd_kafka_handle_OffsetFetch).
        asker = {**client_properties(settings), "group.id": group, "isolation.level": "read_uncommitted"}
        self._asker = open_client(Consumer, asker, ClientErrors("offsets"))

    def membership(self) -> Membership:
        found = self._ask(lambda: self._coordinator.ask(self._describe), self._patience_s)
        state = found.state if isinstance(found.state, ConsumerGroupState) else ConsumerGroupState.UNKNOWN
        members = tuple(
            GroupMember(
                each.client_id,
                each.host,
                frozenset((entry.topic, entry.partition) for entry in each.assignment.topic_partitions or ()),
            )
            for each in found.members or ()
        )
        return Membership(state.name.lower(), members)

    def committed(self, topic: str, numbers: Iterable[int], patience_s: float | None = None) -> dict[int, Position]:
        """The committed offsets of the partitions that have one. `patience_s`: another one than the group's."""
        wanted = [TopicPartition(topic, number) for number in numbers]
        patience_s = self._patience_s if patience_s is None else patience_s
        timeout_s = min(ANSWER_S, patience_s)
        try:
            found = self._ask(lambda: checked(self._asker.committed(wanted, timeout=timeout_s)), patience_s)
        finally:
            self._asker.poll(0)  # what it was told of an outage would gather
        return {e.partition: Position(e.offset, metadata=e.metadata or "") for e in found if e.offset >= 0}

    def set(self, topic: str, positions: Mapping[int, Position]) -> None:
        """Commit in the name of a group that has no members."""
        entries = [TopicPartition(topic, n, each.offset, metadata=each.metadata) for n, each in positions.items()]
        wanted = ConsumerGroupTopicPartitions(self.group, entries)
        try:
            self._ask(lambda: self._coordinator.ask(partial(self._alter, wanted)), self._patience_s)
        except Fatal as error:
            raise Fatal(f"{error}; look with `image-worker offsets show` whether some of it was moved") from error

    def _describe(self, admin: AdminClient) -> ConsumerGroupDescription:
        futures = admin.describe_consumer_groups([self.group], request_timeout=ENDLESS_S)
        found: ConsumerGroupDescription = futures[self.group].result(ANSWER_S)
        return found

    def _alter(self, wanted: ConsumerGroupTopicPartitions, admin: AdminClient) -> None:
        futures = admin.alter_consumer_group_offsets([wanted], request_timeout=ENDLESS_S)
        checked(futures[self.group].result(ANSWER_S).topic_partitions or [])

    def _ask(self, call: Callable[[], T], patience_s: float) -> T:
        """Fatal where the coordinator refuses, or does not answer in time."""
        try:
            return patiently(call, patience_s)
        except KafkaException as error:
            raise self._failed(error.args[0]) from error

    def _failed(self, error: KafkaError) -> Fatal:
        hint = _HINTS.get(error.code(), "is the cluster well, and is this its group?")
        return Fatal(f"group {self.group}: {error.str()} ({error.name()}): {hint}")
