"""Reading from a time, and without a trace in any group: what only a real broker can show."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import Producer

from tests.cli import image_worker
from tests.clusters import PATIENCE_S, Cluster

pytestmark = pytest.mark.broker


def test_watch_begins_at_a_time_and_leaves_no_group_behind(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    early, late = 1_700_000_000_000, 1_750_000_000_000
    broker.produce(topics.results, [{"key": "early", "timestamp": early}, {"key": "late", "timestamp": late}])
    flags = [word for flag in broker.flags(topics) for word in ("--set", flag)]
    process = image_worker(*flags, "watch", "--from", "2025-01-01T00:00:00Z", "--count", "1", "--json")
    assert [json.loads(line)["key"] for line in process.stdout.splitlines()] == ["late"]
    groups = broker.admin().list_consumer_groups().result(timeout=PATIENCE_S).valid
    assert topics.group not in {group.group_id for group in groups}


def test_watch_shows_nothing_of_a_transaction_that_was_aborted(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": topics.group})
    producer.init_transactions(PATIENCE_S)
    for key in ("aborted", "committed"):
        producer.begin_transaction()
        producer.produce(topics.results, key=key)
        producer.flush(PATIENCE_S)
        (producer.abort_transaction if key == "aborted" else producer.commit_transaction)(PATIENCE_S)
    flags = [word for flag in broker.flags(topics) for word in ("--set", flag)]
    process = image_worker(*flags, "watch", "--from", "beginning", "--count", "1", "--json")
    assert [json.loads(line)["key"] for line in process.stdout.splitlines()] == ["committed"]
