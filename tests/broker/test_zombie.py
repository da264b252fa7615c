"""A worker that stands still in the middle of a settlement, while others take over, and then goes on.

Nothing that it still holds may reach a topic or an offset: what is in its ledger, in a commit, and in librdkafka's own
queues, which its threads send as soon as the process wakes, before any of our code can look. ZOMBIE_S: how long it
stands still (issue 6 says 60 s).
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import kafka_server
from tests.broker.test_delivery import assert_in_order, firsts
from tests.broker.test_faults import Member, wait_for
from tests.broker.test_former_owners import assert_never_back
from tests.clusters import Cluster, Reader, Topics, event, jpeg, source_of
from tests.workers import worker_process
from worker.kafka.ledger import Ticket

pytestmark = pytest.mark.broker

STANDSTILL_S = float(os.environ.get("ZOMBIE_S", "9"))
PATIENCE = {
    "classic": 'kafka.consumer_properties."heartbeat.interval.ms"=1000',
    "consumer": 'kafka.consumer_properties."max.poll.interval.ms"=6000',
}
"""So that a worker knows how long its group waits. With `consumer` the session is the broker's: 6 s here."""


class Held(ThreadingHTTPServer):
    """Serves a picture, once `gate` is open."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Picture)
        self.gate = threading.Event()
        self.asked = 0

    def handle_error(self, *_: Any) -> None:
        """A worker that was killed is no error."""


class _Picture(BaseHTTPRequestHandler):
    server: Held

    def do_GET(self) -> None:
        self.server.asked += 1
        self.server.gate.wait(30)
        body = jpeg(100)
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def held() -> Iterator[Held]:
    with Held() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.gate.set()
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def kafka() -> Iterator[kafka_server.RealKafka]:
    """A broker of our own to kill."""
    if kafka_server.why_not() is not None or not kafka_server.own_brokers():
        pytest.skip("needs a broker of its own to kill: KAFKA_HOME")
    with kafka_server.RealKafka() as started:
        yield started


class Scene:
    """A worker that is brought to the middle of a settlement: its outcomes with librdkafka, and the broker gone."""

    def __init__(self, kafka: kafka_server.RealKafka, folder: Path, server: Held, *flags: str) -> None:
        self.cluster = Cluster(kafka.bootstrap_servers, real=True)
        self.topics = self.cluster.topics(partitions=2)
        self.server = server
        self.log = folder / f"{self.topics.group}.log"
        self.heirs_log = folder / f"{self.topics.group}-heir.log"
        self.flags = self.cluster.flags(
            self.topics,
            'kafka.properties."reconnect.backoff.max.ms"=500',
            # Long enough for all that is held back to be one settlement.
            "kafka.settle_interval_ms=1000",
            "kafka.drain_deadline_s=3",
            'images.allow_networks=["127.0.0.0/8"]',
            f"images.ports=[{server.server_port}]",
            *flags,
        )
        self.produced = 0

    def produce(self, count: int, *, held: bool = False) -> None:
        """Events, with their pictures in them or at the server."""
        for n in range(self.produced, self.produced + count):
            more = {"url": f"http://127.0.0.1:{self.server.server_port}/{n}.jpg"} if held else {}
            self.cluster.produce(self.topics.input, [{**event(n, **more), "partition": n % 2}])
        self.produced += count

    def done(self) -> bool:
        return self.cluster.committed(self.topics) == self.cluster.ends(self.topics.input)

    def says(self, event: str, times: int = 1) -> None:
        wait_for(lambda: self.log.read_text().count(f'"{event}"') >= times, f"the worker's log says {event}")


def to_the_middle(kafka: kafka_server.RealKafka, server: Held, *scenes: Scene) -> None:
    """Once the workers run: let them do some, take in some more, and have their outcomes with no broker there."""
    for each in scenes:
        each.produce(20)
        wait_for(each.done, "the first events are done")
        each.produce(40, held=True)
    wait_for(lambda: server.asked == 40 * len(scenes), "the next ones are taken in")
    kafka.brokers[0].kill()
    server.gate.set()
    for each in scenes:
        each.says("kafka.settle_waits")


def go_on(kafka: kafka_server.RealKafka) -> None:
    kafka.restart(0)
    assert kafka.answers()


@pytest.mark.parametrize("protocol", ["classic", pytest.param("consumer", marks=pytest.mark.long)])
def test_a_zombie_that_wakes_after_others_took_over_publishes_and_commits_nothing_it_held(
    kafka: kafka_server.RealKafka, tmp_path: Path, protocol: str
) -> None:
    with held() as server, ExitStack() as stack:
        deliveries = [f"kafka.delivery={each}" for each in ("at-least-once", "exactly-once")]
        flags = (f"kafka.group_protocol={protocol}", PATIENCE[protocol])
        scenes = [Scene(kafka, tmp_path, server, *flags, each) for each in deliveries]
        zombies = [stack.enter_context(worker_process(each.flags, each.log)) for each in scenes]
        to_the_middle(kafka, server, *scenes)
        for zombie in zombies:
            zombie.send_signal(signal.SIGSTOP)
        stopped_ms, awake_s = now_ms(), time.monotonic() + STANDSTILL_S
        go_on(kafka)
        for each in scenes:
            stack.enter_context(worker_process(each.flags, each.heirs_log))
        for each in scenes:
            wait_for(each.done, "the heir does what the zombie held")
            each.produce(20)
            wait_for(each.done, "and goes on, so that what the zombie would commit is behind that")
        wait_for(lambda: time.monotonic() >= awake_s, "the standstill is over")
        awake_ms = now_ms()
        for zombie in zombies:
            zombie.send_signal(signal.SIGCONT)
        for each in scenes:
            each.says("kafka.assigned", times=2)
            each.produce(40)
            wait_for(each.done, "both go on")
        found = [outcomes(each.cluster, each.topics, each.produced) for each in scenes]
    for seen, each in zip(found, scenes, strict=True):
        # An heir that is starved may repeat what it did itself, in at-least-once.
        held_back = [message for message in seen if 10 <= source_of(message)[1] < 30]
        times_ms = [message.timestamp()[1] for message in held_back if message.topic() == each.topics.results]
        assert times_ms
        assert all(stopped_ms <= at_ms <= awake_ms for at_ms in times_ms), "something the zombie held reached the topic"
        assert len(set(map(source_of, seen))) == each.produced
        assert_in_order(firsts(seen))
        assert_never_back(each.cluster, each.topics)
    assert len(seen) == each.produced, "exactly-once"


def test_in_an_outage_longer_than_the_groups_patience_outcomes_wait_in_order_and_none_is_lost(
    kafka: kafka_server.RealKafka, tmp_path: Path
) -> None:
    # A member of a classic group gives its partitions up by itself where the coordinator is away for its session.
    flags = ("kafka.group_protocol=consumer", 'kafka.consumer_properties."max.poll.interval.ms"=3000')
    with held() as server:
        whole = Scene(kafka, tmp_path, server, *flags)
        with worker_process(whole.flags, whole.log):
            to_the_middle(kafka, server, whole)
            whole.says("kafka.producer_renewed", times=3)
            go_on(kafka)
            whole.produce(40)
            wait_for(whole.done, "it goes on")
            seen = outcomes(whole.cluster, whole.topics, whole.produced)
    assert len(set(map(source_of, seen))) == whole.produced
    assert_in_order(firsts(seen))


def now_ms() -> int:
    return int(time.time() * 1000)


def outcomes(cluster: Cluster, topics: Topics, count: int) -> list[Any]:
    with Reader(cluster, [topics.results, topics.dead_letters]) as reader:
        reader.until_events(count)
        return reader.rest()


def test_what_is_held_by_a_thread_that_missed_its_polls_is_void(broker: Cluster) -> None:
    """The process lives, and so do its heartbeats: only the poll interval tells the group. KIP-848, whose session is
    the broker's: it may be longer than the poll interval."""
    topics = broker.topics(partitions=1)
    flags = ("kafka.group_protocol=consumer", 'kafka.consumer_properties."max.poll.interval.ms"=2000')
    release = threading.Event()
    broker.produce(topics.input, [event(0)])
    with Stuck(broker, topics, release, *flags, "kafka.drain_deadline_s=1") as former:
        ticket = former.tickets.get(timeout=60)
        former.finish(ticket, "former")
        with Member(broker, topics, *flags, "kafka.drain_deadline_s=1") as heir:
            heir.finish(heir.tickets.get(timeout=60), "heir")
            wait_for(lambda: broker.committed(topics) == {0: 1}, "the heir takes over and commits")
            release.set()
            wait_for(lambda: former.abandoned == [ticket], "what the former owner held is void")
            seen = broker.read([topics.results], 1)
    assert [json.loads(message.value() or b"")["by"] for message in seen] == ["heir"]


def test_a_worker_that_is_stopped_while_its_broker_says_nothing_leaves_all_the_same(
    kafka: kafka_server.RealKafka, tmp_path: Path
) -> None:
    """A broker that stands still is worse than one that is gone: what was sent to it is waited for."""
    kinds = [f"kafka.delivery={delivery}" for delivery in ("at-least-once", "exactly-once")]
    with held() as server, ExitStack() as stack:
        scenes = [Scene(kafka, tmp_path, server, kind) for kind in kinds]
        workers = [stack.enter_context(worker_process(each.flags, each.log)) for each in scenes]
        for each in scenes:
            each.produce(20)
            wait_for(each.done, "the first events are done")
            each.produce(40, held=True)
        wait_for(lambda: server.asked == 40 * len(scenes), "the next ones are taken in")
        kafka.brokers[0].signal(signal.SIGSTOP)
        stack.callback(kafka.brokers[0].signal, signal.SIGCONT)
        server.gate.set()
        for each in scenes:
            each.says("kafka.settle_waits")
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        assert [worker.wait(60) for worker in workers] == [0, 0]
    for each in scenes:
        each.says("worker.stopped")


@pytest.mark.parametrize("delivery", ["at-least-once", pytest.param("exactly-once", marks=pytest.mark.long)])
def test_a_drain_at_a_stop_keeps_its_partitions_for_longer_than_the_poll_interval(
    broker: Cluster, delivery: str
) -> None:
    """It polls: without, others would work on the same records while it waits for them."""
    topics = broker.topics(partitions=1)
    interval = 'kafka.consumer_properties."max.poll.interval.ms"=2000'
    flags = (f"kafka.delivery={delivery}", "kafka.group_protocol=consumer", interval)
    broker.produce(topics.input, [event(0)])
    with Member(broker, topics, *flags, "kafka.drain_deadline_s=60") as former:
        ticket = former.tickets.get(timeout=60)
        former.thread.stop()
        with Member(broker, topics, *flags, "kafka.drain_deadline_s=1") as heir:
            time.sleep(5)
            former.finish(ticket, "former")
            assert former.thread.ended.exception(timeout=60) is None
            broker.produce(topics.input, [event(1)])
            heir.finish(heir.tickets.get(timeout=60), "heir")
            wait_for(lambda: broker.committed(topics) == {0: 2}, "the heir goes on")
            seen = broker.read([topics.results], 2)
    assert [json.loads(message.value() or b"")["by"] for message in seen] == ["former", "heir"]
    assert former.abandoned == heir.abandoned == []


class Stuck(Member):
    """A member whose Kafka thread stands still while it hands tickets over."""

    def __init__(self, cluster: Cluster, topics: Topics, release: threading.Event, *flags: str) -> None:
        self._release = release
        super().__init__(cluster, topics, *flags)

    def _take(self, tickets: list[Ticket]) -> None:
        super()._take(tickets)
        self._release.wait(60)
