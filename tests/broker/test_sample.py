"""What a dry run of a replay samples of its window."""

from __future__ import annotations

import pytest

from tests.clusters import Cluster
from worker.kafka.sample import take

pytestmark = pytest.mark.broker


def test_records_are_sampled_from_the_beginning_the_middle_and_the_end_of_each_partition(broker: Cluster) -> None:
    topics = broker.topics(partitions=2)
    sizes = [100] * 300 + [1000] * 300 + [5000] * 300
    broker.produce(topics.input, [{"value": b"x" * size, "partition": n % 2} for n, size in enumerate(sizes)])
    found = take(broker.settings(topics).kafka, topics.input, {0: (0, 450), 1: (0, 450)}, 60)
    assert sorted({len(record.value or b"") for record in found.records}) == [100, 1000, 5000]
    assert len(found.records) == 60
    assert found.density == 1
    assert found.record_bytes == pytest.approx((100 + 1000 + 5000) / 3, rel=0.01)


def test_a_small_window_is_read_whole_and_each_record_once(broker: Cluster) -> None:
    topics = broker.topics(partitions=2)
    broker.produce(topics.input, [{"value": str(n), "partition": n % 2} for n in range(20)])
    kafka = broker.settings(topics).kafka
    for spans, left in (({0: (2, 7), 1: (0, 10)}, 15), ({0: (3, 4), 1: (5, 5)}, 1)):
        found = take(kafka, topics.input, spans, 512)
        assert len({record.coordinates for record in found.records}) == len(found.records) == found.offsets == left
