"""A cluster that cannot keep transactions: one broker with Kafka's own default of three replicas for their state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from structlog.typing import EventDict

from tests import kafka_server
from tests.broker.bench import ONCE
from tests.clusters import Cluster, event
from tests.workers import running, until
from worker.kafka import transactions, trial_id
from worker.kafka.trial_id import try_id

pytestmark = pytest.mark.broker


@pytest.fixture
def lone() -> Iterator[Cluster]:
    if kafka_server.why_not() is not None or not kafka_server.own_brokers():
        pytest.skip("needs a broker with a setting of its own: KAFKA_HOME")
    with kafka_server.RealKafka(more="transaction.state.log.replication.factor=3\n") as kafka:
        yield Cluster(kafka.bootstrap_servers, real=True)


async def test_a_worker_that_gets_no_transactional_id_says_so_and_goes_on_when_there_are_transactions(
    lone: Cluster, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "_WAITS_S", 0.5)
    monkeypatch.setattr(trial_id, "_TIMEOUT_S", 1.0)
    topics = lone.topics(partitions=1)
    lone.produce(topics.input, [event(0)])
    settings = lone.settings(topics, ONCE)
    found = await asyncio.to_thread(try_id, settings.kafka)
    assert found.result.startswith("no transactional id in 1 s: ")
    assert "transaction.state.log.replication.factor" in found.remedy
    async with running(settings) as worker:
        await until(lambda: "transactional id" in " ".join(worker.status()["not_ready"]), "it says so")
        await until(lambda: any(line["event"] == "kafka.transactional_id_waits" for line in logs), "it is logged")
        (said, *_) = (line for line in logs if line["event"] == "kafka.transactional_id_waits")
        assert said["id"].startswith(topics.group)
        assert "transaction.state.log.replication.factor" in said["next"]
        # What an operator may do who has no more brokers.
        compacted = {"cleanup.policy": "compact"}
        await asyncio.to_thread(lone.create, "__transaction_state", partitions=8, config=compacted)
        await asyncio.to_thread(lone.read, [topics.results], 1)
        await until(lambda: worker.status()["not_ready"] == [], "it is ready")
    assert lone.committed(topics) == {0: 1}
    assert (await asyncio.to_thread(try_id, settings.kafka)).remedy == ""
