"""How a member uses its client, and what becomes of what that says: commits above all. The client is a fake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from structlog.typing import EventDict

from tests.unit.kafka.test_member import NOWHERE, Noting
from worker.errors import Fatal
from worker.kafka import member as room
from worker.kafka import scout
from worker.kafka.bounds import Bounds
from worker.kafka.clients import ClientErrors, Throttle
from worker.kafka.ledger import Position
from worker.kafka.member import Member
from worker.kafka.settings import KafkaSettings
from worker.kafka.topic_id import TopicWatch
from worker.kafka.window import Window

A, B = ("images", 0), ("images", 1)
WHOLE = KafkaSettings(bootstrap_servers=NOWHERE)


class Client:
    def __init__(self) -> None:
        self.commits: list[tuple[list[TopicPartition], bool]] = []
        self.refuses: KafkaError | None = None
        self.subscribed: list[str] = []
        self.callbacks: dict[str, Any] = {}
        self.polls: list[float] = []
        self.answers: Callable[[], None] = lambda: None
        """What a poll calls back."""
        self.given_up: list[int] = []
        self.closed = False

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        if self.refuses is not None:
            raise KafkaException(self.refuses)
        self.commits.append((offsets, asynchronous))

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        held = {0: TopicPartition(*A, 7, "more"), 1: TopicPartition(*B, 0)}
        return [held.get(each.partition, TopicPartition(each.topic, each.partition, -1001)) for each in partitions]

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self.subscribed, self.callbacks = topics, callbacks

    def poll(self, timeout_s: float) -> None:
        self.polls.append(timeout_s)
        self.answers()

    def consumer_group_metadata(self) -> str:
        return "of today"

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.given_up += [each.partition for each in partitions]

    def incremental_assign(self, partitions: list[TopicPartition]) -> None: ...
    def position(self, partitions: list[TopicPartition]) -> None: ...
    def pause(self, partitions: list[TopicPartition]) -> None: ...

    def close(self) -> None:
        self.closed = True


class Room:
    """A member with such a client, and what it was opened with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, window: Window | None = None) -> None:
        self.client = Client()
        self.properties: dict[str, Any] = {}
        monkeypatch.setattr(room, "open_client", self._open)
        monkeypatch.setattr(scout, "open_client", lambda *_: self.client)
        self.listener = Noting()
        self.member = Member(WHOLE, self.listener, TopicWatch(WHOLE), Throttle("consumer"), window)

    def _open(
        self, _kind: object, properties: dict[str, Any], _errors: ClientErrors, throttle: Throttle | None = None
    ) -> Client:
        assert throttle is not None, "a quota would be taken for an outage"
        self.properties = properties
        return self.client

    def answered(self, overall: KafkaError | None, *of_partitions: KafkaError | None) -> None:
        entries: list[Any] = [type("Entry", (), {"error": error})() for error in of_partitions]
        self.properties["on_commit"](overall, entries)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(monkeypatch)


def sent(whole: Room) -> None:
    """A commit is under way, of which the group says nothing yet."""
    assert not whole.member.committer.commit({A: Position(9, metadata="done")}, 0.001)
    assert whole.member.committer.unanswered == 1


def test_it_joins_the_group_of_its_topic_once_and_hears_of_rebalances(whole: Room) -> None:
    for _ in range(2):
        whole.member.poll(0.5)
    client = whole.client
    assert (client.subscribed, client.polls) == (["images"], [0.5, 0.5])
    client.subscribed = []
    whole.member.poll(0)
    assert client.subscribed == []
    client.callbacks["on_assign"](client, [TopicPartition(*A), TopicPartition(*B)])
    client.callbacks["on_revoke"](client, [TopicPartition(*A)])
    client.callbacks["on_lost"](client, [TopicPartition(*B)])
    whole.member.poll(0)
    listener = whole.listener
    assert (listener.given, listener.heard, listener.missed) == ([A, B], [A], [B])


@pytest.mark.parametrize("replay", [False, True])
def test_only_a_replay_is_told_the_ends_of_partitions(monkeypatch: pytest.MonkeyPatch, replay: bool) -> None:
    standing: Any = None
    whole = Room(monkeypatch, Window(Bounds({}, "asked"), standing) if replay else None)
    assert whole.properties["enable.partition.eof"] is replay
    assert (whole.member.starts._bounds is not None) is replay


def test_a_membership_lasts_until_it_is_lost(whole: Room) -> None:
    client: Any = whole.client
    assert (whole.member.joined, whole.member.generation) == (False, None)
    whole.member._on_assign(client, [TopicPartition(*A), TopicPartition(*B)])
    assert (whole.member.joined, whole.member.generation) == (True, "of today")
    assert whole.member.starts.waiting.keys() == {A, B}
    whole.member._on_revoke(client, [TopicPartition(*A)])
    assert whole.member.generation == "of today"
    assert whole.member.starts.waiting.keys() == {B}
    whole.member._on_lost(client, [TopicPartition(*B)])
    assert whole.member.generation is None
    assert whole.client.given_up == [0, 1]
    assert not whole.member.starts.waiting


def test_whoever_waits_for_partitions_hears_whether_the_group_answers(whole: Room) -> None:
    def reach() -> object:
        joining = whole.member._joining
        return None if joining is None else joining._ask

    assert reach() == whole.member.starts.reach
    client: Any = whole.client
    whole.member._on_assign(client, [TopicPartition(*A)])
    assert reach() is None
    whole.member._on_lost(client, [TopicPartition(*A)])
    assert reach() == whole.member.starts.reach


def test_its_starts_are_asked_for_with_its_own_client(whole: Room) -> None:
    """Of the coordinator that has given it the partitions."""
    client: Any = whole.client
    assert whole.member.starts._asker._client is client


def test_what_is_committed_is_told_with_its_metadata_where_there_is_something(whole: Room) -> None:
    found = whole.member.committed([A, B, ("images", 2)], 1.0)
    assert found == {A: Position(7, metadata="more"), B: Position(0, metadata="")}


def test_a_commit_is_sent_without_waiting_with_offset_and_metadata(whole: Room) -> None:
    sent(whole)
    (((offset,), asynchronous),) = whole.client.commits
    assert asynchronous
    assert (offset.topic, offset.partition, offset.offset, offset.metadata) == (*A, 9, "done")
    whole.answered(None, None)
    assert whole.member.committer.unanswered == 0
    whole.member.poll(0)


@pytest.mark.parametrize("of_partition", [False, True])
def test_a_commit_that_is_refused_for_good_ends_the_worker_in_the_poll_that_hears_of_it(
    whole: Room, of_partition: bool
) -> None:
    sent(whole)
    error = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
    whole.client.answers = lambda: whole.answered(*(None, None, error) if of_partition else (error, None))
    with pytest.raises(Fatal, match="ask for READ on the group"):
        whole.member.poll(0)
    assert whole.member.committer.unanswered == 0
    whole.client.answers = lambda: None
    whole.member.poll(0)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("code", [KafkaError.REBALANCE_IN_PROGRESS, KafkaError._FATAL])
def test_a_commit_that_a_poll_may_help_is_tried_again(
    whole: Room, code: int, at_once: bool, logs: list[EventDict]
) -> None:
    """Of a client that is over a poll says why."""
    if at_once:
        whole.client.refuses = KafkaError(code)
        assert not whole.member.committer.commit({A: Position(9)}, 0.001)
    else:
        sent(whole)
        whole.client.answers = lambda: whole.answered(KafkaError(code))
    assert whole.member.committer.unanswered == (0 if at_once else 1)
    whole.member.poll(0)
    assert whole.member.committer.unanswered == 0
    assert [line["code"] for line in logs if line["event"] == "kafka.commit_refused"] == [KafkaError(code).name()]


def test_a_commit_that_is_refused_for_good_at_once_ends_the_worker(whole: Room) -> None:
    whole.client.refuses = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(Fatal, match="ask for READ on the input topic"):
        whole.member.committer.commit({A: Position(9)}, 0.001)
    assert whole.member.committer.unanswered == 0


def test_the_first_of_several_failures_is_raised_and_once(whole: Room) -> None:
    def fail(what: str) -> None:
        def act() -> None:
            raise Fatal(what)

        whole.member._guarded(act)

    fail("first")
    fail("second")
    with pytest.raises(Fatal, match="first"):
        whole.member.poll(0)
    whole.member.poll(0)


def test_leaving_waits_for_the_answer_to_a_commit(whole: Room) -> None:
    sent(whole)
    whole.client.answers = lambda: whole.answered(None) if len(whole.client.polls) == 3 else None
    whole.member.leave()
    assert whole.client.polls == [room._LAST_POLL_S] * 3
    assert whole.client.closed


def test_leaving_does_not_wait_for_an_answer_that_does_not_come(whole: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LAST_COMMIT_S", 0.0)
    sent(whole)
    whole.member.leave()
    assert whole.client.polls == []
    assert whole.client.closed
