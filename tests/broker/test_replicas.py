"""A partition of events that nobody leads, and brokers of which none answers: a worker that waits for one says so.

librdkafka says nothing of either, and a member of the new protocol keeps its partitions.
"""

from __future__ import annotations

import re
import signal
from dataclasses import replace

import pytest
from confluent_kafka.admin import NewTopic

from tests.broker.test_faults import wait_for
from tests.clusters import PATIENCE_S, Cluster, Topics, event
from tests.e2e.test_health import samples, until_page
from tests.kafka_server import RealKafka
from tests.workers import running, until
from worker.app import Worker

pytestmark = pytest.mark.broker

LOOKS_OFTEN = 'kafka.consumer_properties."topic.metadata.refresh.interval.ms"=1000'


def apart(kafka: RealKafka, cluster: Cluster) -> Topics:
    """The first partition of the events is on the first broker, the second one on the second. Outcomes are on both."""
    topics = cluster.topics()
    topics = replace(topics, input=f"{topics.input}-apart")
    admin = kafka.admin()
    admin.create_topics([NewTopic(topics.input, 2, replica_assignment=[[1], [2]])])[topics.input].result(PATIENCE_S)
    wait_for(lambda: leaders(kafka, topics) == [1, 2], "they have leaders")
    cluster.produce(topics.input, [{**event(number), "partition": number} for number in (0, 1)])
    return topics


def leaders(kafka: RealKafka, topics: Topics) -> list[int]:
    admin = kafka.admin()
    found = admin.list_topics(topics.input, timeout=PATIENCE_S).topics[topics.input].partitions
    return [found[number].leader for number in sorted(found)]


def lines(worker: Worker) -> list[str]:
    """What readiness says, but for how long it is so."""
    return [re.sub(r" for \d+ s", "", line) for line in worker.status()["not_ready"]]


@pytest.mark.parametrize("protocol", ["consumer", pytest.param("classic", marks=pytest.mark.long)])
async def test_an_idle_worker_is_not_ready_while_a_partition_has_no_leader_or_no_broker_answers(
    pair: RealKafka, protocol: str
) -> None:
    cluster = Cluster(pair.bootstrap_servers, real=True)
    topics = apart(pair, cluster)
    flags = (f"kafka.group_protocol={protocol}", "kafka.stuck_after_s=2", LOOKS_OFTEN)
    async with running(cluster.settings(topics, *flags)) as worker:
        await until(lambda: cluster.committed(topics) == {0: 1, 1: 1}, "all is done")
        assert await until_page(worker, "readyz", 200) == "ok\n"
        pair.brokers[1].signal(signal.SIGTERM)
        await until(lambda: leaders(pair, topics) == [1, -1], "it has no leader")
        pair.brokers[1].kill()
        await until(lambda: lines(worker) == [f"{topics.input}[1] cannot be fetched: it has no leader"], "it says so")
        stuck = (await samples(worker))["image_worker_stuck_partition"]
        assert stuck == {("0", topics.input): 0.0, ("1", topics.input): 1.0}

        pair.restart(1)
        assert pair.answers()
        assert await until_page(worker, "readyz", 200) == "ok\n"
        for each in pair.brokers:
            each.signal(signal.SIGSTOP)
        try:
            # A member of the classic protocol gives its partitions up by itself, when its session is over.
            silent = [f"{topics.input}[{number}] cannot be fetched: no broker answers" for number in (0, 1)]
            given_up = ["the consumer group has assigned nothing yet"]
            await until(lambda: lines(worker) == (silent if protocol == "consumer" else given_up), "it says so")
        finally:
            for each in pair.brokers:
                each.signal(signal.SIGCONT)
        assert await until_page(worker, "readyz", 200) == "ok\n"
