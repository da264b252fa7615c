"""`kafka.order`: outcomes as they are done, and what of that a restart or a new owner knows, on a real Apache Kafka."""

from __future__ import annotations

import json
from collections import Counter
from queue import Empty

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from tests.broker.test_faults import Member, wait_for
from tests.clusters import PATIENCE_S, Cluster, Topics, event
from worker.errors import Fatal
from worker.kafka.ledger import Ticket
from worker.kafka.progress import METADATA_LIMIT, Progress, Span, parse

pytestmark = pytest.mark.broker

GUARANTEES = ["at-least-once", "exactly-once"]
NONE = "kafka.order=none"


def taken(member: Member, count: int) -> dict[int, Ticket]:
    tickets = [member.tickets.get(timeout=PATIENCE_S) for _ in range(count)]
    return {ticket.record.coordinates.offset: ticket for ticket in tickets}


def committed(cluster: Cluster, topics: Topics) -> Progress | None:
    """Of partition 0, with the metadata that lies in the broker."""
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap_servers, "group.id": topics.group, "log_level": 0})
    (entry,) = consumer.committed([TopicPartition(topics.input, 0)], timeout=10)
    consumer.close()
    return parse(entry.offset, entry.metadata) if entry.offset >= 0 else None


def done(cluster: Cluster, topics: Topics) -> tuple[int, tuple[Span, ...]] | None:
    """The offset of partition 0, and what is done beyond it."""
    found = committed(cluster, topics)
    return None if found is None else (found.base, found.done)


def published(cluster: Cluster, topics: Topics, count: int) -> list[int]:
    return [offset_of(message) for message in cluster.read([topics.results], count)]


def offset_of(message: Message) -> int:
    return json.loads(message.value() or b"")["source"]["offset"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("delivery", GUARANTEES)
def test_what_is_done_goes_out_at_once_and_the_next_owner_repeats_only_the_rest(broker: Cluster, delivery: str) -> None:
    topics = broker.topics(partitions=1)
    flags = (f"kafka.delivery={delivery}",)
    broker.produce(topics.input, [event(number) for number in range(10)])
    with Member(broker, topics, *flags, NONE) as first:
        tickets = taken(first, 10)
        for offset in (3, 8, 0, 4):
            first.finish(tickets[offset], "first")
        early = (1, ((3, 5), (8, 9)))
        wait_for(lambda: done(broker, topics) == early, "what is done beyond the offset is committed with it")
        assert sorted(published(broker, topics, 4)) == [0, 3, 4, 8]
    # Whatever the next one's order is: what is done is done.
    with Member(broker, topics, *flags) as second:
        tickets = taken(second, 6)
        assert list(tickets) == [1, 2, 5, 6, 7, 9]
        for ticket in tickets.values():
            second.finish(ticket, "second")
        wait_for(lambda: done(broker, topics) == (10, ()), "all of it is committed")
    assert Counter(published(broker, topics, 10)) == Counter(range(10))


@pytest.mark.parametrize("delivery", GUARANTEES)
def test_a_member_that_takes_over_from_a_living_one_knows_what_is_done(broker: Cluster, delivery: str) -> None:
    topics = broker.topics(partitions=2)
    flags = (f"kafka.delivery={delivery}", NONE, "kafka.group_protocol=consumer", "kafka.drain_deadline_s=0.5")
    broker.produce(topics.input, [{**event(number), "partition": number % 2} for number in range(8)])
    with Member(broker, topics, *flags) as former:
        tickets = [former.tickets.get(timeout=PATIENCE_S) for _ in range(8)]
        for ticket in tickets:
            if ticket.record.coordinates.offset in (1, 3):
                former.finish(ticket, "former")
        wait_for(lambda: len(broker.read([topics.results], 4)) == 4, "two of each partition are published")
        with Member(broker, topics, *flags) as heir:
            seen = [heir.tickets.get(timeout=PATIENCE_S).record.coordinates.offset for _ in range(2)]
            assert seen == [0, 2]
            assert heir.tickets.empty()


@pytest.mark.parametrize("delivery", ["at-least-once", pytest.param("exactly-once", marks=pytest.mark.long)])
def test_a_commit_that_has_no_room_for_more_makes_its_partition_wait_and_nothing_is_lost(
    broker: Cluster, delivery: str
) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(number % 7) for number in range(7000)])
    flags = (f"kafka.delivery={delivery}", NONE, "kafka.max_at_work=100000", "kafka.max_in_flight=100000")
    with Member(broker, topics, *flags) as member:
        tickets = taken(member, 7000)
        for offset in range(1, 7000, 2):
            member.finish(tickets[offset], "odd")
        some = broker.read([topics.results], 1000)
        progress = committed(broker, topics)
        assert progress is not None
        assert progress.base == 0
        assert len(progress.metadata) <= METADATA_LIMIT
        assert {offset_of(message) for message in some} <= {n for n in range(7000) if n % 2}
        wait_for(lambda: member.thread._source.fetching.held == {(topics.input, 0)}, "its intake waits")
        broker.produce(topics.input, [event(0)])
        with pytest.raises(Empty):
            member.tickets.get(timeout=1.0)
        for offset in range(0, 7000, 2):
            member.finish(tickets[offset], "even")
        member.finish(member.tickets.get(timeout=PATIENCE_S), "the last one")
        wait_for(lambda: done(broker, topics) == (7001, ()), "all of it is committed")
    assert Counter(published(broker, topics, 7001)) == Counter(range(7001))


def test_a_commit_of_ours_that_cannot_be_read_stops_the_worker_with_one_line(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(0)])
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": topics.group, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(topics.input, 0, 0, "image-worker/9;x=1")], asynchronous=False)
    consumer.close()
    with Member(broker, topics) as member:
        failure = member.thread.ended.exception(timeout=PATIENCE_S)
    assert isinstance(failure, Fatal)
    assert str(failure).startswith(f"what the group committed for {topics.input}[0] at 0 cannot be read")
