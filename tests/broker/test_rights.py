"""Rights that the worker lacks or loses, on a broker that looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests import kafka_server
from tests.broker.test_brokers import assert_settled
from tests.clusters import PATIENCE_S, Cluster, Reader, event
from tests.replays import job
from tests.workers import running, until
from worker.app import Worker
from worker.errors import Fatal
from worker.replay.request import Request
from worker.testing import FreeClassifier

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(not kafka_server.own_brokers(), reason="needs a broker with settings of its own: KAFKA_HOME"),
]

AUTHORIZER = """
early.start.listeners=CONTROLLER
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""


@pytest.fixture(scope="module")
def strict() -> Iterator[Cluster]:
    """One broker that looks at rights."""
    with kafka_server.RealKafka(more=AUTHORIZER) as started:
        yield Cluster(started.bootstrap_servers, real=True)


@contextmanager
def ruled(
    cluster: Cluster,
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    permission: AclPermissionType = AclPermissionType.DENY,
) -> Iterator[None]:
    """An operation that everybody is denied, or expressly allowed, until the end."""
    admin = cluster.admin()
    what = (kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission)
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
    with ruled(strict, kinds.get(what, ResourceType.TOPIC), name, AclOperation[said]):
        strict.produce(topics.input, [event(1), event(2)])
        with pytest.raises(Fatal, match=f"ask for .*{said}"):
            await asyncio.wait_for(run, PATIENCE_S)
    async with running(strict.settings(topics, *flags)):
        with Reader(strict, [topics.results]) as reader:
            await assert_settled(strict, topics, reader, once=delivery == "exactly-once")
    assert not isinstance(run.exception(), KafkaException)


async def test_without_the_right_to_be_idempotent_the_worker_says_what_to_ask_for(strict: Cluster) -> None:
    """Whoever may write to any topic has it, so that is denied too; and what else is needed is allowed expressly."""
    topics = strict.topics(partitions=1)
    strict.produce(topics.input, [event(0)])
    cluster, any_topic = (ResourceType.BROKER, "kafka-cluster"), (ResourceType.TOPIC, "*")
    with ExitStack() as stack:
        for where, operation in ((cluster, "ALL"), (any_topic, "DESCRIBE"), (any_topic, "READ")):
            stack.enter_context(ruled(strict, *where, AclOperation[operation], AclPermissionType.ALLOW))
        for where, operation in ((cluster, "IDEMPOTENT_WRITE"), (any_topic, "WRITE")):
            stack.enter_context(ruled(strict, *where, AclOperation[operation]))
        worker = Worker(strict.settings(topics, "kafka.group_protocol=consumer"), FreeClassifier())
        with pytest.raises(Fatal, match="ask for IDEMPOTENT_WRITE on the cluster"):
            await asyncio.wait_for(worker.run(), PATIENCE_S)
    assert strict.committed(topics) == {}


def test_a_replay_without_the_right_to_its_group_says_what_to_ask_for(strict: Cluster) -> None:
    topics = strict.topics(partitions=1)
    with (
        ruled(strict, ResourceType.GROUP, f"{topics.group}.replay.mine", AclOperation.READ),
        pytest.raises(Fatal, match="ask for READ and DESCRIBE on the group"),
    ):
        job(strict, topics, Request("beginning", "now", id="mine"))
