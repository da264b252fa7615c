"""`min.insync.replicas=2`, and of three replicas one is left: nothing can be acknowledged, nor committed.

With three brokers that are all controllers two deaths would be the cluster's end, which is an outage and another test
(test_brokers.py). Here the first is the only controller, so the cluster knows of the deaths and its one broker refuses.
`pytest -m long tests/broker/test_one_replica.py`: about a minute, most of it the cluster's own.
"""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import NewTopic

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

UNACKNOWLEDGED = (KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, KafkaError.REQUEST_TIMED_OUT)


@pytest.fixture(scope="module")
def kafka() -> Iterator[kafka_server.RealKafka]:
    if (reason := kafka_server.why_not()) is not None:
        pytest.skip(reason)
    with kafka_server.RealKafka(3, controllers=1, more="replica.lag.time.max.ms=2000\n") as started:
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
    kafka.restart(2)


async def test_outcomes_that_were_written_to_too_few_replicas_are_tried_again_until_they_are_on_enough(
    kafka: kafka_server.RealKafka,
) -> None:
    """A replica that stands still keeps the leader waiting, until it is in sync no more. The outcomes are in the log by
    then, and not acknowledged: NOT_ENOUGH_REPLICAS_AFTER_APPEND, or, where no record counts as written that is on fewer
    (KIP-966; seen on Apache Kafka 4.3.1), REQUEST_TIMED_OUT."""
    three = Cluster(kafka.bootstrap_servers, real=True)
    assert kafka.answers()
    topics, probe = three_replicas(three)
    async with AsyncExitStack() as stack:
        scenes = [
            await at_work(stack, three, each, delivery) for each, delivery in zip(topics, DELIVERIES, strict=True)
        ]
        kafka.brokers[2].signal(signal.SIGSTOP)
        try:
            for _, each, _ in scenes:
                three.produce(each.input, [event(1), event(2)])
            assert await asyncio.to_thread(refusal, three, probe) in UNACKNOWLEDGED
            for worker, _, _ in scenes:
                await until(lambda worker=worker: AWAY in worker.status()["not_ready"], "it says so")
        finally:
            kafka.brokers[2].signal(signal.SIGCONT)
        for worker, each, reader in scenes:
            await assert_settled(three, each, reader, once=worker.settings.kafka.delivery == "exactly-once")
            await until(lambda worker=worker: not worker.status()["not_ready"], "it is ready again")


def three_replicas(cluster: Cluster) -> tuple[list[Topics], str]:
    """Topics of two workers, and one more, led by the first broker. Outcomes need all three; events need none other."""
    topics = [
        Topics(*(f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("images", "results", "dead", "group"))) for _ in "ab"
    ]
    probe = f"probe-{topics[0].group}"
    outputs = [probe, *(name for each in topics for name in (each.results, each.dead_letters))]
    strict = {"replica_assignment": [[1, 2, 3]], "config": {"min.insync.replicas": "3"}}
    alone = {"replica_assignment": [[1]], "config": {"min.insync.replicas": "1"}}
    new = [NewTopic(name, 1, **strict) for name in outputs] + [NewTopic(each.input, 1, **alone) for each in topics]
    admin = cluster.admin()
    for future in admin.create_topics(new).values():
        future.result(timeout=PATIENCE_S)
    return topics, probe


def refusal(cluster: Cluster, topic: str) -> int:
    """What a producer without our patience is told."""
    codes: list[int] = []
    impatient = {"acks": "all", "retries": 0, "request.timeout.ms": 5000}
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, **impatient})
    producer.produce(topic, b"probe", on_delivery=lambda error, _: codes.append(error.code() if error else 0))
    producer.flush(PATIENCE_S)
    return codes[0]


async def scene(stack: AsyncExitStack, three: Cluster, delivery: str) -> tuple[Worker, Topics, Reader]:
    """A worker that has done one event."""
    topics = three.topics(partitions=1)
    # Events still come: it is what the worker writes that lacks replicas.
    await asyncio.to_thread(alter, three, topics.input, "min.insync.replicas", "1")
    return await at_work(stack, three, topics, delivery)


async def at_work(
    stack: AsyncExitStack, three: Cluster, topics: Topics, delivery: str
) -> tuple[Worker, Topics, Reader]:
    three.produce(topics.input, [event(0)])
    reader = stack.enter_context(Reader(three, [topics.results]))
    settings = three.settings(topics, f"kafka.delivery={delivery}", "kafka.group_protocol=consumer")
    worker = await stack.enter_async_context(running(settings))
    await asyncio.to_thread(reader.until, 1)
    await until(lambda: three.committed(topics) == {0: 1}, "the first is committed")
    return worker, topics, reader


def only_the_first_is_in_sync(cluster: Cluster, topic: str) -> bool:
    return cluster.admin().list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions[0].isrs == [1]
