"""What brokers may do to a worker under load, on three of them: die, move leaders, lack replicas, throttle.

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
from confluent_kafka import ElectionType
from structlog.typing import EventDict

from tests import kafka_server
from tests.broker.test_delivery import assert_in_order, firsts, mixed
from tests.broker.test_faults import alter
from tests.clusters import PATIENCE_S, Cluster, Reader, Topics, event, source_of
from tests.leaders import HeldSink, coordinator, elect_preferred, leaders, prefer_others, restart
from tests.replays import job, outputs
from tests.workers import running, until
from worker import app
from worker.app import Worker
from worker.errors import Fatal
from worker.kafka.deadletter import DeadLetters
from worker.kafka.exactly_once import ExactlyOnceSink
from worker.kafka.settings import KafkaSettings
from worker.kafka.transactions import Phase
from worker.replay.request import Request
from worker.testing import FreeClassifier

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(not kafka_server.own_brokers(), reason="needs brokers of its own to kill: KAFKA_HOME"),
]

ONCE = "kafka.delivery=exactly-once"
DELIVERIES = ["at-least-once", "exactly-once"]
AWAY = "the broker does not acknowledge outcomes"


@pytest.fixture(scope="module")
def kafka() -> Iterator[kafka_server.RealKafka]:
    if (reason := kafka_server.why_not()) is not None:
        pytest.skip(reason)
    with kafka_server.RealKafka(3) as started:
        yield started


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


async def assert_settled(cluster: Cluster, topics: Topics, reader: Reader, *, once: bool) -> None:
    """Every event has its outcome, by first appearance in order; exactly one where that is promised."""
    ends = await asyncio.to_thread(cluster.ends, topics.input)
    seen = await asyncio.to_thread(reader.until_events, sum(ends.values()))
    await until(lambda: cluster.committed(topics) == ends, "all is committed")
    seen = await asyncio.to_thread(reader.rest)
    assert len({source_of(message) for message in seen}) == sum(ends.values())
    assert_in_order(firsts(seen))
    if once:
        assert len(seen) == sum(ends.values())


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


INTERNAL = ("__transaction_state", "__consumer_offsets")


@pytest.mark.parametrize("dies", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "at",
    [Phase.SENDING, *(pytest.param(each, marks=pytest.mark.long) for each in (Phase.OPEN, Phase.COMMITTING))],
)
async def test_leaders_and_coordinators_that_move_in_the_middle_of_a_transaction_cost_and_repeat_nothing(
    kafka: kafka_server.RealKafka, three: Cluster, monkeypatch: pytest.MonkeyPatch, at: Phase, dies: bool
) -> None:
    """Of the results, of the transaction, and of the group; while records, offsets or the commit have no answer yet."""
    topics = three.topics(partitions=2)
    held: list[HeldSink] = []

    def open_held(settings: KafkaSettings, dead_letters: DeadLetters) -> HeldSink:
        held.append(HeldSink(ExactlyOnceSink(settings, dead_letters), at))
        return held[0]

    monkeypatch.setattr(app, "open_sink", open_held)
    moving = [topics.results, topics.dead_letters, *INTERNAL]
    with Reader(three, [topics.results, topics.dead_letters]) as reader:
        async with running(three.settings(topics, ONCE, "kafka.group_protocol=consumer")) as worker:
            with load(three, topics):
                await asyncio.to_thread(reader.until, 100)
                before = await asyncio.to_thread(leaders, three, moving)
                await asyncio.to_thread(prefer_others, kafka, three, moving)
                held[0].armed.set()
                await until(held[0].reached.is_set, "a transaction is held")
                if dies:
                    dying = kafka.brokers[before[topics.results, 0] - 1]
                    await asyncio.to_thread(restart, kafka, dying)
                await asyncio.to_thread(elect_preferred, three, moving)
                after = await asyncio.to_thread(leaders, three, moving)
                held[0].let_go.set()
                await asyncio.to_thread(reader.until, len(reader.seen) + 200)
            await assert_settled(three, topics, reader, once=True)
            await until(lambda: not worker.status()["not_ready"], "it is ready again")
    assert all(after[each] != before[each] for each in before)


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


@pytest.mark.long
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_replay_goes_on_over_a_broker_that_dies_and_comes_back(
    kafka: kafka_server.RealKafka, three: Cluster, delivery: str
) -> None:
    topics = three.topics()
    three.produce(topics.input, mixed(1500))
    made = job(three, topics, Request("beginning", "300", rate=100), f"kafka.delivery={delivery}")
    made.make_topics()
    worker, standing = made.worker()
    with Reader(three, outputs(made)) as reader:
        run = asyncio.create_task(worker.run())
        await asyncio.to_thread(reader.until, 200)
        dying = await asyncio.to_thread(coordinator, three, kafka, made.plan.settings.kafka.group_id)
        await asyncio.to_thread(restart, kafka, dying)
        assert not run.done(), "it was over before there was anything to show"
        await asyncio.wait_for(run, 3 * PATIENCE_S)
        seen = await asyncio.to_thread(reader.rest)
    wanted = {(n, offset) for n, end in three.ends(topics.input).items() for offset in range(min(end, 300))}
    assert standing.complete
    assert set(map(source_of, seen)) == wanted
    assert all(len(ids) == 1 for ids in reader.ids.values())
    if delivery == "exactly-once":
        assert len(seen) == len(wanted)
        assert_in_order(seen)


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
            why = f"{topics.results}[0] has 2 of 3 replicas in sync"
            await until(lambda: why in worker.status()["not_ready"], "and why")
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
    # With `classic` and these tests' short session an answer that takes 1.5 s is given up, and its outcomes repeated.
    settings = three.settings(topics, f"kafka.delivery={delivery}", "kafka.group_protocol=consumer")
    async with running(settings):
        await asyncio.to_thread(three.read, [topics.results], 1)
        await asyncio.to_thread(remove, three, topics.results)
        three.produce(topics.input, [event(1), event(2)])
        await asyncio.to_thread(three.create, topics.results, partitions=1)
        seen = await asyncio.to_thread(three.read, [topics.results], 2)
    assert [source_of(message) for message in seen] == [(0, 1), (0, 2)]
    assert three.committed(topics) == {0: 3}


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_results_topic_that_is_deleted_for_good_stops_the_worker_and_nothing_is_passed_over(
    three: Cluster, delivery: str
) -> None:
    topics = three.topics(partitions=1)
    three.produce(topics.input, [event(0)])
    # Longer than a producer of at-least-once lives that gets nothing done, as the defaults are.
    sooner = [
        f'kafka.producer_properties."topic.metadata.{each}.ms"={limit_ms}'
        for each, limit_ms in (("propagation.max", 5000), ("refresh.interval", 1000))
    ]
    worker = Worker(three.settings(topics, f"kafka.delivery={delivery}", *sooner), FreeClassifier())
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


@pytest.mark.parametrize("delivery", ["at-least-once", pytest.param("exactly-once", marks=pytest.mark.long)])
async def test_a_quota_slows_the_worker_down_and_is_not_taken_for_an_outage(
    kafka: kafka_server.RealKafka, three: Cluster, logs: list[EventDict], delivery: str
) -> None:
    topics = three.topics(partitions=1)
    await asyncio.to_thread(quota, kafka, "--add-config", "producer_byte_rate=20000")
    try:
        with Reader(three, [topics.results, topics.dead_letters]) as reader:
            async with running(three.settings(topics, f"kafka.delivery={delivery}")) as worker:
                await until(lambda: not worker.status()["not_ready"], "it is ready")
                three.produce(topics.input, mixed(400))
                settled = asyncio.create_task(assert_settled(three, topics, reader, once=delivery == "exactly-once"))
                while not settled.done():
                    assert worker.status()["not_ready"] == []
                    await asyncio.sleep(0.05)
                await settled
    finally:
        await asyncio.to_thread(quota, kafka, "--delete-config", "producer_byte_rate")
    events = [line["event"] for line in logs]
    assert "kafka.throttled" in events
    assert "kafka.settle_waits" not in events


def quota(kafka: kafka_server.RealKafka, *change: str) -> None:
    """Of the worker's clients."""
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", kafka.classpath, "kafka.admin.ConfigCommand"]
    command += ["--bootstrap-server", kafka.bootstrap_servers, "--alter", *change]
    subprocess.run([*command, "--entity-type", "clients", "--entity-name", "image-worker"], check=True)
