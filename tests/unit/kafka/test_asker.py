"""Whether a group begins only now, and where its partitions begin. The coordinator is a fake."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tests.unit.kafka.test_member import NOWHERE
from worker.kafka.asker import Asker
from worker.kafka.bounds import Bounds
from worker.kafka.ledger import Partition
from worker.kafka.progress import Progress
from worker.kafka.scout import Watermarks
from worker.kafka.settings import KafkaSettings

A, B, ADDED = (("images", number) for number in range(3))
WATERMARKS = {A: Watermarks(3, 7), B: Watermarks(0, 9), ADDED: Watermarks(2, 5)}
TIMEOUT_S = 0.7


class Group:
    """The client of a group that has committed these offsets, in a topic of two partitions."""

    def __init__(self, **offsets: int) -> None:
        self.partitions: dict[int, None] = {0: None, 1: None}
        self.error: KafkaError | None = None
        self.offsets = {("images", int(number[1:])): offset for number, offset in offsets.items()}

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout == TIMEOUT_S
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=self.partitions, error=self.error)})

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout == TIMEOUT_S
        asked = [(each.topic, each.partition) for each in partitions]
        return [TopicPartition(*each, self.offsets.get(each, -1001)) for each in asked]


def asker(group: Group, start: str, bounds: Bounds | None = None) -> Asker:
    client: Any = group
    found = Asker(KafkaSettings.model_validate({"bootstrap_servers": NOWHERE, "start": start}), client, bounds)
    found.look(TIMEOUT_S)
    return found


def begins(asking: Asker, *partitions: Partition) -> list[Progress | None]:
    return [each.begin for each in asking.find(partitions, WATERMARKS, TIMEOUT_S)]


def test_a_group_that_begins_at_the_end_begins_what_was_added_later_at_its_beginning() -> None:
    asking = asker(Group(), "latest")
    assert asking.saw_it_begin
    assert begins(asking, A, B, ADDED) == [Progress(7), Progress(9), Progress(2)]


def test_a_group_that_has_a_commit_anywhere_has_begun() -> None:
    asking = asker(Group(p0=0), "latest")
    assert not asking.saw_it_begin
    assert begins(asking, A, B) == [None, Progress(0)]


@pytest.mark.parametrize("error", [None, KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)])
def test_a_broker_that_does_not_know_the_topic_yet_says_nothing_of_the_group(
    error: KafkaError | None,
) -> None:
    group = Group()
    group.partitions, group.error = {}, error
    with pytest.raises(KafkaException):
        asker(group, "latest")


def test_a_group_that_begins_with_the_first_record_need_not_know() -> None:
    client: Any = None  # which is asked nothing
    asking = Asker(KafkaSettings(bootstrap_servers=NOWHERE, start="earliest"), client)
    asking.look(TIMEOUT_S)
    assert not asking.saw_it_begin


def test_of_what_is_committed_all_is_told() -> None:
    (found,) = asker(Group(p1=5), "earliest").find([B], {}, TIMEOUT_S)
    assert (found.partition, found.committed.offset, found.begin) == (B, 5, None)


def test_a_partition_whose_commit_is_gone_since_the_scout_saw_it_is_left_out_till_its_watermarks_are_known() -> None:
    found = asker(Group(p1=5), "earliest").find([A, B], {}, TIMEOUT_S)
    assert [each.partition for each in found] == [B]


@pytest.mark.parametrize("seen", [{}, WATERMARKS])
def test_a_replay_begins_where_it_was_asked_to_whatever_there_is(seen: dict[Partition, Watermarks]) -> None:
    asking = asker(Group(), "earliest", Bounds({0: (4, 6)}, "asked"))
    (found,) = asking.find([A], seen, TIMEOUT_S)
    assert found.begin == Progress(4, until=6, asked="asked")
