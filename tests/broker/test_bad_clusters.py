"""What a cluster does to a group behind its back, on a real Apache Kafka: it is said, and nothing is passed over."""

from __future__ import annotations

import asyncio
import json

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions
from structlog.typing import EventDict

from tests.broker.test_faults import Member, alter, wait_for
from tests.clusters import PATIENCE_S, Cluster, Topics, event
from tests.workers import running, until
from worker.app import Worker
from worker.errors import Fatal
from worker.kafka.topics import ClusterLook, require_topics, wanted_topics
from worker.testing import FreeClassifier

pytestmark = pytest.mark.broker

PROTOCOLS = ["classic", "consumer"]
LATEST = "kafka.start=latest"


def here(number: int, partition: int) -> dict[str, object]:
    return {**event(number), "partition": partition}


def delete_before(cluster: Cluster, topic: str, partition: int, offset: int) -> None:
    """What retention does, without the waiting."""
    admin = cluster.admin()
    for future in admin.delete_records([TopicPartition(topic, partition, offset)]).values():
        future.result(timeout=PATIENCE_S)


async def work_off(cluster: Cluster, topics: Topics, count: int, *flags: str) -> list[str]:
    """Run a worker until so many results are there, and return the ids of their events."""
    async with running(cluster.settings(topics, *flags)):
        seen = await asyncio.to_thread(cluster.read, [topics.results], count)
    return [json.loads(message.value() or b"")["reference"]["id"] for message in seen]


async def failure(cluster: Cluster, topics: Topics, *flags: str) -> str:
    """What a worker says that stops by itself."""
    with pytest.raises(Fatal) as raised:
        async with asyncio.timeout(PATIENCE_S):
            await Worker(cluster.settings(topics, *flags), FreeClassifier()).run()
    return str(raised.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_where_retention_overtook_the_group_the_worker_stops_and_says_what_is_gone(
    broker: Cluster, protocol: str
) -> None:
    topics = broker.topics(partitions=2)
    flags = (f"kafka.group_protocol={protocol}",)
    broker.produce(topics.input, [here(n, 1) for n in range(5)])
    await work_off(broker, topics, 5, *flags)
    broker.produce(topics.input, [here(n, 1) for n in range(5, 15)])
    delete_before(broker, topics.input, 1, 9)
    said = await failure(broker, topics, *flags)
    assert f"{topics.input}[1]: the 4 offsets from 5 to 8 were gone" in said
    assert f"offsets set --group {topics.group} --partitions 1 --to 9" in said
    assert broker.committed(topics) == {1: 5}


async def test_where_retention_overtakes_a_worker_that_is_behind_it_settles_what_it_has_and_stops(
    broker: Cluster,
) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(n) for n in range(3)])
    with Member(broker, topics, "kafka.max_at_work=3") as member:
        held = [member.tickets.get(timeout=PATIENCE_S) for _ in range(3)]
        wait_for(lambda: member.thread.reporter.snapshot.paused, "it takes nothing in for now")
        broker.produce(topics.input, [event(n) for n in range(3, 9)])
        delete_before(broker, topics.input, 0, 7)
        for ticket in held:
            member.finish(ticket, "in time")
        failure = member.thread.ended.exception(timeout=PATIENCE_S)
    assert isinstance(failure, Fatal)
    assert f"{topics.input}[0]: the 4 offsets from 3 to 6 were gone" in str(failure)
    assert broker.committed(topics) == {0: 3}, "what came before the gap is settled"


async def test_from_latest_on_nothing_is_passed_over_once_the_group_has_begun(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(0), event(1)])
    async with running(broker.settings(topics, LATEST)) as worker:
        await until(lambda: bool(worker.status()["assignment"]), "it has its partition")
    assert broker.committed(topics) == {0: 2}, "the start is committed though nothing was read"
    broker.produce(topics.input, [event(2), event(3)])
    assert await work_off(broker, topics, 2, LATEST) == ["2", "3"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("start", ["earliest", "latest"])
async def test_a_partition_that_was_added_is_read_from_its_beginning(
    broker: Cluster, protocol: str, start: str
) -> None:
    topics = broker.topics(partitions=1)
    refresh = 'kafka.consumer_properties."topic.metadata.refresh.interval.ms"=500'
    flags = (f"kafka.group_protocol={protocol}", f"kafka.start={start}", refresh)
    async with running(broker.settings(topics, *flags)) as worker:
        await until(lambda: bool(worker.status()["assignment"]), "it has its partition")
        admin = broker.admin()
        for future in admin.create_partitions([NewPartitions(topics.input, 3)]).values():
            future.result(timeout=PATIENCE_S)
        await asyncio.to_thread(produce_into, broker, topics, 2, 5)
        seen = await asyncio.to_thread(broker.read, [topics.results], 5)
        await until(lambda: len(worker.status()["assignment"]) == 3, "it has the new ones")
    assert len(seen) == 5
    assert broker.committed(topics)[2] == 5


def produce_into(cluster: Cluster, topics: Topics, partition: int, count: int) -> None:
    """Once the broker knows the partition."""
    admin = cluster.admin()
    while len(admin.list_topics(topics.input, timeout=PATIENCE_S).topics[topics.input].partitions) <= partition:
        pass
    cluster.produce(topics.input, [here(n, partition) for n in range(count)])


def test_a_topic_with_fewer_replicas_than_it_asks_for_is_told_before_the_group_is_joined(
    broker: Cluster, logs: list[EventDict]
) -> None:
    topics = broker.topics(partitions=1)
    alter(broker, topics.results, "min.insync.replicas", "2")
    require_topics(broker.settings(topics).kafka, {})
    (said,) = (line for line in logs if line["event"] == "kafka.too_few_replicas")
    assert said["topic"] == f"topic {topics.results}"
    assert "has 1 replica and min.insync.replicas=2" in said["found"]
    assert "lower min.insync.replicas" in said["next"]
    settings = broker.settings(topics).kafka
    looked = {
        finding.subject for finding in ClusterLook(settings).topics(wanted_topics(settings, {})) if finding.remedy
    }
    assert looked == {f"topic {topics.results}"}
