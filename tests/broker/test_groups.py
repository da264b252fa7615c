"""Members of a group, on a real Apache Kafka: static ones, ones of another protocol, and one that did not poll."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from structlog.typing import EventDict

from tests.broker.test_bad_clusters import PROTOCOLS, failure
from tests.broker.test_delivery import assert_in_order, mixed
from tests.broker.test_faults import Member, wait_for
from tests.clusters import PATIENCE_S, Cluster, Reader, Topics, event, source_of
from tests.workers import running, until, worker_process
from worker.app import Worker
from worker.kafka.ledger import Ticket

pytestmark = pytest.mark.broker

ONCE = "kafka.delivery=exactly-once"


def rebalances(worker: Worker, event: str) -> float:
    sample = {"event": event}
    return worker.metrics.registry.get_sample_value("image_worker_rebalances_total", sample) or 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_static_member_that_is_restarted_keeps_its_partitions_and_nobody_else_stops(
    broker: Cluster, protocol: str
) -> None:
    topics = broker.topics()
    one, two = (
        broker.settings(topics, ONCE, f"kafka.group_protocol={protocol}", f"kafka.group_instance_id={name}")
        for name in ("one", "two")
    )
    with Reader(broker, [topics.results, topics.dead_letters]) as reader:
        async with running(one) as stays:
            async with running(two) as leaves:
                await until(lambda: len(leaves.status()["assignment"]) == 2, "each has its share")
                broker.produce(topics.input, mixed(200))
                await asyncio.to_thread(reader.until, 200)
                before = rebalances(stays, "revoked")
            broker.produce(topics.input, mixed(200))
            async with running(two) as back:
                await until(lambda: len(back.status()["assignment"]) == 2, "it has its share again")
                seen = await asyncio.to_thread(reader.until, 400)
                assert rebalances(stays, "revoked") == before, "the other one gave something up"
                assert len(stays.status()["assignment"]) == 2
    assert len(seen) == len({source_of(message) for message in seen}) == 400
    assert_in_order(seen)


async def test_of_two_workers_with_one_instance_id_the_first_stops_and_says_why(broker: Cluster) -> None:
    topics = broker.topics()
    first, second = await two_of_one_name(broker, topics, "classic")
    assert "kafka.group_instance_id: give each its own" in await first
    second.cancel()


async def test_with_the_new_protocol_it_is_the_second_when_it_has_waited_for_the_first_ones_session(
    broker: Cluster, monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    monkeypatch.setattr("worker.kafka.source._FREE_AFTER_S", 2.0)
    topics = broker.topics()
    first, second = await two_of_one_name(broker, topics, "consumer")
    assert "kafka.group_instance_id: give each its own" in await second
    assert any(line["event"] == "kafka.instance_id_taken" for line in logs)
    assert not first.done()
    first.cancel()


async def two_of_one_name(cluster: Cluster, topics: Topics, protocol: str) -> list[asyncio.Task[str]]:
    """What each of two workers says when it ends; the second begins when the first has joined."""
    flags = (ONCE, f"kafka.group_protocol={protocol}", "kafka.group_instance_id=one")
    first = asyncio.create_task(failure(cluster, topics, *flags))
    await asyncio.to_thread(wait_for, lambda: members(cluster, topics.group) == 1, "the first has joined")
    return [first, asyncio.create_task(failure(cluster, topics, *flags))]


async def test_the_new_protocol_has_the_id_of_a_killed_worker_free_when_its_session_is_over(
    broker: Cluster, tmp_path: Path, logs: list[EventDict]
) -> None:
    """With `classic` the next one has it at once: `test_whenever_the_worker_is_killed_each_event_has_one_outcome`."""
    topics = broker.topics()
    flags = (ONCE, "kafka.group_protocol=consumer", "kafka.group_instance_id=one")
    with Reader(broker, [topics.results, topics.dead_letters]) as reader:
        with worker_process(broker.flags(topics, *flags), tmp_path / "killed.log") as killed:
            broker.produce(topics.input, mixed(100))
            await asyncio.to_thread(reader.until, 100)
            killed.kill()
            killed.wait()
        broker.produce(topics.input, mixed(100))
        async with running(broker.settings(topics, *flags)) as heir:
            await until(lambda: any(line["event"] == "kafka.instance_id_taken" for line in logs), "it is refused")
            assert heir.status()["not_ready"], "it looks ready while it waits"
            seen = await asyncio.to_thread(reader.until, 200)
    assert len(seen) == len({source_of(message) for message in seen}) == 200
    assert_in_order(seen)


_NOT_YET = {
    KafkaError.GROUP_ID_NOT_FOUND,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError._TIMED_OUT,
}


def members(cluster: Cluster, group: str) -> int:
    admin = cluster.admin()
    try:
        # Asked while the coordinator is being made, librdkafka may wait for as long as it is let (seen).
        found = admin.describe_consumer_groups([group], request_timeout=2.0)[group].result(timeout=PATIENCE_S)
    except KafkaException as error:
        if error.args[0].code() not in _NOT_YET:
            raise
        return 0
    return len(found.members)


def stranger(cluster: Cluster, topics: Topics) -> Consumer:
    """A member that knows no cooperation, and has all partitions."""
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": topics.group,
            "partition.assignment.strategy": "range",
            "log_level": 0,
        }
    )
    consumer.subscribe([topics.input])
    wait_for(lambda: consumer.poll(0.05) or len(consumer.assignment()) == 4, "the stranger has joined")
    return consumer


async def test_a_group_whose_members_know_no_cooperation_is_not_joined(broker: Cluster) -> None:
    topics = broker.topics()
    other = await asyncio.to_thread(stranger, broker, topics)
    said = await failure(broker, topics)
    other.close()
    assert "INCONSISTENT_GROUP_PROTOCOL" in said
    assert "set kafka.group_protocol to theirs" in said


@pytest.mark.long
async def test_with_the_new_protocol_strangers_of_any_assignor_share_the_group(broker: Cluster) -> None:
    """The broker lets it be (seen on Apache Kafka 4.3.1). Where this test fails, guarantees.md may promise more."""
    topics = broker.topics()
    other = await asyncio.to_thread(stranger, broker, topics)
    async with running(broker.settings(topics, "kafka.group_protocol=consumer")) as worker:
        async with asyncio.timeout(PATIENCE_S):
            while len(worker.status()["assignment"]) != 2:
                await asyncio.to_thread(other.poll, 0.05)
        assert len(other.assignment()) == 2
    other.close()


@pytest.mark.parametrize("order", [PROTOCOLS, PROTOCOLS[::-1]])
async def test_members_of_both_protocols_share_a_group_so_that_it_can_be_changed_one_by_one(
    broker: Cluster, order: list[str]
) -> None:
    topics = broker.topics()
    first, second = (broker.settings(topics, f"kafka.group_protocol={protocol}") for protocol in order)
    with Reader(broker, [topics.results, topics.dead_letters]) as reader:
        async with running(first):
            broker.produce(topics.input, mixed(100))
            async with running(second) as newcomer:
                await until(lambda: len(newcomer.status()["assignment"]) == 2, "it has its share")
                broker.produce(topics.input, mixed(100))
                seen = await asyncio.to_thread(reader.until, 200)
        seen = await asyncio.to_thread(reader.rest)
    assert len(seen) == len({source_of(message) for message in seen}) == 200
    assert broker.committed(topics) == broker.ends(topics.input)


class Stalled(Member):
    """A Kafka thread that stands still with its first records until it is told to go on."""

    def __init__(self, cluster: Cluster, *arguments: object) -> None:
        self.go_on = threading.Event()
        super().__init__(cluster, *arguments)  # type: ignore[arg-type]

    def _take(self, tickets: list[Ticket]) -> None:
        super()._take(tickets)
        self.go_on.wait(PATIENCE_S)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_member_that_missed_its_poll_interval_joins_again_and_goes_on(broker: Cluster, protocol: str) -> None:
    topics = broker.topics(partitions=1)
    interval = 'kafka.consumer_properties."max.poll.interval.ms"=6000'
    broker.produce(topics.input, [event(0)])
    with Stalled(broker, topics, f"kafka.group_protocol={protocol}", interval) as member:
        first = member.tickets.get(timeout=PATIENCE_S)
        wait_for(lambda: members(broker, topics.group) == 0, "the group gives it up")
        member.go_on.set()
        again = member.tickets.get(timeout=PATIENCE_S)
        assert again.epoch != first.epoch
        member.finish(first, "void")
        member.finish(again, "done")
        wait_for(lambda: broker.committed(topics) == {0: 1}, "it is committed")
        assert len(broker.read([topics.results], 1)) == 1
