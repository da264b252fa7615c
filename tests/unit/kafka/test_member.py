"""What librdkafka does now and then: a rebalance in which it has no membership to tell, a goodbye that never ends, a
loss that it never tells of.

All were seen while the brokers were away, and no broker can be made to bring the first two about: so the clients here
are fakes. A closed client is real, and has no membership either. The last is in tests/broker/test_expired.py, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tests.broker.test_faults import wait_for
from tests.clusters import PATIENCE_S
from worker.kafka.ledger import Partition, Position
from worker.kafka.member import Member, _generation
from worker.kafka.settings import KafkaSettings
from worker.kafka.source import Source
from worker.kafka.starts import Start

NOWHERE = "127.0.0.1:1"


class Leaving:
    """A client that has left its group by itself."""

    def __init__(self) -> None:
        self.unassigned: list[TopicPartition] = []

    def consumer_group_metadata(self) -> object:
        raise RuntimeError("no group metadata")

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.unassigned += partitions


class Expired(Leaving):
    """A client that missed its polls, and joined again without saying so: nothing of it was lost as far as it says."""

    def __init__(self) -> None:
        super().__init__()
        self.assigned: list[int] = []
        self.expired = False
        self.paused: list[int] = []
        self.resumed: list[int] = []
        self.sought: list[tuple[int, int]] = []

    def poll(self, timeout_s: float) -> Message | None:
        expired, self.expired = self.expired, False
        return Message(error=KafkaError(KafkaError._MAX_POLL_EXCEEDED)) if expired else None

    def consumer_group_metadata(self) -> object:
        return "of the client"

    def subscribe(self, topics: list[str], **callbacks: Any) -> None: ...

    def forget(self) -> None:
        for calls in (self.assigned, self.paused, self.resumed, self.sought):
            calls.clear()

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(each.topic, each.partition, 70 + each.partition) for each in partitions]

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("images", number) for number in (0, 1)]

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned += [each.partition for each in partitions]

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return partitions

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused += [each.partition for each in partitions]

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.resumed += [each.partition for each in partitions]

    def seek(self, start: TopicPartition) -> None:
        self.sought += [(start.partition, start.offset)]


class Noting:
    """Notes what it hears of rebalances."""

    def __init__(self) -> None:
        self.heard: list[Partition] = []
        self.missed: list[Partition] = []
        self.given: list[Partition] = []
        self.starts: dict[Partition, int] = {}

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self.given += partitions

    def begun(self, starts: Mapping[Partition, Start]) -> None:
        self.starts |= {partition: start.position.offset for partition, start in starts.items()}

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self.heard += partitions

    def lost(self, partitions: Sequence[Partition]) -> None:
        self.missed += partitions

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        return True


@pytest.fixture
def listener() -> Noting:
    return Noting()


@pytest.fixture
def source(listener: Noting) -> Source:
    return Source(KafkaSettings(bootstrap_servers=NOWHERE), listener)


@pytest.fixture
def member(source: Source) -> Member:
    return source._member


def test_partitions_are_given_up_and_drained_though_there_is_no_membership_any_more(
    source: Source, member: Member, listener: Noting
) -> None:
    client: Any = Leaving()
    member.client = client
    member.generation = "that of before"
    member._on_revoke(client, [TopicPartition("images", 3)])
    assert listener.heard == [("images", 3)]
    assert client.unassigned == [TopicPartition("images", 3)]
    assert source.membership is None, "a transaction would send its offsets with one that is over"
    member._raise_failure()


def test_a_client_that_is_closed_has_no_membership() -> None:
    consumer = Consumer({"bootstrap.servers": NOWHERE, "group.id": "images", "log_level": 0})
    consumer.close()
    assert _generation(consumer) is None


def test_after_the_poll_interval_all_is_void_and_begins_again_where_the_group_is_though_no_callback_says_it_was_lost(
    source: Source, member: Member, listener: Noting
) -> None:
    client: Any = Expired()
    member.client = member.fetching._consumer = client
    member.starts._asker._client = member.starts._scout._client = client
    member._on_assign(client, [TopicPartition("images", 1), TopicPartition("images", 0)])
    wait_for(lambda: source.poll(0) is not None or len(listener.starts) == 2, "both begin")
    client.forget()
    listener.given.clear()
    client.expired = True
    assert source.poll(0) is None
    assert listener.missed == [("images", 0), ("images", 1)]
    assert source.membership is None, "its offsets may be someone else's by now"
    assert sorted(client.paused) == [0, 1], "nor are their records"
    source.fetching.resume()
    assert client.resumed == []
    client.paused.clear()
    member._on_revoke(client, [TopicPartition("images", 1)])
    member._on_assign(client, [TopicPartition("images", 2)])
    assert client.assigned == [2]
    assert client.paused == [2, 0]
    assert listener.given == [("images", 2), ("images", 0)]
    listener.starts.clear()
    wait_for(lambda: source.poll(0) is not None or len(listener.starts) == 2, "both begin")
    assert listener.starts == {("images", 2): 72, ("images", 0): 70}
    assert sorted(client.sought) == [(0, 70), (2, 72)]
    assert sorted(client.resumed) == [0, 2]
    member._on_assign(client, [])
    assert client.paused == [2, 0], "once"


class Over(Leaving):
    """A client whose goodbye calls back what it had to say still."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.member = member
        self.gone = threading.Event()

    def close(self) -> None:
        client: Any = self
        self.member._on_revoke(client, [TopicPartition("images", 0)])
        self.gone.set()


def test_a_member_that_is_over_calls_nothing_back_and_the_next_one_fetches_no_more_than_it_did(
    source: Source, member: Member, listener: Noting
) -> None:
    client: Any = Over(member)
    member.client = client
    source.fetching.paused = True
    source._begin_anew(KafkaError(KafkaError._FATAL))
    assert client.gone.wait(PATIENCE_S)
    assert listener.heard == []
    assert source._member is not member
    assert source.fetching.paused, "the intake is paused still, and says when to go on"


def test_an_id_that_is_taken_for_longer_than_a_session_is_another_workers(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = KafkaError(KafkaError._FATAL, KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str())
    now_s = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    monkeypatch.setattr("worker.kafka.source._PAUSE_S", 0.0)
    assert source._can_begin_anew(taken), "whoever has it may be dead"
    source._begin_anew(taken)
    now_s += 59.9
    assert source._can_begin_anew(taken)
    now_s += 0.1
    assert not source._can_begin_anew(taken)
    source._member.joined = True
    assert not source._can_begin_anew(taken), "it was ours, and is another's now"
    source._begin_anew(KafkaError(KafkaError._FATAL))
    assert source._can_begin_anew(taken), "ours is over, and may hold it still"


class Endless:
    """A client whose goodbye is answered when it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def close(self) -> None:
        self.let_go.wait()


def test_a_goodbye_that_is_not_answered_keeps_no_worker_from_leaving_and_later_callbacks_do_nothing(
    source: Source, member: Member, listener: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.kafka.goodbye._GOODBYE_S", 0.01)
    client = Endless()
    member.client = client  # type: ignore[assignment]
    source.close()
    assert not client.let_go.is_set()
    member._on_revoke(Leaving(), [TopicPartition("t", 0)])  # type: ignore[arg-type]
    assert listener.heard == []
    client.let_go.set()
