"""A client that was once told less of a topic than there is, and does not know one of its partitions any more.

The wire leaves the partition out of one answer, and all later ones are the broker's own: see `Proxy.leave_out`.
"""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from structlog.typing import EventDict

from tests.clusters import PATIENCE_S, Cluster, event
from tests.proxy import Proxy
from worker.kafka import scout as room
from worker.kafka.properties import asking_properties
from worker.kafka.scout import Scout, Watermarks

pytestmark = pytest.mark.broker


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


def test_the_scout_asks_with_a_new_client(
    wire: tuple[Proxy, Cluster], monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    monkeypatch.setattr(room, "_ANEW_AFTER_S", 0.0)
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
