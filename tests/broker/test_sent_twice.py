"""A request that librdkafka sends again, since its connection broke, while the first one is on its way to the broker.

Of a transaction's end the first ends the next transaction when it comes, and a commit outside of transactions moves the
group's offset back when it comes behind a later one (seen on Apache Kafka 4.3.1).
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping

import pytest
from confluent_kafka import Message
from structlog.typing import EventDict

from tests.broker.bench import Bench, bench, passed
from tests.broker.test_delivery import assert_in_order, mixed
from tests.broker.test_faults import wait_for
from tests.broker.test_replay import ALL, Transactional, committed
from tests.chaos.offsets import parse_key, parse_value
from tests.chaos.verifier import read
from tests.clusters import PATIENCE_S, Cluster, Reader, event, source_of
from tests.proxy import END_TXN, INIT_PRODUCER_ID, OFFSET_COMMIT, TXN_OFFSET_COMMIT, Proxy
from tests.replays import job
from tests.workers import running, until
from worker.kafka.ledger import Partition, Position, Settlement
from worker.models.classifier import PixelBatch, ScoreBatch
from worker.testing import FreeClassifier

pytestmark = pytest.mark.broker

NAME = 'kafka.properties."client.id"="once"'


def settled(whole: Bench) -> None:
    settlement = whole.settlement()
    wait_for(lambda: whole.settle(settlement, whole.ledger.positions), "it is settled")
    whole.ledger.settled(settlement)


def test_an_old_commit_that_comes_late_publishes_nothing_of_the_next_transaction(wire: tuple[Proxy, Cluster]) -> None:
    proxy, cluster = wire
    with bench(cluster, NAME) as whole:
        proxy.delay("once", END_TXN)
        settled(whole)
        cluster.produce(whole.topics.input, [event(1)])
        settlement = whole.settlement()
        asked = []

        def positions(settlement: Settlement) -> Mapping[Partition, Position]:
            asked.append(1)
            if len(asked) == 1:
                return whole.ledger.positions(settlement)
            proxy.deliver()  # the outcome is published, its offset is not sent
            return {}

        wait_for(lambda: whole.settle(settlement, positions), "what a rebalance took is aborted")
        assert len(passed(whole)) == 1, "half a transaction was committed"
        assert cluster.committed(whole.topics) == {0: 1}


def test_who_is_fenced_by_its_own_request_for_the_id_that_comes_late_takes_it_over_again(
    wire: tuple[Proxy, Cluster],
) -> None:
    proxy, cluster = wire
    proxy.delay("once", INIT_PRODUCER_ID)
    with bench(cluster, NAME) as whole:
        settlement = whole.settlement()
        asked = []

        def positions(settlement: Settlement) -> Mapping[Partition, Position]:
            asked.append(1)
            if len(asked) == 2:  # the outcome is published, its offset is not sent
                proxy.deliver()
            return whole.ledger.positions(settlement)

        wait_for(lambda: whole.settle(settlement, positions), "it is settled")
        assert len(asked) > 2, "it was not fenced"
        assert len(passed(whole)) == 1
        assert cluster.committed(whole.topics) == {0: 1}


@pytest.mark.parametrize("protocol", [pytest.param("classic", marks=pytest.mark.long), "consumer"])
async def test_in_exactly_once_a_start_that_comes_late_moves_no_offset_back(
    wire: tuple[Proxy, Cluster], protocol: str
) -> None:
    proxy, cluster = wire
    topics = cluster.topics(partitions=1)
    cluster.produce(topics.input, [event(1)] * 3)
    flags = (NAME, "kafka.delivery=exactly-once", "kafka.start=latest", f"kafka.group_protocol={protocol}")
    settings = cluster.settings(topics, *flags)
    proxy.delay("once", OFFSET_COMMIT, TXN_OFFSET_COMMIT)
    with Reader(cluster, [topics.results, topics.dead_letters]) as reader:
        async with running(settings):
            await until(lambda: cluster.committed(topics) == {0: 3}, "the start is committed, by the second request")
            cluster.produce(topics.input, [event(1)] * 5)
            await until(lambda: cluster.committed(topics) == {0: 8}, "all is committed")
            proxy.deliver()
        assert cluster.committed(topics) == {0: 8}
        async with running(settings):
            cluster.produce(topics.input, [event(1)])
            await until(lambda: cluster.committed(topics) == {0: 9}, "all is committed")
        seen = await asyncio.to_thread(reader.rest)
    assert sorted(source_of(message)[1] for message in seen) == [3, 4, 5, 6, 7, 8]


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 4])
async def test_in_exactly_once_a_group_that_begins_on_a_wire_that_breaks_does_nothing_twice(
    wire: tuple[Proxy, Cluster], seed: int
) -> None:
    proxy, cluster = wire
    topics = cluster.topics()
    cluster.produce(topics.input, [event(number) for number in range(20)])
    before = cluster.ends(topics.input)
    flags = (NAME.replace("once", f"begins{seed}"), "kafka.delivery=exactly-once", "kafka.start=latest")
    settings = cluster.settings(topics, *flags)
    with Reader(cluster, [topics.results, topics.dead_letters]) as reader:
        proxy.unsteady(f"begins{seed}", seed=seed, share=0.2)
        async with running(settings):
            await until(lambda: cluster.committed(topics) == before, "the starts are committed")
            cluster.produce(topics.input, [event(number) for number in range(20)])
            await until(lambda: cluster.committed(topics) == cluster.ends(topics.input), "all is committed")
            proxy.steady()
        async with running(settings):
            cluster.produce(topics.input, [event(number) for number in range(20)])
            await until(lambda: cluster.committed(topics) == cluster.ends(topics.input), "all is committed")
        seen = await asyncio.to_thread(reader.rest)
    assert proxy.broken, "the wire was whole"
    assert len(seen) == len(set(map(source_of, seen))) == 40


class Gate(FreeClassifier):
    """Once armed, it answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.armed = False
        self.open = threading.Event()

    def predict(self, batch: PixelBatch) -> ScoreBatch:
        if self.armed:
            self.open.wait()
        return super().predict(batch)


@pytest.mark.parametrize("time", [0, *(pytest.param(time, marks=pytest.mark.long) for time in range(1, 6))])
async def test_a_replay_whose_last_settlement_is_committed_again_behind_its_end_is_over_all_the_same(
    wire: tuple[Proxy, Cluster], time: int, logs: list[EventDict]
) -> None:
    proxy, cluster = wire
    topics = cluster.topics(partitions=1)
    producer = Transactional(cluster, topics.input)
    producer.begin(5)
    producer.end()  # its marker is the last offset: the end is beyond the last record
    model = Gate()
    made = job(cluster, topics, ALL, f'kafka.properties."client.id"="replay{time}"', model=model)
    made.make_topics()
    worker, standing = made.worker()
    task = asyncio.create_task(worker.run())
    await until(lambda: any(line["event"] == "worker.started" for line in logs), "it is warm")
    model.armed = True
    await until(lambda: worker.status()["in_flight"] == 5, "all is in flight")
    await until(lambda: bool(worker._window and worker._window.arrived), "its end is seen")
    proxy.lose_answer(f"replay{time}")
    model.open.set()
    async with asyncio.timeout(PATIENCE_S):
        await task
    assert proxy.lost_answer
    assert standing.complete
    assert committed(cluster, made) == {0: 6}


@pytest.mark.long
@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
async def test_on_a_wire_that_breaks_and_brings_requests_late_nothing_is_lost_and_all_is_in_order(
    wire: tuple[Proxy, Cluster], delivery: str
) -> None:
    proxy, cluster = wire
    topics = cluster.topics()
    flags = (f"kafka.delivery={delivery}", NAME.replace("once", "far"), "kafka.settle_interval_ms=10")
    with Reader(cluster, [topics.results, topics.dead_letters]) as reader:
        async with running(cluster.settings(topics, *flags)):
            proxy.unsteady("far", seed=1, share=0.05)
            for events in range(100, 1501, 100):
                cluster.produce(topics.input, mixed(100))
                await asyncio.to_thread(reader.until_events, events)
            proxy.steady()
            await until(lambda: cluster.committed(topics) == cluster.ends(topics.input), "all is committed")
        seen = await asyncio.to_thread(reader.rest)
    assert proxy.broken > 10, "the wire was whole"
    assert_in_order(seen)
    assert len({source_of(message) for message in seen}) == 1500
    assert delivery == "at-least-once" or len(seen) == 1500
    assert all(len(ids) == 1 for ids in reader.ids.values())


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_commit_whose_answer_was_lost_is_not_sent_again_behind_the_next_one(
    wire: tuple[Proxy, Cluster], protocol: str
) -> None:
    proxy, cluster = wire
    topics = cluster.topics()
    flags = (NAME.replace("once", protocol), "kafka.settle_interval_ms=10", f"kafka.group_protocol={protocol}")
    async with running(cluster.settings(topics, *flags)):
        for _time in range(10):
            proxy.lose_answer(protocol)
            for _event in range(10):
                cluster.produce(topics.input, [event(1)])
                await asyncio.sleep(0.05)
            await until(lambda: proxy.lost_answer, "an answer was lost")
        await until(lambda: cluster.committed(topics) == cluster.ends(topics.input), "all is committed")
    records = await asyncio.to_thread(lambda: list(read(cluster.bootstrap_servers, ["__consumer_offsets"])))
    commits = offsets(records, topics.group)
    assert sum(map(len, commits.values())) > 20
    assert all(each == sorted(each) for each in commits.values()), commits


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_who_is_stopped_when_an_answer_was_lost_commits_what_it_published(
    wire: tuple[Proxy, Cluster], protocol: str
) -> None:
    proxy, cluster = wire
    topics = cluster.topics()
    flags = (NAME.replace("once", protocol), "kafka.settle_interval_ms=10", f"kafka.group_protocol={protocol}")
    settings = cluster.settings(topics, *flags)
    with Reader(cluster, [topics.results, topics.dead_letters]) as reader:
        for times in range(1, 4):
            async with running(settings):
                cluster.produce(topics.input, mixed(100))
                await asyncio.to_thread(reader.until_events, 200 * times - 190)
                proxy.lose_answer(protocol)
                cluster.produce(topics.input, mixed(100))
                await until(lambda: proxy.lost_answer, "an answer was lost")
            assert cluster.committed(topics) == by_now(reader), "what was published is committed"
            async with running(settings):
                await asyncio.to_thread(reader.until_events, 200 * times)
        seen = await asyncio.to_thread(reader.rest)
    assert len(seen) == 600, "nothing was repeated"


def by_now(reader: Reader) -> dict[int, int]:
    """Up to where each partition has outcomes."""
    ends: dict[int, int] = {}
    for partition, offset in map(source_of, reader.rest()):
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    return ends


def offsets(records: Iterable[Message], group: str) -> dict[int, list[int]]:
    """What the group committed of each partition, in the order in which it was taken."""
    found: dict[int, list[int]] = defaultdict(list)
    for record in records:
        key, value = parse_key(record.key() or b""), record.value()
        if key is not None and key[0] == group and value is not None:
            found[key[2]].append(parse_value(value)[0])
    return found
