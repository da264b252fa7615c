"""A rebalance under load: what is given up is settled first, so that nothing stands still and nothing is repeated."""

from __future__ import annotations

import asyncio

import pytest
from structlog.typing import EventDict

from tests.broker.test_delivery import mixed
from tests.clusters import PATIENCE_S, Cluster, Reader, source_of
from tests.workers import running

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_partitions_given_up_under_load_are_drained_and_committed(
    broker: Cluster, logs: list[EventDict], protocol: str
) -> None:
    topics = broker.topics()
    settings = broker.settings(topics, f"kafka.group_protocol={protocol}", "kafka.drain_deadline_s=10")
    events = 1000
    broker.produce(topics.input, mixed(events))
    with Reader(broker, [topics.results, topics.dead_letters]) as reader:
        async with running(settings), asyncio.timeout(PATIENCE_S):
            await asyncio.to_thread(reader.until, 300)
            async with running(settings):
                while not (given_up := _given_up(logs)):  # the load lasts until the group has moved
                    broker.produce(topics.input, mixed(500))
                    await asyncio.to_thread(reader.until, events)
                    events += 500
                await asyncio.to_thread(reader.until, events)
        seen = await asyncio.to_thread(reader.rest)
    assert sum(len(partitions) for partitions in given_up) > 0
    assert "kafka.drain_deadline" not in [line["event"] for line in logs]
    assert len(seen) == len({source_of(message) for message in seen}) == events
    assert broker.committed(topics) == broker.ends(topics.input)


def _given_up(logs: list[EventDict]) -> list[list[int]]:
    return [line["partitions"] for line in logs if line["event"] == "kafka.revoked"]
