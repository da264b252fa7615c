"""A leader that was elected without the newest records, on three real brokers: what it has instead is not passed over.

`pytest -m long tests/broker/test_unclean.py`
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import NewTopic, PartitionMetadata

from tests import kafka_server
from tests.broker.test_bad_clusters import failure, work_off
from tests.broker.test_faults import wait_for
from tests.clusters import PATIENCE_S, Cluster, Topics, event
from tests.replays import invoke
from tests.workers import until
from worker.app import Worker
from worker.errors import Fatal
from worker.testing import FreeClassifier

pytestmark = [
    pytest.mark.broker,
    pytest.mark.long,
    pytest.mark.skipif(not kafka_server.own_brokers(), reason="needs brokers of its own to kill: KAFKA_HOME"),
]

UNCLEAN = """
unclean.leader.election.enable=true
unclean.leader.election.interval.ms=500
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


@pytest.fixture(scope="module")
def three() -> Iterator[kafka_server.RealKafka]:
    with kafka_server.RealKafka(3, more=UNCLEAN) as kafka:
        yield kafka


@pytest.fixture
def kafka(three: kafka_server.RealKafka) -> kafka_server.RealKafka:
    """All of them, whatever the test before has done to them."""
    for number, broker in enumerate(three.brokers):
        if broker.process is None:
            three.restart(number)
    assert three.answers()
    return three


def on_two(cluster: Cluster) -> Topics:
    """An input topic of one partition on the first two brokers, led by the first."""
    topics = cluster.topics(partitions=1)
    topics = Topics(topics.input + "-on-two", topics.results, topics.dead_letters, topics.group)
    config = {"min.insync.replicas": "1"}
    admin = cluster.admin()
    made = admin.create_topics([NewTopic(topics.input, 1, replica_assignment=[[1, 2]], config=config)])
    made[topics.input].result(timeout=PATIENCE_S)
    wait_for(lambda: sorted(partition(cluster, topics).isrs) == [1, 2], "both are in sync")
    return topics


def partition(cluster: Cluster, topics: Topics) -> PartitionMetadata:
    """With no leader and nobody in sync where the broker that is asked does not know it yet."""
    found = cluster.admin().list_topics(topics.input, timeout=PATIENCE_S).topics[topics.input].partitions
    return found.get(0, PartitionMetadata())


def fall_behind(kafka: kafka_server.RealKafka, cluster: Cluster, topics: Topics) -> None:
    """Records 0 to 3 on both brokers, 4 to 9 on the first one only."""
    cluster.produce(topics.input, [event(n) for n in range(4)])
    kafka.brokers[1].kill()
    wait_for(lambda: partition(cluster, topics).isrs == [1], "the first one is alone")
    cluster.produce(topics.input, [event(n) for n in range(4, 10)])


def elect_the_second(kafka: kafka_server.RealKafka, cluster: Cluster, topics: Topics) -> None:
    """Then records 100 to 109 come in the place of those that it has not."""
    kafka.brokers[0].kill()
    kafka.restart(1)
    wait_for(lambda: partition(cluster, topics).leader == 2, "the second one leads")
    cluster.produce(topics.input, [event(n) for n in range(100, 110)])


def assert_told(said: str, topics: Topics) -> None:
    assert f"{topics.input}[0]: the group is at offset 10, and a leader was elected" in said
    assert "had only the records before 4" in said
    assert f"offsets set --group {topics.group} --partitions 0 --to 4" in said


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_log_that_was_truncated_while_no_worker_ran_stops_the_next_one_though_it_is_longer_by_then(
    kafka: kafka_server.RealKafka, protocol: str
) -> None:
    cluster, flags = Cluster(kafka.bootstrap_servers, real=True), (f"kafka.group_protocol={protocol}",)
    topics = on_two(cluster)
    fall_behind(kafka, cluster, topics)
    await work_off(cluster, topics, 10, *flags)
    elect_the_second(kafka, cluster, topics)
    assert cluster.ends(topics.input) == {0: 14}
    assert_told(await failure(cluster, topics, *flags), topics)
    assert cluster.committed(topics) == {0: 10}

    await asyncio.to_thread(invoke, cluster, topics, ["offsets", "set", "--partitions", "0", "--to", "4"])
    done = await work_off(cluster, topics, 20, *flags)
    assert done == [str(n) for n in [*range(10), *range(100, 110)]]


async def test_a_log_that_is_truncated_while_a_worker_reads_it_stops_the_worker(kafka: kafka_server.RealKafka) -> None:
    cluster = Cluster(kafka.bootstrap_servers, real=True)
    topics = on_two(cluster)
    fall_behind(kafka, cluster, topics)
    run = asyncio.create_task(Worker(cluster.settings(topics), FreeClassifier()).run())
    await until(lambda: cluster.committed(topics) == {0: 10}, "it has read all")
    await asyncio.to_thread(elect_the_second, kafka, cluster, topics)
    with pytest.raises(Fatal) as raised:
        await asyncio.wait_for(run, PATIENCE_S)
    assert_told(str(raised.value), topics)
