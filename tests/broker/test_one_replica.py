"""`min.insync.replicas=2`, and of three replicas one is left: nothing can be acknowledged, nor committed.

With three brokers that are all controllers two deaths would be the cluster's end, which is an outage and another test
(test_brokers.py). Here the first is the only controller, so the cluster knows of the deaths and its one broker refuses.
`pytest -m long tests/broker/test_one_replica.py`: about a minute, most of it the cluster's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial

import pytest

from tests import kafka_server
from tests.broker.test_brokers import AWAY, DELIVERIES, assert_settled
from tests.broker.test_faults import alter
from tests.clusters import PATIENCE_S, Cluster, Reader, Topics, event
from tests.workers import running, until
from worker.app import Worker

pytestmark = [
    pytest.mark.broker,
    pytest.mark.long,
    pytest.mark.skipif(not kafka_server.own_brokers(), reason="needs brokers of its own to kill: KAFKA_HOME"),
]


@pytest.fixture(scope="module")
def kafka() -> Iterator[kafka_server.RealKafka]:
    if (reason := kafka_server.why_not()) is not None:
        pytest.skip(reason)
    with kafka_server.RealKafka(3, controllers=1) as started:
        yield started


async def test_one_replica_of_three_stalls_the_workers_which_say_so_and_go_on_when_one_more_is_back(
    kafka: kafka_server.RealKafka,
) -> None:
    three = Cluster(kafka.bootstrap_servers, real=True)
    async with AsyncExitStack() as stack:
        scenes = [await scene(stack, three, delivery) for delivery in DELIVERIES]
        kafka.brokers[1].kill()
        kafka.brokers[2].kill()
        for _, topics, _ in scenes:
            await until(partial(only_the_first_is_in_sync, three, topics.results), "one replica is left")
            three.produce(topics.input, [event(1), event(2)])
        for worker, _, _ in scenes:
            await until(lambda worker=worker: AWAY in worker.status()["not_ready"], "it says so")
            assert worker.metrics.registry.get_sample_value("image_worker_settlements_total", {"result": "again"})
        kafka.restart(1)
        for worker, topics, reader in scenes:
            once = worker.settings.kafka.delivery == "exactly-once"
            await assert_settled(three, topics, reader, once=once)
            await until(lambda worker=worker: not worker.status()["not_ready"], "it is ready again")


async def scene(stack: AsyncExitStack, three: Cluster, delivery: str) -> tuple[Worker, Topics, Reader]:
    """A worker that has done one event."""
    topics = three.topics(partitions=1)
    # Events still come: it is what the worker writes that lacks replicas.
    await asyncio.to_thread(alter, three, topics.input, "min.insync.replicas", "1")
    three.produce(topics.input, [event(0)])
    reader = stack.enter_context(Reader(three, [topics.results]))
    settings = three.settings(topics, f"kafka.delivery={delivery}", "kafka.group_protocol=consumer")
    worker = await stack.enter_async_context(running(settings))
    await asyncio.to_thread(reader.until, 1)
    await until(lambda: three.committed(topics) == {0: 1}, "the first is committed")
    return worker, topics, reader


def only_the_first_is_in_sync(cluster: Cluster, topic: str) -> bool:
    return cluster.admin().list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions[0].isrs == [1]
