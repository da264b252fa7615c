"""A client that does not know a partition any more, though the cluster does.

It heard of the partition when that had no leader; or it was once told less of a topic than there is: the wire leaves a
partition out of one answer, and all later ones are the broker's own (`Proxy.leave_out`).
"""

from __future__ import annotations

import signal
import threading

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic
from structlog.typing import EventDict

from tests.broker.test_faults import wait_for
from tests.clusters import PATIENCE_S, Cluster, event
from tests.kafka_server import RealKafka
from tests.proxy import Proxy
from worker.kafka.offsets import TopicOffsets
from worker.kafka.patience import patiently
from worker.kafka.properties import asking_properties
from worker.kafka.scout import Scout, Watermarks

pytestmark = pytest.mark.broker


class Leaderless:
    """A topic whose one partition is on the second broker, which is away."""

    def __init__(self, kafka: RealKafka) -> None:
        self._kafka = kafka
        self.cluster = Cluster(kafka.bootstrap_servers, real=True)
        self.topics = self.cluster.topics()
        self.topic = f"{self.topics.input}-alone"
        self.settings = self.cluster.settings(self.topics, f"kafka.topics.input={self.topic}").kafka
        self._admin = kafka.admin()
        self._admin.create_topics([NewTopic(self.topic, 1, replica_assignment=[[2]])])[self.topic].result(PATIENCE_S)
        wait_for(lambda: self._leader() == 2, "it has a leader")
        self.cluster.produce(self.topic, [event(0)])
        kafka.brokers[1].signal(signal.SIGTERM)
        wait_for(lambda: self._leader() == -1, "it has none")
        kafka.brokers[1].kill()

    def _leader(self) -> int:
        found = self._admin.list_topics(self.topic, timeout=PATIENCE_S).topics[self.topic].partitions.get(0)
        return -1 if found is None else found.leader

    def mend(self) -> None:
        self._kafka.restart(1)
        assert self._kafka.answers()
        wait_for(lambda: self._leader() == 2, "it has its leader again")


def test_a_client_of_librdkafka_does_not_look_again_for_a_leader_that_it_was_told_is_not_there(pair: RealKafka) -> None:
    """This is the fault that the scout has to live with. Where this test fails, it need not."""
    alone = Leaderless(pair)
    client = Consumer(asking_properties(alone.settings))
    partition = TopicPartition(alone.topic, 0)

    def refusal() -> int | None:
        try:
            client.get_watermark_offsets(partition, timeout=PATIENCE_S)
        except KafkaException as error:
            code: int = error.args[0].code()
            return code
        return None

    try:
        assert refusal() == KafkaError._UNKNOWN_PARTITION
    finally:
        alone.mend()
    assert refusal() == KafkaError._UNKNOWN_PARTITION
    client.list_topics(alone.topic, timeout=PATIENCE_S)
    assert refusal() is None
    client.close()


def test_the_scout_says_that_there_is_no_leader_and_goes_on_when_there_is_one(
    pair: RealKafka, logs: list[EventDict]
) -> None:
    alone = Leaderless(pair)
    scout = Scout(alone.settings)
    try:
        with pytest.raises(KafkaException, match="Leader not available"):
            scout.explore([(alone.topic, 0)], PATIENCE_S)
    finally:
        alone.mend()
    # A broker that was elected just now may not know it yet.
    found = patiently(lambda: scout.explore([(alone.topic, 0)], PATIENCE_S), PATIENCE_S)
    assert found == {(alone.topic, 0): Watermarks(0, 1)}
    assert not [line for line in logs if line["event"] == "kafka.partition_unknown"]


def test_who_looks_at_a_topics_offsets_waits_for_the_leader(pair: RealKafka) -> None:
    alone = Leaderless(pair)
    look = TopicOffsets(alone.settings, alone.topic, patience_s=PATIENCE_S)
    back = threading.Timer(1.0, alone.mend)
    back.start()
    try:
        assert look.extents()[0].high == 1
    finally:
        back.join()


def test_a_client_of_librdkafka_goes_on_without_a_partition_that_one_answer_lacked(wire: tuple[Proxy, Cluster]) -> None:
    """This is the fault that the scout has to live with. Where this test fails, it lives without it."""
    proxy, cluster = wire
    topics = cluster.topics(partitions=3)
    properties = asking_properties(cluster.settings(topics, 'kafka.properties."client.id"="sparse"').kafka)
    client = Consumer(properties)
    proxy.leave_out("sparse", topics.input, 1)
    client.list_topics(topics.input, timeout=PATIENCE_S)
    assert proxy.left_out
    for _ in range(3):
        whole = client.list_topics(topics.input, timeout=PATIENCE_S).topics[topics.input]
        assert whole.partitions.keys() == {0, 1, 2}, "the broker says it"
        with pytest.raises(KafkaException) as refusal:
            client.get_watermark_offsets(TopicPartition(topics.input, 1), timeout=PATIENCE_S)
        assert refusal.value.args[0].code() == KafkaError._UNKNOWN_PARTITION
    client.close()


def test_the_scout_asks_with_a_new_client(wire: tuple[Proxy, Cluster], logs: list[EventDict]) -> None:
    proxy, cluster = wire
    topics = cluster.topics(partitions=3)
    cluster.produce(topics.input, [{**event(0), "partition": 1}])
    scout = Scout(cluster.settings(topics, 'kafka.properties."client.id"="scout"').kafka)
    proxy.leave_out("scout", topics.input, 1)
    with pytest.raises(KafkaException, match="Unknown partition"):
        scout.explore([(topics.input, 1)], PATIENCE_S)
    assert proxy.left_out
    assert scout.explore([(topics.input, 1)], PATIENCE_S) == {(topics.input, 1): Watermarks(0, 1)}
    assert [line["partition"] for line in logs if line["event"] == "kafka.partition_unknown"] == [1]
