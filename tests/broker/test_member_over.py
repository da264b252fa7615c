"""librdkafka may end a member of the new protocol for a fault of its own: a heartbeat that no broker takes.

It did not poll for too long while the coordinator was away, and joins as if it had not left (read in 2.16, seen in
chaos). That is a matter of microseconds in its threads, so here the wire answers a heartbeat so.
"""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import KafkaError
from structlog.typing import EventDict

from tests.broker.test_bad_clusters import failure
from tests.broker.test_delivery import assert_in_order, mixed
from tests.clusters import Cluster, Reader, source_of
from tests.proxy import Proxy
from tests.workers import running, until

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("code", [KafkaError.INVALID_REQUEST, pytest.param(KafkaError.UNKNOWN, marks=pytest.mark.long)])
@pytest.mark.parametrize("static", ["", pytest.param("kafka.group_instance_id=one", marks=pytest.mark.long)])
@pytest.mark.parametrize("delivery", [pytest.param("at-least-once", marks=pytest.mark.long), "exactly-once"])
async def test_another_member_goes_on_in_its_place_and_does_nothing_again(
    wire: tuple[Proxy, Cluster], logs: list[EventDict], delivery: str, static: str, code: int
) -> None:
    proxy, cluster = wire
    topics = cluster.topics()
    own = ("kafka.group_protocol=consumer", 'kafka.properties."client.id"="over"', *filter(None, [static]))
    with Reader(cluster, [topics.results, topics.dead_letters]) as reader:
        async with running(cluster.settings(topics, *own, f"kafka.delivery={delivery}")):
            cluster.produce(topics.input, mixed(100))
            await asyncio.to_thread(reader.until_events, 100)
            await until(lambda: cluster.committed(topics) == cluster.ends(topics.input), "all is committed")
            for times in (1, 2):
                proxy.refuse_heartbeat("over", code)
                await until(lambda: refused(logs, code) == times, "the member is over")  # noqa: B023
                cluster.produce(topics.input, mixed(100))
                await asyncio.to_thread(reader.until_events, 100 + 100 * times)
            await until(lambda: cluster.committed(topics) == cluster.ends(topics.input), "all is committed")
        seen = reader.rest()
    assert len(seen) == len(set(map(source_of, seen))) == 300
    assert_in_order(seen)


@pytest.mark.long
async def test_a_group_that_its_coordinator_knows_no_more_ends_the_worker_which_says_what_that_may_mean(
    wire: tuple[Proxy, Cluster],
) -> None:
    """No broker was brought to forget a group that has members, so the wire says it."""
    proxy, cluster = wire
    topics = cluster.topics()
    own = ("kafka.group_protocol=consumer", 'kafka.properties."client.id"="forgotten"')
    ended = asyncio.create_task(failure(cluster, topics, *own))
    cluster.produce(topics.input, mixed(10))
    await until(lambda: cluster.committed(topics) == cluster.ends(topics.input), "all is committed")
    proxy.refuse_heartbeat("forgotten", KafkaError.GROUP_ID_NOT_FOUND)
    assert "the group is not known any more" in await ended


def refused(logs: list[EventDict], code: int) -> int:
    return sum(line["event"] == "kafka.member_over" and KafkaError(code).str() in line["error"] for line in logs)
