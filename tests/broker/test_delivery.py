"""The delivery contract, over the embedded cluster and a real Apache Kafka, with both group protocols."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from dataclasses import dataclass

import pytest
from confluent_kafka import Message
from structlog.typing import EventDict

from tests.clusters import PATIENCE_S, Cluster, Reader, Topics, event, header, source_of
from tests.workers import running, until
from worker.app import Worker
from worker.models.classifier import PixelBatch, ScoreBatch
from worker.testing import FreeClassifier

PROTOCOLS = ["classic", "consumer"]

# The embedded cluster loses offsets sent with a transaction, and hands nothing over between members of a classic group.
REAL = [
    pytest.param(("broker", protocol, delivery), id=f"broker-{protocol}-{delivery}", marks=pytest.mark.broker)
    for protocol, delivery in [("classic", "at-least-once"), ("classic", "exactly-once"), ("consumer", "exactly-once")]
]
EMBEDDED = [pytest.param(("embedded", protocol, "at-least-once"), id=f"embedded-{protocol}") for protocol in PROTOCOLS]


@dataclass(frozen=True, slots=True)
class Way:
    """A cluster, and the settings of the group protocol and the guarantee that are tried on it."""

    cluster: Cluster
    flags: tuple[str, ...]


@pytest.fixture(params=EMBEDDED + REAL)
def way(request: pytest.FixtureRequest) -> Way:
    kind, protocol, delivery = request.param
    flags = (f"kafka.group_protocol={protocol}", f"kafka.delivery={delivery}")
    return Way(request.getfixturevalue(kind), flags)


def mixed(count: int) -> list[dict[str, object]]:
    """Events of which every tenth cannot be done."""
    broken = {"value": b"no event at all"}
    return [{**event(number), **(broken if number % 10 == 9 else {})} for number in range(count)]


async def outcomes(cluster: Cluster, topics: Topics, count: int) -> list[Message]:
    return await asyncio.to_thread(cluster.read, [topics.results, topics.dead_letters], count)


def assert_in_order(messages: list[Message]) -> None:
    """Within each partition of each output topic, the outcomes of one source partition are in its order."""
    lanes: dict[tuple[str | None, int | None, int], list[int]] = defaultdict(list)
    for message in messages:
        partition, offset = source_of(message)
        lanes[message.topic(), message.partition(), partition].append(offset)
    for offsets in lanes.values():
        assert offsets == sorted(offsets)


def firsts(messages: list[Message]) -> list[Message]:
    """Of each event the first outcome, in the order in which they came."""
    found: dict[tuple[int, int], Message] = {}
    for message in messages:
        found.setdefault(source_of(message), message)
    return list(found.values())


def taken_in(worker: Worker, topics: Topics) -> float:
    """How many records a worker took in: more than there are events, where some were read again."""
    return worker.metrics.registry.get_sample_value("image_worker_records_total", {"topic": topics.input}) or 0


def given_up(logs: list[EventDict]) -> bool:
    """Whether a rebalance has taken a partition from someone."""
    return any(line["event"] == "kafka.revoked" and line["partitions"] for line in logs)


async def test_every_event_has_exactly_one_outcome_in_order_and_its_offset_committed(way: Way) -> None:
    cluster = way.cluster
    topics = cluster.topics()
    cluster.produce(topics.input, mixed(300))
    async with running(cluster.settings(topics, *way.flags)):
        seen = await outcomes(cluster, topics, 300)
    assert len(seen) == 300
    assert len({source_of(message) for message in seen}) == 300
    assert sum(message.topic() == topics.dead_letters for message in seen) == 30
    assert_in_order(seen)
    assert cluster.committed(topics) == cluster.ends(topics.input)


@pytest.mark.parametrize("way", [EMBEDDED[0], REAL[-1]], indirect=True)
async def test_a_restarted_worker_goes_on_where_it_stopped(way: Way) -> None:
    cluster, topics = way.cluster, way.cluster.topics()
    settings = cluster.settings(topics, *way.flags)
    cluster.produce(topics.input, mixed(50))
    async with running(settings):
        await outcomes(cluster, topics, 50)
    cluster.produce(topics.input, mixed(50))
    async with running(settings):
        seen = await outcomes(cluster, topics, 100)
    assert len({source_of(message) for message in seen}) == len(seen) == 100


async def test_key_and_headers_are_passed_on_and_the_outcome_has_an_id(cluster: Cluster) -> None:
    topics = cluster.topics()
    cluster.produce(topics.input, [event(7)])
    async with running(cluster.settings(topics)):
        (message,) = await outcomes(cluster, topics, 1)
    assert message.key() == b"key-7"
    assert header(message, "number") == "7"
    assert header(message, "image-worker.outcome.id") == json.loads(message.value() or b"")["outcome_id"]


async def test_a_dead_letter_is_the_record_as_it_came_and_says_why(cluster: Cluster) -> None:
    topics = cluster.topics()
    record = {
        "key": b"\xff\x00",
        "value": b"no event",
        "headers": [("a", b"1"), ("a", None)],
        "timestamp": 1234567890123,
    }
    cluster.produce(topics.input, [record])
    async with running(cluster.settings(topics)):
        (message,) = await outcomes(cluster, topics, 1)
    assert (message.key(), message.value(), message.timestamp()[1]) == (b"\xff\x00", b"no event", 1234567890123)
    assert (message.headers() or [])[:2] == [("a", b"1"), ("a", None)]
    assert header(message, "__connect.errors.topic") == topics.input
    assert header(message, "__connect.errors.stage") == "event"
    assert header(message, "image-worker.reason") == "unrecognised_value"
    assert "6e 6f 20" in (header(message, "__connect.errors.exception.message") or "")


@pytest.mark.parametrize("way", [EMBEDDED[0], REAL[2]], indirect=True)
async def test_a_tombstone_is_passed_on_as_a_tombstone(way: Way) -> None:
    topics = way.cluster.topics()
    way.cluster.produce(topics.input, [{"key": b"k", "value": None}])
    async with running(way.cluster.settings(topics, *way.flags)):
        (message,) = await outcomes(way.cluster, topics, 1)
    assert (message.topic(), message.key(), message.value()) == (topics.results, b"k", None)


async def test_an_action_with_a_topic_of_its_own_has_its_classifications_there(cluster: Cluster) -> None:
    topics = cluster.topics()
    own = f"{topics.results}-blocked"
    cluster.create(own)
    cluster.produce(topics.input, [event(0)])
    flags = ("policy.thresholds.a.block=0.5", f"policy.topics.block={own}")
    async with running(cluster.settings(topics, *flags)):
        (message,) = await asyncio.to_thread(cluster.read, [own], 1)
    assert json.loads(message.value() or b"")["decision"]["action"] == "block"


class Gate(FreeClassifier):
    """A model that answers while it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        self.open.wait(PATIENCE_S)
        return super().predict(batch)


@pytest.mark.parametrize("way", [EMBEDDED[1], REAL[0], REAL[2]], indirect=True)
async def test_a_second_worker_takes_its_share_and_gives_it_back_and_nothing_is_lost_or_taken_in_twice(
    way: Way, logs: list[EventDict]
) -> None:
    cluster, topics = way.cluster, way.cluster.topics()
    settings = cluster.settings(topics, *way.flags)
    model = Gate()
    with Reader(cluster, [topics.results, topics.dead_letters]) as reader:
        async with running(settings, model) as first:
            await until(lambda: len(first.status()["assignment"]) == 4, "the first worker has all partitions")
            model.open.clear()
            cluster.produce(topics.input, mixed(200))
            await until(lambda: taken_in(first, topics) == 200, "it works on all there is")
            async with running(settings) as second:
                await until(lambda: given_up(logs), "it gives some up in the middle of that")
                model.open.set()
                await until(lambda: len(second.status()["assignment"]) == 2, "the second worker has its share")
                cluster.produce(topics.input, mixed(200))
                await asyncio.to_thread(reader.until, 400)
            await until(lambda: len(first.status()["assignment"]) == 4, "the first worker has all of them again")
            cluster.produce(topics.input, mixed(200))
            seen = await asyncio.to_thread(reader.until, 600)
    both = [taken_in(first, topics), taken_in(second, topics)]
    assert all(both), "both worked"
    assert sum(both) == 600, "what was given up was not drained"
    assert len(seen) == len({source_of(message) for message in seen}) == 600
    assert cluster.committed(topics) == cluster.ends(topics.input)
