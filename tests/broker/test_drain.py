"""A rebalance under load: what is given up is settled first, so that nothing stands still and nothing is done again."""

from __future__ import annotations

import asyncio

import pytest
from structlog.typing import EventDict

from tests.broker.test_delivery import given_up, mixed, taken_in
from tests.clusters import PATIENCE_S, Cluster, Reader, source_of
from tests.workers import running

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("delivery", ["at-least-once", pytest.param("exactly-once", marks=pytest.mark.long)])
async def test_partitions_given_up_under_load_are_drained_and_committed(
    broker: Cluster, logs: list[EventDict], delivery: str, protocol: str
) -> None:
    topics = broker.topics()
    flags = (f"kafka.delivery={delivery}", f"kafka.group_protocol={protocol}", "kafka.drain_deadline_s=10")
    settings = broker.settings(topics, *flags)
    events = 1000
    broker.produce(topics.input, mixed(events))
    with Reader(broker, [topics.results, topics.dead_letters]) as reader:
        async with running(settings) as first, asyncio.timeout(PATIENCE_S):
            await asyncio.to_thread(reader.until, 300)
            async with running(settings) as second:
                while not given_up(logs):  # the load lasts until the group has moved
                    broker.produce(topics.input, mixed(500))
                    await asyncio.to_thread(reader.until, events)
                    events += 500
                await asyncio.to_thread(reader.until, events)
        seen = await asyncio.to_thread(reader.rest)
    assert "kafka.drain_deadline" not in [line["event"] for line in logs]
    # Whoever goes on would do what was not drained, once: only that it was taken in twice tells.
    assert taken_in(first, topics) + taken_in(second, topics) == events
    assert len(seen) == len({source_of(message) for message in seen}) == events
    assert broker.committed(topics) == broker.ends(topics.input)
