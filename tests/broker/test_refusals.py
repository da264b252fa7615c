"""Outcomes that a real broker refuses for what they are, among others that it takes, each for its own reason."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.broker.test_delivery import assert_in_order
from tests.broker.test_faults import alter
from tests.clusters import Cluster, event, header, source_of
from tests.workers import running

pytestmark = pytest.mark.broker

YEARS_AGO_MS = 1_400_000_000_000


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
async def test_outcomes_refused_for_different_reasons_at_once_cost_no_other_and_each_says_its_own(
    broker: Cluster, delivery: str
) -> None:
    topics = broker.topics(partitions=1)
    alter(broker, topics.results, "cleanup.policy", "compact")
    alter(broker, topics.dead_letters, "message.timestamp.before.max.ms", "3600000")
    alter(broker, topics.dead_letters, "max.message.bytes", "5000")
    records: list[dict[str, Any]] = [event(number) for number in range(30)]
    records[7]["key"] = None
    records[8] = {"key": "large", "value": "x" * 20_000}
    records[9] = {"key": "old", "value": "no event", "timestamp": YEARS_AGO_MS}
    records[20] = {"key": "new", "value": "no event"}
    records[21]["key"] = None
    broker.produce(topics.input, records)
    flags = (f"kafka.delivery={delivery}", "kafka.group_protocol=consumer")
    async with running(broker.settings(topics, *flags)):
        seen = await asyncio.to_thread(broker.read, [topics.results, topics.dead_letters], 30)
    letters = [message for message in seen if message.topic() == topics.dead_letters]
    said = {source_of(letter)[1]: header(letter, "__connect.errors.exception.message") for letter in letters}
    assert {number: (text or "").split(": ")[0] for number, text in said.items()} == {
        7: "outcome_refused",
        8: "outcome_too_large",
        9: "outcome_refused",
        20: "unrecognised_value",
        21: "outcome_refused",
    }
    assert all("a compacted topic needs a key" in (said[number] or "") for number in (7, 21))
    assert "see the topic's message.timestamp settings" in (said[9] or "")
    assert len(seen) == 30
    assert_in_order(seen)
    assert broker.committed(topics) == {0: 30}
