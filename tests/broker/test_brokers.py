"""What brokers may do to a worker under load, on three of them: die, move leaders, lack replicas, throttle, refuse.

`pytest -m long tests/broker/test_brokers.py` has the long forms: every broker killed one after the other, and all
restarted at once; and the same in the other guarantee.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import ElectionType, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests import kafka_server
from tests.broker.test_delivery import assert_in_order, mixed
from tests.broker.test_faults import alter
from tests.clusters import PATIENCE_S, Cluster, Reader, Topics, event, source_of
from tests.workers import running, until
from worker.app import Worker
from worker.errors import Fatal
from worker.testing import FreeClassifier

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(not kafka_server.own_brokers(), reason="needs brokers of its own to kill: KAFKA_HOME"),
]

ONCE = "kafka.delivery=exactly-once"
DELIVERIES = ["at-least-once", "exactly-once"]
AWAY = "the broker does not acknowledge outcomes"
AUTHORIZER = """
early.start.listeners=CONTROLLER
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""


@pytest.fixture(scope="module")
def kafka() -> Iterator[kafka_server.RealKafka]:
    if (reason := kafka_server.why_not()) is not None:
        pytest.skip(reason)
    with kafka_server.RealKafka(3) as started:
        yield started


@pytest.fixture(scope="module")
def strict() -> Iterator[Cluster]:
    """One broker that looks at rights."""
    with kafka_server.RealKafka(more=AUTHORIZER) as started:
        yield Cluster(started.bootstrap_servers, real=True)


@pytest.fixture
def three(kafka: kafka_server.RealKafka) -> Cluster:
    return Cluster(kafka.bootstrap_servers, real=True)


@contextmanager
def load(cluster: Cluster, topics: Topics) -> Iterator[None]:
    """Events that come all the time, until the end."""
    over = threading.Event()

    def produce() -> None:
        while not over.is_set():
            cluster.produce(topics.input, mixed(50))
            over.wait(0.1)

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def restart(kafka: kafka_server.RealKafka, *brokers: kafka_server.Broker) -> None:
    for broker in brokers:
        broker.kill()
    for broker in brokers:
        broker.start(kafka.classpath)
    assert kafka.answers()


async def assert_settled(cluster: Cluster, topics: Topics, reader: Reader, *, once: bool) -> None:
    """Every event has its outcome, in order; exactly one where that is promised."""
    ends = await asyncio.to_thread(cluster.ends, topics.input)
    seen = await asyncio.to_thread(reader.until_events, sum(ends.values()))
    await until(lambda: cluster.committed(topics) == ends, "all is committed")
    seen = await asyncio.to_thread(reader.rest)
    assert len({source_of(message) for message in seen}) == sum(ends.values())
    if once:
        assert len(seen) == sum(ends.values())
        assert_in_order(seen)


def coordinator(cluster: Cluster, kafka: kafka_server.RealKafka, group: str) -> kafka_server.Broker:
    """The broker that coordinates a group."""
    found = cluster.admin()
    node = found.describe_consumer_groups([group])[group].result(timeout=PATIENCE_S).coordinator
    return next(broker for broker in kafka.brokers if broker.number == node.id)


def back_to_the_first(cluster: Cluster, *topics: str) -> None:
    """Have the preferred replicas lead again: those that a broker's end made others lead."""
    admin = cluster.admin()
    admin.elect_leaders(ElectionType.PREFERRED).result(timeout=PATIENCE_S)


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_the_groups_coordinator_dies_and_leaders_move_under_load(
    kafka: kafka_server.RealKafka, three: Cluster, delivery: str
) -> None:
    topics = three.topics()
    settings = three.settings(topics, f"kafka.delivery={delivery}", "kafka.group_protocol=consumer")
    with Reader(three, [topics.results, topics.dead_letters]) as reader:
        async with running(settings) as worker:
            with load(three, topics):
                await asyncio.to_thread(reader.until, 100)
                dying = await asyncio.to_thread(coordinator, three, kafka, topics.group)
                await asyncio.to_thread(restart, kafka, dying)
                await asyncio.to_thread(back_to_the_first, three)
                await asyncio.to_thread(reader.until, len(reader.seen) + 200)
            await assert_settled(three, topics, reader, once=delivery == "exactly-once")
            await until(lambda: not worker.status()["not_ready"], "it is ready again")


@pytest.mark.long
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_every_broker_dies_once_and_then_all_of_them(
    kafka: kafka_server.RealKafka, three: Cluster, delivery: str
) -> None:
    topics = three.topics()
    with Reader(three, [topics.results, topics.dead_letters]) as reader:
        async with running(three.settings(topics, f"kafka.delivery={delivery}")) as worker:
            with load(three, topics):
                for dying in ([kafka.brokers[0]], [kafka.brokers[1]], [kafka.brokers[2]], kafka.brokers):
                    await asyncio.to_thread(reader.until, len(reader.seen) + 100)
                    await asyncio.to_thread(restart, kafka, *dying)
                await asyncio.to_thread(reader.until, len(reader.seen) + 100)
            await assert_settled(three, topics, reader, once=delivery == "exactly-once")
            await until(lambda: not worker.status()["not_ready"], "it is ready again")


@pytest.mark.parametrize("delivery", ["exactly-once", pytest.param("at-least-once", marks=pytest.mark.long)])
async def test_too_few_replicas_stall_the_worker_which_says_so_and_goes_on_when_they_are_back(
    kafka: kafka_server.RealKafka, three: Cluster, delivery: str
) -> None:
    topics = three.topics(partitions=1)
    # Of three replicas one may not be missing: the cluster itself goes on with two brokers.
    await asyncio.to_thread(alter, three, topics.results, "min.insync.replicas", "3")
    three.produce(topics.input, [event(0)])
    with Reader(three, [topics.results]) as reader:
        async with running(three.settings(topics, f"kafka.delivery={delivery}")) as worker:
            await asyncio.to_thread(reader.until, 1)
            kafka.brokers[2].kill()
            three.produce(topics.input, [event(1), event(2)])
            await until(lambda: AWAY in worker.status()["not_ready"], "it says so")
            assert worker.metrics.registry.get_sample_value("image_worker_settlements_total", {"result": "again"})
            await asyncio.to_thread(restart, kafka, kafka.brokers[2])
            await assert_settled(three, topics, reader, once=delivery == "exactly-once")
            await until(lambda: not worker.status()["not_ready"], "it is ready again")


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_results_topic_that_is_deleted_and_made_again_at_once_costs_nothing_more(
    three: Cluster, delivery: str
) -> None:
    topics = three.topics(partitions=1)
    three.produce(topics.input, [event(0)])
    async with running(three.settings(topics, f"kafka.delivery={delivery}")):
        await asyncio.to_thread(three.read, [topics.results], 1)
        await asyncio.to_thread(remove, three, topics.results)
        three.produce(topics.input, [event(1), event(2)])
        await asyncio.to_thread(three.create, topics.results, partitions=1)
        seen = await asyncio.to_thread(three.read, [topics.results], 2)
    assert [source_of(message) for message in seen] == [(0, 1), (0, 2)]
    assert three.committed(topics) == {0: 3}


async def test_a_results_topic_that_is_deleted_for_good_stops_the_worker_and_nothing_is_passed_over(
    three: Cluster,
) -> None:
    topics = three.topics(partitions=1)
    three.produce(topics.input, [event(0)])
    sooner = 'kafka.producer_properties."topic.metadata.propagation.max.ms"=1000'
    worker = Worker(three.settings(topics, sooner), FreeClassifier())
    run = asyncio.create_task(worker.run())
    await asyncio.to_thread(three.read, [topics.results], 1)
    await until(lambda: three.committed(topics) == {0: 1}, "the first is committed")
    await asyncio.to_thread(remove, three, topics.results)
    three.produce(topics.input, [event(1)])
    with pytest.raises(Fatal, match=f"{topics.results}.*create the topic"):
        await asyncio.wait_for(run, PATIENCE_S)
    assert three.committed(topics) == {0: 1}


def remove(cluster: Cluster, topic: str) -> None:
    admin = cluster.admin()
    admin.delete_topics([topic])[topic].result(timeout=PATIENCE_S)


async def test_a_quota_slows_the_worker_down_and_costs_nothing_else(
    kafka: kafka_server.RealKafka, three: Cluster
) -> None:
    topics = three.topics(partitions=1)
    await asyncio.to_thread(quota, kafka, "--add-config", "producer_byte_rate=60000,consumer_byte_rate=60000")
    try:
        with Reader(three, [topics.results, topics.dead_letters]) as reader:
            async with running(three.settings(topics, ONCE)):
                three.produce(topics.input, mixed(300))
                await assert_settled(three, topics, reader, once=True)
    finally:
        await asyncio.to_thread(quota, kafka, "--delete-config", "producer_byte_rate,consumer_byte_rate")


def quota(kafka: kafka_server.RealKafka, *change: str) -> None:
    """Of the worker's clients."""
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", kafka.classpath, "kafka.admin.ConfigCommand"]
    command += ["--bootstrap-server", kafka.bootstrap_servers, "--alter", *change]
    subprocess.run([*command, "--entity-type", "clients", "--entity-name", "image-worker"], check=True)


@contextmanager
def denied(cluster: Cluster, kind: ResourceType, name: str, operation: AclOperation) -> Iterator[None]:
    """An operation that everybody is denied, until the end."""
    admin = cluster.admin()
    what = (kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, AclPermissionType.DENY)
    for future in admin.create_acls([AclBinding(*what)]).values():
        future.result(timeout=PATIENCE_S)
    try:
        yield
    finally:
        for future in admin.delete_acls([AclBindingFilter(*what)]).values():
            future.result(timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("delivery", "what", "said"),
    [
        ("exactly-once", "transactional_id", "WRITE"),
        ("at-least-once", "group", "READ"),
        ("exactly-once", "results", "WRITE"),
        *(
            pytest.param(*each, marks=pytest.mark.long)
            for each in [
                ("at-least-once", "input", "READ"),
                ("exactly-once", "input", "READ"),
                ("exactly-once", "group", "READ"),
                ("at-least-once", "results", "WRITE"),
            ]
        ),
    ],
)
async def test_a_right_that_is_taken_away_stops_the_worker_which_names_it_and_loses_nothing(
    strict: Cluster, delivery: str, what: str, said: str
) -> None:
    topics = strict.topics(partitions=1)
    identity = f"id-of-{topics.group}"
    flags = (f"kafka.delivery={delivery}", f"kafka.transactional_id={identity}")
    kinds = {"group": ResourceType.GROUP, "transactional_id": ResourceType.TRANSACTIONAL_ID}
    name = {"input": topics.input, "group": topics.group, "results": topics.results, "transactional_id": identity}[what]
    strict.produce(topics.input, [event(0)])
    worker = Worker(strict.settings(topics, *flags), FreeClassifier())
    run = asyncio.create_task(worker.run())
    await asyncio.to_thread(strict.read, [topics.results], 1)
    await until(lambda: strict.committed(topics) == {0: 1}, "the first is committed")
    with denied(strict, kinds.get(what, ResourceType.TOPIC), name, AclOperation[said]):
        strict.produce(topics.input, [event(1), event(2)])
        with pytest.raises(Fatal, match=f"ask for .*{said}"):
            await asyncio.wait_for(run, PATIENCE_S)
    async with running(strict.settings(topics, *flags)):
        with Reader(strict, [topics.results]) as reader:
            await assert_settled(strict, topics, reader, once=delivery == "exactly-once")
    assert not isinstance(run.exception(), KafkaException)
