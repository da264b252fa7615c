"""What a dry run of a replay samples of its window."""

from __future__ import annotations

import pytest

from tests.broker.test_replay import Transactional
from tests.clusters import Cluster, event
from worker.kafka.sample import take

pytestmark = pytest.mark.broker


def test_records_are_sampled_from_the_beginning_the_middle_and_the_end_of_each_partition(broker: Cluster) -> None:
    topics = broker.topics(partitions=2)
    sizes = [100] * 300 + [1000] * 300 + [5000] * 300
    broker.produce(topics.input, [{"value": b"x" * size, "partition": n % 2} for n, size in enumerate(sizes)])
    found = take(broker.settings(topics).kafka, topics.input, {0: (0, 450), 1: (0, 450)}, 60)
    assert sorted({len(record.value or b"") for record in found.records}) == [100, 1000, 5000]
    assert len(found.records) == 60
    assert found.expected == 900
    assert found.expected_bytes == sum(sizes)


def test_a_small_window_is_read_whole_and_each_record_once(broker: Cluster) -> None:
    topics = broker.topics(partitions=2)
    broker.produce(topics.input, [{"value": str(n), "partition": n % 2} for n in range(20)])
    kafka = broker.settings(topics).kafka
    for spans, left in (({0: (2, 7), 1: (0, 10)}, 15), ({0: (3, 4), 1: (5, 5)}, 1)):
        found = take(kafka, topics.input, spans, 512)
        assert len({record.coordinates for record in found.records}) == len(found.records) == found.expected == left


def test_what_compaction_left_little_of_counts_for_little_however_much_of_it_was_looked_through(
    broker: Cluster,
) -> None:
    """Aborted transactions, which are quicker to be had, leave the same gaps."""
    topics = broker.topics(partitions=2)
    producer = Transactional(broker, topics.input)
    for _ in range(3):
        producer.begin(100)
        producer.end(commit=False)
    broker.produce(topics.input, [{**event(n), "partition": 0} for n in range(600)])
    broker.produce(topics.input, [{**event(n), "partition": 1} for n in range(30)])
    found = take(broker.settings(topics).kafka, topics.input, {0: (0, 903), 1: (0, 30)}, 30)
    assert found.expected == pytest.approx(630, rel=0.05)


def test_where_nothing_can_be_read_nothing_is_guessed(broker: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.kafka.sample._PATIENCE_S", 1.0)
    topics = broker.topics(partitions=1)
    producer = Transactional(broker, topics.input)
    producer.begin(20)
    kafka = broker.settings(topics).kafka
    found = take(kafka, topics.input, {0: (5, 20)}, 6)
    assert (found.records, found.expected, found.expected_bytes) == ((), None, None)
    producer.end()
    assert take(kafka, topics.input, {0: (5, 5)}, 6).expected == 0
