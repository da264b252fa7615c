"""An input topic that is deleted and made again, on a real Apache Kafka: it is never read on from the old offsets.

Apache Kafka 4.3.1 deletes a group's offsets with the topic (seen), so at rest the commit is put back as it was. That is
what a commit that was under way leaves, a coordinator that was away meanwhile, or a broker that keeps them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.broker.test_bad_clusters import failure, work_off
from tests.broker.test_faults import wait_for
from tests.clusters import PATIENCE_S, Cluster, Topics, event
from tests.replays import invoke, job
from tests.workers import running, until
from worker.app import Worker
from worker.errors import Fatal
from worker.kafka.groups import GroupLook
from worker.kafka.ledger import Position
from worker.kafka.progress import Progress, parse
from worker.replay.request import Request
from worker.testing import FreeClassifier

pytestmark = pytest.mark.broker


@contextmanager
def outsider(cluster: Cluster, topics: Topics) -> Iterator[Consumer]:
    """A client that names the group and is no member of it."""
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap_servers, "group.id": topics.group, "log_level": 0})
    yield consumer
    consumer.close()


def committed(cluster: Cluster, topics: Topics) -> TopicPartition:
    """Of partition 0, with its metadata."""
    with outsider(cluster, topics) as consumer:
        return consumer.committed([TopicPartition(topics.input, 0)], timeout=PATIENCE_S)[0]


def commit(cluster: Cluster, topics: Topics, entry: TopicPartition) -> None:
    with outsider(cluster, topics) as consumer:
        wait_for(lambda: took(consumer, entry), "it is committed")


def took(consumer: Consumer, entry: TopicPartition) -> bool:
    """Not while the coordinator of a new group is being chosen."""
    try:
        return consumer.commit(offsets=[entry], asynchronous=False)[0].error is None
    except KafkaException:
        return False


def make_again(cluster: Cluster, topics: Topics, count: int) -> None:
    """The input topic with so many records, whose numbers begin at 100."""
    admin = cluster.admin()
    admin.delete_topics([topics.input])[topics.input].result(timeout=PATIENCE_S)
    cluster.create(topics.input, partitions=1)
    cluster.produce(topics.input, [event(100 + n) for n in range(count)])


@pytest.mark.parametrize(("delivery", "protocol"), [("at-least-once", "classic"), ("exactly-once", "consumer")])
async def test_while_no_worker_runs_the_next_one_stops_and_says_how_to_go_on(
    broker: Cluster, delivery: str, protocol: str
) -> None:
    topics = broker.topics(partitions=1)
    flags = (f"kafka.delivery={delivery}", f"kafka.group_protocol={protocol}")
    broker.produce(topics.input, [event(n) for n in range(5)])
    await work_off(broker, topics, 5, *flags)
    before = committed(broker, topics)
    make_again(broker, topics, 9)
    commit(broker, topics, before)

    said = await failure(broker, topics, *flags)
    old = parse(before.offset, before.metadata).topic_id
    assert f"{topics.input}[0]: offset 5 was committed for the topic of this name that had the id {old}" in said
    assert f"run: image-worker offsets set --group {topics.group} --to beginning" in said
    assert len(broker.read([topics.results], 5)) == 5

    shown = await asyncio.to_thread(invoke, broker, topics, ["offsets", "show"])
    assert shown.stdout.splitlines()[-1].startswith("committed for a topic of this name that was deleted: --partitions")
    moved = await asyncio.to_thread(invoke, broker, topics, ["offsets", "set", "--to", "beginning"])
    assert "begins here" in moved.stdout
    new = parse(0, committed(broker, topics).metadata).topic_id
    assert new not in (None, old)
    assert await work_off(broker, topics, 14, *flags) == [str(n) for n in [*range(5), *range(100, 109)]]


async def test_a_commit_that_names_no_topic_is_gone_on_from_and_the_next_one_names_it(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(n) for n in range(3)])
    commit(broker, topics, TopicPartition(topics.input, 0, 2))
    assert await work_off(broker, topics, 1) == ["2"]
    entry = committed(broker, topics)
    assert (entry.offset, bool(parse(3, entry.metadata).topic_id)) == (3, True)


def test_a_replay_that_was_begun_of_the_old_one_is_not_gone_on_with(broker: Cluster) -> None:
    topics, request = broker.topics(partitions=1), Request("0", "5", id="mine")
    broker.produce(topics.input, [event(n) for n in range(5)])
    plan = job(broker, topics, request).plan
    begun = Progress(2, until=5, asked=plan.asked, topic_id="kabJm1RwRU+Gulb4gm5u/Q")
    look = GroupLook(plan.settings.kafka, plan.settings.kafka.group_id)
    for base in (2, 5):
        look.set(topics.input, {0: Position(base, metadata=replace(begun, base=base).metadata)})
        with pytest.raises(Fatal, match=r"had the id kabJm1RwRU\+Gulb4gm5u/Q: it was deleted.*; choose another --id$"):
            job(broker, topics, request)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("delivery", [pytest.param("at-least-once", marks=pytest.mark.long), "exactly-once"])
async def test_one_that_is_deleted_for_good_stops_a_worker_that_has_nothing_to_do(
    broker: Cluster, monkeypatch: pytest.MonkeyPatch, protocol: str, delivery: str
) -> None:
    """No commit and no poll tells of it."""
    monkeypatch.setattr("worker.kafka.topic_id._GONE_S", 2.0)
    topics = broker.topics(partitions=1)
    refresh = 'kafka.consumer_properties."topic.metadata.refresh.interval.ms"=2000'
    flags = (f"kafka.group_protocol={protocol}", f"kafka.delivery={delivery}", refresh)
    broker.produce(topics.input, [event(n) for n in range(5)])
    run = asyncio.create_task(Worker(broker.settings(topics, *flags), FreeClassifier()).run())
    await until(lambda: broker.committed(topics) == {0: 5}, "it is done")
    admin = broker.admin()
    await asyncio.to_thread(admin.delete_topics([topics.input])[topics.input].result, PATIENCE_S)
    with pytest.raises(Fatal, match=r"was deleted: for 2 s .*; create it again, or see kafka.topics.input"):
        await asyncio.wait_for(run, PATIENCE_S)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("count", [3, 9], ids=["shorter", "longer"])
async def test_while_a_worker_reads_it_it_stops_and_nothing_of_the_new_one_is_passed_over(
    broker: Cluster, protocol: str, count: int
) -> None:
    topics = broker.topics(partitions=1)
    refresh = 'kafka.consumer_properties."topic.metadata.refresh.interval.ms"=2000'
    flags = (f"kafka.group_protocol={protocol}", refresh)
    broker.produce(topics.input, [event(n) for n in range(5)])
    run = asyncio.create_task(Worker(broker.settings(topics, *flags), FreeClassifier()).run())
    await until(lambda: broker.committed(topics) == {0: 5}, "the old one is done")
    await asyncio.to_thread(make_again, broker, topics, count)
    with pytest.raises(Fatal, match=f"made again.* offsets set --group {topics.group} .*--to (beginning|0)"):
        await asyncio.wait_for(run, PATIENCE_S)

    # With classic, what it read until it knew is committed, and names the old topic.
    if broker.committed(topics):
        assert "deleted and made again" in await failure(broker, topics, *flags)
    await asyncio.to_thread(invoke, broker, topics, ["offsets", "set", "--to", "beginning"])
    async with running(broker.settings(topics, *flags)):
        await until(lambda: broker.committed(topics) == {0: count}, "the new one is done")
    done = {json.loads(m.value() or b"")["reference"]["id"] for m in broker.read([topics.results], 5 + count)}
    assert done == {str(n) for n in [*range(5), *range(100, 100 + count)]}
