"""A rebalance under load: what is given up is settled first, so that nothing stands still and nothing is repeated."""

from __future__ import annotations

import asyncio

import pytest
from structlog.typing import EventDict

from tests.broker.test_delivery import mixed
from tests.clusters import Cluster, Reader, source_of
from tests.workers import running

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_partitions_given_up_under_load_are_drained_and_committed(
    broker: Cluster, logs: list[EventDict], protocol: str
) -> None:
    topics = broker.topics()
    settings = broker.settings(topics, f"kafka.group_protocol={protocol}", "kafka.drain_deadline_s=10")
    broker.produce(topics.input, mixed(4000))
    with Reader(broker, [topics.results, topics.dead_letters]) as reader:
        async with running(settings):
            await asyncio.to_thread(reader.until, 300)
            async with running(settings):
                await asyncio.to_thread(reader.until, 4000)
            given_up = [line["partitions"] for line in logs if line["event"] == "kafka.revoked"]
        seen = await asyncio.to_thread(reader.rest)
    assert given_up, "the second worker came too late to show anything"
    assert "kafka.drain_deadline" not in [line["event"] for line in logs]
    assert len(seen) == len({source_of(message) for message in seen}) == 4000
    assert broker.committed(topics) == broker.ends(topics.input)
