"""What load, a crash, an outage and outcomes that are refused may not do, on a real Apache Kafka."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Queue

import pytest
from aiohttp import web
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from tests import kafka_server
from tests.broker.test_delivery import assert_in_order, mixed
from tests.clusters import PATIENCE_S, Cluster, Reader, Topics, event, header, jpeg, source_of
from tests.workers import running, until, worker_process
from worker.kafka.deadletter import DeadLetters
from worker.kafka.delivery import open_sink
from worker.kafka.ledger import Ticket
from worker.kafka.thread import KafkaThread
from worker.models.classifier import head_of
from worker.observe.metrics import Metrics
from worker.records import Outcome, OutgoingRecord
from worker.testing import FreeClassifier

pytestmark = pytest.mark.broker


@asynccontextmanager
async def a_late_host() -> AsyncIterator[int]:
    """Its port. It serves a picture, but not at once: what came later overtakes whoever asks for it."""

    async def serve(_: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response(body=jpeg(100), content_type="image/jpeg")

    runner = web.ServerRunner(web.Server(serve), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("delivery", ["at-least-once", pytest.param("exactly-once", marks=pytest.mark.long)])
async def test_five_thousand_events_have_exactly_one_outcome_each_in_order(broker: Cluster, delivery: str) -> None:
    topics = broker.topics()
    async with a_late_host() as port:
        records = mixed(5000)
        for number in range(0, 5000, 30):
            records[number] = event(number, url=f"http://127.0.0.1:{port}/late.jpg")
        broker.produce(topics.input, records)
        reach = ('images.allow_networks=["127.0.0.0/8"]', f"images.ports=[{port}]")
        flags = (f"kafka.delivery={delivery}", "kafka.group_protocol=consumer", *reach)
        async with running(broker.settings(topics, *flags)):
            seen = await asyncio.to_thread(broker.read, [topics.results, topics.dead_letters], 5000, patience_s=120)
    assert len(seen) == len({source_of(message) for message in seen}) == 5000
    assert_in_order(seen)
    assert broker.committed(topics) == broker.ends(topics.input)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_after_a_kill_nothing_is_lost_and_a_repeat_has_the_same_id(
    broker: Cluster, tmp_path: Path, protocol: str
) -> None:
    topics = broker.topics()
    flags = broker.flags(topics, f"kafka.group_protocol={protocol}")
    broker.produce(topics.input, mixed(2000))
    with Reader(broker, [topics.results, topics.dead_letters]) as reader:
        with worker_process(flags, tmp_path / "first.log") as first:
            reader.until(200)
            first.send_signal(signal.SIGKILL)
            first.wait()
        assert sum(broker.committed(topics).values()) < 2000, "the kill came too late to show anything"
        with worker_process(flags, tmp_path / "second.log") as second:
            reader.until_events(2000)
            reader.rest()
            second.send_signal(signal.SIGTERM)
            assert second.wait(PATIENCE_S) == 0
    assert len(reader.ids) == 2000
    assert all(len(ids) == 1 for ids in reader.ids.values()), "a repeat has another id"
    assert broker.committed(topics) == broker.ends(topics.input)


def alter(broker: Cluster, topic: str, name: str, value: str) -> None:
    """Set a topic's configuration."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    resource.add_incremental_config(ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET))
    admin = broker.admin()
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(timeout=PATIENCE_S)


class Member:
    """A Kafka thread whose tickets nobody works on: the test finishes them when it likes."""

    def __init__(self, cluster: Cluster, topics: Topics, *flags: str) -> None:
        settings = cluster.settings(topics, *flags).kafka
        self.tickets: Queue[Ticket] = Queue()
        self.abandoned: list[Ticket] = []
        self.metrics = Metrics()
        sink = open_sink(settings, DeadLetters(topics.dead_letters, lambda: head_of(FreeClassifier())))
        self.thread = KafkaThread(settings, sink, self.metrics, deliver=self._take, abandon=self.abandoned.extend)
        self.topics = topics

    def _take(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self.tickets.put(ticket)

    def finish(self, ticket: Ticket, text: str) -> None:
        where = ticket.record.coordinates
        value = json.dumps({"by": text, "source": {"partition": where.partition, "offset": where.offset}})
        record = OutgoingRecord(self.topics.results, None, value.encode(), ())
        self.thread.finish(ticket, Outcome("classification", record, action="allow"))

    def __enter__(self) -> Member:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.stop(drain=False)
        self.thread.ended.exception(timeout=PATIENCE_S)


def wait_for(condition: object, what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, what
        time.sleep(0.01)


@pytest.mark.long
async def test_a_broker_that_goes_away_and_comes_back_costs_nothing() -> None:
    if kafka_server.why_not() is not None or not kafka_server.own_brokers():
        pytest.skip("needs a broker of its own to kill: KAFKA_HOME")
    with kafka_server.RealKafka() as kafka:
        cluster = Cluster(kafka.bootstrap_servers, real=True)
        topics = cluster.topics()
        async with running(cluster.settings(topics)) as worker:
            cluster.produce(topics.input, mixed(3000))
            with Reader(cluster, [topics.results, topics.dead_letters]) as reader:
                await asyncio.to_thread(reader.until, 100)
                kafka.brokers[0].kill()
                assert len(reader.seen) < 3000, "the broker went too late to show anything"
                await until(lambda: bool(worker.status()["not_ready"]), "the worker says that it waits")
                kafka.restart(0)
                assert await asyncio.to_thread(kafka.answers)
                await asyncio.to_thread(reader.until_events, 3000)
                await asyncio.to_thread(reader.rest)
            await until(lambda: not worker.status()["not_ready"], "it is ready again")
        assert len(reader.ids) == 3000
        assert all(len(ids) == 1 for ids in reader.ids.values())
        assert cluster.committed(topics) == cluster.ends(topics.input)


async def test_in_a_compacted_topic_an_outcome_without_a_key_becomes_a_dead_letter_and_costs_no_other(
    broker: Cluster,
) -> None:
    topics = broker.topics(partitions=1)
    alter(broker, topics.results, "cleanup.policy", "compact")
    keyless = [{**event(number), "key": None} for number in (3, 6)]
    records = [event(0), event(1), event(2), keyless[0], event(4), event(5), keyless[1], event(7)]
    broker.produce(topics.input, records)
    async with running(broker.settings(topics)):
        seen = await asyncio.to_thread(broker.read, [topics.results, topics.dead_letters], 8)
    letters = [message for message in seen if message.topic() == topics.dead_letters]
    assert [header(letter, "image-worker.reason") for letter in letters] == ["outcome_refused"] * 2
    assert [letter.value() for letter in letters] == [record["value"].encode() for record in keyless]
    results = [message for message in seen if message.topic() == topics.results]
    assert [message.key() for message in results] == [f"key-{number}".encode() for number in (0, 1, 2, 4, 5, 7)]
    assert broker.committed(topics) == {0: 8}


async def test_one_keyless_outcome_among_others_costs_no_other_whatever_batch_it_is_in(broker: Cluster) -> None:
    """librdkafka blames a whole batch where one record in it is to blame, and each of several where several are."""
    topics = broker.topics(partitions=1)
    alter(broker, topics.results, "cleanup.policy", "compact")
    records = [event(number) for number in range(200)]
    keyless = [0, 50, 101, 102, 199]
    for number in keyless:
        records[number]["key"] = None
    broker.produce(topics.input, records)
    async with running(broker.settings(topics, "kafka.settle_interval_ms=5")):
        seen = await asyncio.to_thread(broker.read, [topics.results, topics.dead_letters], 200)
    letters = [message for message in seen if message.topic() == topics.dead_letters]
    assert sorted(source_of(letter)[1] for letter in letters) == keyless
    assert len(seen) == 200
    assert_in_order(seen)
    assert broker.committed(topics) == {0: 200}


async def test_an_outcome_that_the_broker_finds_too_large_becomes_a_dead_letter_without_its_value(
    broker: Cluster,
) -> None:
    topics = broker.topics(partitions=1)
    broker.create("small-" + topics.dead_letters, partitions=1)
    flags = (f"kafka.topics.dead_letters=small-{topics.dead_letters}",)
    alter(broker, f"small-{topics.dead_letters}", "max.message.bytes", "5000")
    broker.produce(topics.input, [{"key": "k", "value": "x" * 20_000}, event(1)])
    async with running(broker.settings(topics, *flags)):
        (letter,) = await asyncio.to_thread(broker.read, [f"small-{topics.dead_letters}"], 1)
        (result,) = await asyncio.to_thread(broker.read, [topics.results], 1)
    assert header(letter, "image-worker.reason") == "outcome_too_large"
    assert header(letter, "image-worker.value.omitted.bytes") == "20000"
    assert (letter.key(), letter.value()) == (b"k", b"")
    assert json.loads(result.value() or b"")["reference"]["id"] == "1"


async def test_an_event_larger_than_one_fetch_comes_all_the_same(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    alter(broker, topics.input, "max.message.bytes", "8000000")
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.max.bytes": 8_000_000})
    for number in range(4):
        producer.produce(topics.input, **event(number, note="x" * (3_000_000 if number % 2 else 0)))
    assert producer.flush(PATIENCE_S) == 0
    async with running(broker.settings(topics, "kafka.group_protocol=consumer")):
        seen = await asyncio.to_thread(broker.read, [topics.results], 4)
    assert [json.loads(message.value() or b"")["reference"]["id"] for message in seen] == list("0123")
