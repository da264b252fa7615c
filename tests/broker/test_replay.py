"""A window of a topic done again, on a real Apache Kafka: exactly that window, whatever happens, and nothing else."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource
from structlog.typing import EventDict

from tests.broker.test_delivery import assert_in_order, mixed
from tests.broker.test_exactly_once import sources
from tests.clusters import PATIENCE_S, Cluster, event, header
from tests.kafka_server import own_brokers
from tests.replays import job, other_model, outputs, replayed
from tests.workers import running, until
from worker.kafka.groups import GroupLook
from worker.replay.job import Job
from worker.replay.request import Request

pytestmark = pytest.mark.broker

ALL = Request("beginning", "now")
DELIVERIES = ["at-least-once", "exactly-once"]


class Transactional:
    """A producer that leaves transaction markers, and records of transactions that never were, in its one partition."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        servers = cluster.bootstrap_servers
        self._producer = Producer({"bootstrap.servers": servers, "transactional.id": topic, "log_level": 0})
        self._producer.init_transactions(PATIENCE_S)
        self._topic = topic

    def begin(self, count: int) -> None:
        self._producer.begin_transaction()
        for number in range(count):
            self._producer.produce(self._topic, partition=0, **event(number))
        self._producer.flush(PATIENCE_S)

    def end(self, *, commit: bool = True) -> None:
        (self._producer.commit_transaction if commit else self._producer.abort_transaction)(PATIENCE_S)


def committed(cluster: Cluster, made: Job) -> dict[int, int]:
    """What a replay's group has committed."""
    kafka = made.plan.settings.kafka
    found = GroupLook(kafka, kafka.group_id).committed(kafka.topics.input, made.plan.spans)
    return {number: position.offset for number, position in found.items()}


def ids(messages: list[Message]) -> set[str | None]:
    return {header(message, "image-worker.outcome.id") for message in messages}


async def seen(cluster: Cluster, made: Job, count: int) -> list[Message]:
    return await asyncio.to_thread(cluster.read, outputs(made), count)


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_it_ends_at_the_ends_of_its_start_with_markers_before_and_new_records_after_them(
    broker: Cluster, delivery: str
) -> None:
    topics = broker.topics(partitions=2)
    producer = Transactional(broker, topics.input)
    for count, commit in ((5, False), (20, True), (3, False)):
        producer.begin(count)
        producer.end(commit=commit)
    broker.produce(topics.input, [{**event(number), "partition": 1} for number in range(30)])
    made = job(broker, topics, ALL, f"kafka.delivery={delivery}")
    assert made.plan.spans == {0: (0, 31), 1: (0, 30)}
    broker.produce(topics.input, mixed(50))
    made.make_topics()
    worker, standing = made.worker()
    await worker.run()
    assert standing.complete
    outcomes = await seen(broker, made, 50)
    wanted = {(0, offset) for offset in range(6, 26)} | {(1, offset) for offset in range(30)}
    assert sources(outcomes) == Counter(wanted)
    assert_in_order(outcomes)
    assert committed(broker, made) == {0: 31, 1: 30}


def compacted(cluster: Cluster, topic: str) -> list[int]:
    """The offsets that are left in a topic of one partition in which compaction has made gaps."""
    if own_brokers():
        set_config(cluster, ConfigResource.Type.BROKER, "1", "log.cleaner.backoff.ms", "200")
    rolls = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "100"}
    cluster.create(topic, partitions=1, config={"cleanup.policy": "compact", **rolls})
    for key in ("a", "b", "c"):
        cluster.produce(topic, [{"key": key, "value": event(number)["value"]} for number in range(20)])
    left = list(range(60))
    deadline_s = time.monotonic() + PATIENCE_S
    while len([offset for offset in left if offset < 40]) > 2:
        assert time.monotonic() < deadline_s, "it was not compacted"
        # A segment rolls when a record comes after its time, and is not compacted before.
        cluster.produce(topic, [{"key": "last", "value": event(0)["value"]}])
        left = offsets_of(cluster, topic)
    return left


def offsets_of(cluster: Cluster, topic: str) -> list[int]:
    consumer = Consumer(
        {"bootstrap.servers": cluster.bootstrap_servers, "group.id": "look", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    left = []
    while (message := consumer.poll(PATIENCE_S)) is not None and message.error() is None:
        left.append(message.offset() or 0)
    consumer.close()
    return left


async def test_gaps_of_compaction_are_passed_over_and_an_end_may_be_in_one(broker: Cluster) -> None:
    plain = broker.topics()
    topics = dataclasses.replace(plain, input=f"{plain.input}-compacted")
    left = await asyncio.to_thread(compacted, broker, topics.input)
    end = broker.ends(topics.input)[0]
    in_a_gap = await replayed(broker, topics, Request("5", "30"))
    assert sources(await seen(broker, in_a_gap, 1)) == Counter((0, offset) for offset in left if 5 <= offset < 30)
    assert committed(broker, in_a_gap) == {0: 30}
    whole = await replayed(broker, topics, Request("beginning", str(end)))
    found = {offset for _, offset in sources(await seen(broker, whole, 1))}
    assert {19, 39, 59, end - 1} <= found <= set(left), "the newest of each key stays; the cleaner goes on meanwhile"
    assert committed(broker, whole) == {0: end}


@pytest.mark.parametrize("commit", [True, False])
async def test_a_transaction_that_is_open_at_the_start_is_waited_for(broker: Cluster, commit: bool) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(0)])
    producer = Transactional(broker, topics.input)
    producer.begin(5)
    made = job(broker, topics, ALL)
    made.make_topics()
    worker, standing = made.worker()
    running = asyncio.create_task(worker.run())
    await until(lambda: standing.left[0] == (1, 6), "all but the open transaction is done")
    assert not running.done()
    producer.end(commit=commit)
    await running
    assert standing.complete
    assert len(await seen(broker, made, 1 + 5 * commit)) == 1 + 5 * commit


async def test_a_start_behind_an_open_transaction_waits_for_it_and_says_so_and_where_nothing_is_asked_for_it_ends(
    broker: Cluster, monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    monkeypatch.setattr("worker.kafka.window._SAY_EVERY_S", 1.0)
    topics = broker.topics(partitions=1)
    producer = Transactional(broker, topics.input)
    producer.begin(5)
    nothing = await replayed(broker, topics, Request("now", "now"))
    assert committed(broker, nothing) == {0: 5}
    made = job(broker, topics, Request("3", "now"))
    made.make_topics()
    worker, standing = made.worker()
    running = asyncio.create_task(worker.run())
    await until(lambda: any(line["event"] == "replay.waits" for line in logs), "it is said")
    assert not running.done()
    producer.end()
    await running
    assert standing.complete
    assert sources(await seen(broker, made, 2)) == Counter({(0, 3): 1, (0, 4): 1})


async def test_the_same_model_gives_the_same_ids_and_another_one_others_for_the_same_sources(broker: Cluster) -> None:
    topics = broker.topics()
    broker.produce(topics.input, mixed(60))
    async with running(broker.settings(topics)):
        live = await asyncio.to_thread(broker.read, [topics.results, topics.dead_letters], 60)
    at_work = broker.committed(topics)
    same = await replayed(broker, topics, ALL)
    other = await replayed(broker, topics, ALL, model=other_model())
    assert same.plan.id != other.plan.id
    first, second = await seen(broker, same, 60), await seen(broker, other, 60)
    assert ids(first) == ids(live)
    assert not ids(second) & ids(live)
    assert sources(first) == sources(second) == sources(live)
    assert len(broker.read([topics.results, topics.dead_letters], 60)) == 60, "a replay wrote to a live topic"
    assert broker.committed(topics) == at_work


async def test_times_and_partitions_bound_it(broker: Cluster) -> None:
    topics = broker.topics()
    records = [{**event(n), "partition": n % 4, "timestamp": 1_700_000_000_000 + 1000 * n} for n in range(80)]
    broker.produce(topics.input, records)
    # From second 20 to before second 60: 10 of the 20 records of each partition.
    request = Request("2023-11-14T22:13:40Z", "2023-11-14T22:14:20Z", partitions=(1, 3))
    made = await replayed(broker, topics, request)
    found = sources(await seen(broker, made, 20))
    assert found == Counter((number, offset) for number in (1, 3) for offset in range(5, 15))


async def test_a_window_of_nothing_but_dead_letters_and_an_empty_one_end_like_any_other(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [{"value": b"no event at all"}] * 20)
    made = await replayed(broker, topics, Request("5", "15"))
    letters = await seen(broker, made, 10)
    assert {message.topic() for message in letters} == {f"{topics.dead_letters}.replay.{made.plan.id}"}
    empty = await replayed(broker, topics, Request("15", "15"))
    assert committed(broker, empty) == {0: 15}
    assert broker.ends(outputs(empty)[1]) == {}


async def test_its_own_topics_are_made_like_the_live_ones(broker: Cluster) -> None:
    topics = broker.topics()
    compacted = f"{topics.results}-compacted"
    broker.create(compacted, partitions=3, config={"cleanup.policy": "compact", "retention.ms": "12345"})
    made = job(broker, topics, ALL, f"kafka.topics.results={compacted}")
    made.make_topics()
    made.make_topics()
    own = outputs(made)[0]
    assert len(broker.admin().list_topics(own, timeout=PATIENCE_S).topics[own].partitions) == 3
    assert configuration(broker, own) == {"cleanup.policy": "compact", "retention.ms": "12345"}


def configuration(cluster: Cluster, topic: str) -> dict[str, Any]:
    """What is set for a topic itself."""
    admin = cluster.admin()
    (future,) = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
    entries = future.result(timeout=PATIENCE_S).values()
    return {entry.name: entry.value for entry in entries if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value}


def set_config(cluster: Cluster, kind: Any, name: str, key: str, value: str) -> None:
    resource = ConfigResource(kind, name)
    resource.add_incremental_config(ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET))
    admin = cluster.admin()
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(timeout=PATIENCE_S)


async def test_it_writes_to_the_live_topics_and_those_of_actions_where_it_is_told_to(broker: Cluster) -> None:
    topics = broker.topics()
    blocked = f"{topics.results}-blocked"
    broker.create(blocked)
    broker.produce(topics.input, [event(0), {"value": b"no event at all"}])
    flags = ("policy.thresholds.a.block=0.5", f"policy.topics.block={blocked}")
    own = await replayed(broker, topics, ALL, *flags)
    assert {message.topic() for message in await seen(broker, own, 2)} == set(outputs(own))
    request = Request("beginning", "now", output=topics.results, dead_letters=topics.dead_letters)
    await replayed(broker, topics, request, *flags)
    assert {message.topic() for message in broker.read([blocked, topics.dead_letters], 2)} == {
        blocked,
        topics.dead_letters,
    }
