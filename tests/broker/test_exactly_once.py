"""Exactly-once, on a real Apache Kafka: what readers of committed transactions see, whatever happens to the worker."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer, TopicPartition

from tests.broker.bench import ONCE, Bench, bench, member, outcomes, passed
from tests.broker.test_delivery import assert_in_order, mixed
from tests.broker.test_faults import Member, alter, wait_for
from tests.clusters import PATIENCE_S, Cluster, Reader, event, header, source_of
from tests.unit.kafka.books import record
from tests.workers import running, until, worker_process
from worker.errors import Fatal
from worker.kafka import refused_offsets, transactions
from worker.kafka.ledger import Partition, Position, Settlement
from worker.kafka.progress import Progress
from worker.kafka.transactions import Aborted
from worker.records import Outcome, OutgoingRecord

pytestmark = pytest.mark.broker


def sources(messages: list[Message]) -> Counter[tuple[int, int]]:
    return Counter(map(source_of, messages))


def test_whenever_the_worker_is_killed_each_event_has_one_outcome(broker: Cluster, tmp_path: Path) -> None:
    topics = broker.topics()
    # A static member takes its partitions over at once, without waiting for the session of the one that was killed.
    static = "kafka.group_instance_id=one"
    blocked = f"{topics.results}-blocked"
    broker.create(blocked)
    routed = ("policy.thresholds.a.block=0.5", f"policy.topics.block={blocked}")
    flags = broker.flags(topics, ONCE, static, *routed)
    outputs = [topics.results, topics.dead_letters, blocked]
    with Reader(broker, outputs) as reader, Reader(broker, outputs, committed=False) as dirty:
        for kill in range(2):
            broker.produce(topics.input, mixed(1000))
            with worker_process(flags, tmp_path / f"{kill}.log") as worker:
                dirty.until(len(dirty.rest()) + 300)
                worker.send_signal(signal.SIGKILL)
                worker.wait()
        with worker_process(flags, tmp_path / "last.log") as worker:
            reader.until(2000)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(PATIENCE_S) == 0
        seen = reader.rest()
        assert len(dirty.rest()) > 2000, "no kill came within a transaction"
    assert len(seen) == len(sources(seen)) == 2000
    assert {message.topic() for message in seen} == set(outputs)
    assert_in_order(seen)
    assert broker.committed(topics) == broker.ends(topics.input)


@pytest.mark.long
async def test_while_partitions_move_under_load_each_event_has_one_outcome_in_order(broker: Cluster) -> None:
    topics = broker.topics()
    settings = broker.settings(topics, ONCE, "kafka.group_protocol=consumer")
    with Reader(broker, [topics.results, topics.dead_letters]) as reader:
        async with running(settings) as first:
            broker.produce(topics.input, mixed(3000))
            await asyncio.to_thread(reader.until, 300)
            async with running(settings) as second:
                await until(lambda: len(second.status()["assignment"]) == 2, "the second worker has its share")
                assert len(reader.seen) < 3000, "the second worker came too late to show anything"
                broker.produce(topics.input, mixed(1000))
                await asyncio.to_thread(reader.until, 3300)
            await until(lambda: len(first.status()["assignment"]) == 4, "the first worker has all of them again")
            seen = await asyncio.to_thread(reader.until, 4000)
        seen = await asyncio.to_thread(reader.rest)
    assert len(seen) == len(sources(seen)) == 4000
    assert_in_order(seen)
    assert broker.committed(topics) == broker.ends(topics.input)


def test_an_instance_that_is_fenced_says_why_and_publishes_nothing_more(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.produce(topics.input, [event(0), event(1)])
    identity = f"instance-of-{topics.group}"
    with Member(broker, topics, ONCE, f"kafka.transactional_id={identity}") as member:
        tickets = [member.tickets.get(timeout=PATIENCE_S) for _ in range(2)]
        member.finish(tickets[0], "first")
        wait_for(lambda: broker.committed(topics) == {0: 1}, "the first is committed")
        Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": identity}).init_transactions(10)
        member.finish(tickets[1], "fenced")
        failure = member.thread.ended.exception(timeout=PATIENCE_S)
    assert isinstance(failure, Fatal)
    assert identity in str(failure)
    assert "set kafka.transactional_id" in str(failure)
    assert len(broker.read([topics.results], 1)) == 1
    assert broker.committed(topics) == {0: 1}


def test_a_generation_that_is_over_is_refused_and_the_work_done_again_in_the_next_one(broker: Cluster) -> None:
    with bench(broker) as whole:
        settlement = whole.settlement()
        old = whole.membership
        other = member(broker, whole.topics)
        other.subscribe([whole.topics.input])
        wait_for(lambda: [other.poll(0), whole.consumer.poll(0)] and whole.membership is not old, "a rebalance")
        new, whole.membership = whole.membership, old
        assert not whole.settle(settlement, whole.ledger.positions)
        assert not whole.settle(settlement, whole.ledger.positions), "what was refused is not tried again"
        assert broker.committed(whole.topics) == {}
        whole.membership = new
        wait_for(lambda: whole.settle(settlement, whole.ledger.positions), "it is settled in the next generation")
        assert broker.committed(whole.topics) == {0: 1}
        assert len(outcomes(whole, committed=True)) == 1
        assert len(outcomes(whole, committed=False)) == 2
        other.close()


def test_what_a_rebalance_took_away_is_aborted_though_it_was_published(broker: Cluster) -> None:
    with bench(broker) as whole:
        settlement = whole.settlement()
        asked = iter([whole.ledger.positions(settlement)])
        assert whole.settle(settlement, lambda _: next(asked, {})), "nothing is left to do"
        assert broker.committed(whole.topics) == {}
        assert passed(whole) == []


def test_a_transaction_that_its_coordinator_aborted_is_done_again_by_a_new_producer(broker: Cluster) -> None:
    with bench(broker, "kafka.transaction_timeout_s=2") as whole:
        settlement = whole.settlement()
        waited = []

        def positions(settlement: Settlement) -> Mapping[Partition, Position]:
            waited.append(1)
            if len(waited) == 2:  # the outcomes are published, the offsets not sent: stand still past the timeout
                passed(whole)
            return whole.ledger.positions(settlement)

        wait_for(lambda: whole.settle(settlement, positions), "it is settled by a new producer")
        assert broker.committed(whole.topics) == {0: 1}
        assert sum(message.value() is not None for message in outcomes(whole, committed=True)) == 1


@pytest.mark.parametrize("took_place", [True, False])
def test_whether_a_commit_took_place_whose_answer_was_lost_is_read_from_the_groups_offsets(
    broker: Cluster, monkeypatch: pytest.MonkeyPatch, took_place: bool
) -> None:
    with bench(broker) as whole:
        settlement, transactions = whole.settlement(), whole.sink._transactions
        commit = transactions.commit

        def lost(timeout_s: float) -> bool:
            """Ends as a transaction does that outlived its timeout: with a new producer, and without an answer."""
            monkeypatch.undo()
            if took_place:
                wait_for(lambda: commit(timeout_s), "it is committed")
            transactions._renew()
            raise Aborted("no answer")

        monkeypatch.setattr(transactions, "commit", lost)
        wait_for(lambda: whole.settle(settlement, whole.ledger.positions), "it is settled")
        assert broker.committed(whole.topics) == {0: 1}
        assert len(outcomes(whole, committed=True)) == 1
        assert len(outcomes(whole, committed=False)) == (1 if took_place else 2)


def test_a_commit_whose_answer_was_lost_is_not_done_again_though_another_went_on_where_a_partition_was_given_up(
    broker: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no order the other one may leave the offset where it is, behind its oldest record, and do more after it."""
    with bench(broker, partitions=2) as whole:
        given_up, ours = (whole.topics.input, 0), (whole.topics.input, 1)
        settlement, transactions = whole.settlement_out_of_order(given_up, ours), whole.sink._transactions
        wait_for(lambda: [whole.consumer.poll(0)] and whole.membership, "it is a member")
        commit = transactions.commit

        def lost(timeout_s: float) -> bool:
            monkeypatch.undo()
            wait_for(lambda: commit(timeout_s), "it is committed")
            whole.ledger.forget(given_up)
            more = Progress(0).after([(1, 2), (2, 3)])
            whole.consumer.commit(offsets=[TopicPartition(*given_up, 0, more.metadata)], asynchronous=False)
            transactions._renew()
            raise Aborted("no answer")

        monkeypatch.setattr(transactions, "commit", lost)
        wait_for(lambda: whole.settle(settlement, whole.ledger.positions), "it is settled")
        assert len(outcomes(whole, committed=True)) == len(outcomes(whole, committed=False)) == 2


def test_a_member_whose_offsets_are_refused_for_long_with_no_rebalance_ends_the_worker(broker: Cluster) -> None:
    with bench(broker) as whole:
        settlement = whole.settlement()
        whole.consumer.close()  # the group knows it no more, and nobody tells it so
        whole.consumer = member(broker, whole.topics)
        refused = whole.sink._refused
        wait_for(lambda: not whole.settle(settlement, whole.ledger.positions) and refused._stale, "it is refused")
        assert not whole.settle(settlement, whole.ledger.positions), "it waits for a rebalance"
        refused._stale_after_s = 0.0
        with pytest.raises(Fatal, match=r"no rebalance came: .* look at the group's others, .*; nothing was lost"):
            whole.settle(settlement, whole.ledger.positions)
        assert broker.committed(whole.topics) == {}
        assert passed(whole) == []


def test_offsets_that_are_refused_for_good_end_the_worker_at_once_which_says_why(broker: Cluster) -> None:
    """As with the broker's offset.metadata.max.bytes below what is committed."""
    with bench(broker) as whole:
        settlement, long = whole.settlement(), Position(1, metadata="x" * 5000)
        with pytest.raises(Fatal, match=r"\(OFFSET_METADATA_TOO_LARGE\): raise the brokers' offset.metadata.max.bytes"):
            wait_for(lambda: whole.settle(settlement, lambda _: {(whole.topics.input, 0): long}), "it is over")
    assert broker.committed(whole.topics) == {}
    assert passed(whole) == []


def test_a_partition_that_the_coordinator_does_not_know_for_long_ends_the_worker(
    broker: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "_OFFSETS_S", 0.1)  # for so long librdkafka asks again
    with bench(broker) as whole:
        settlement, refused = whole.settlement(), whole.sink._refused
        more = {**whole.ledger.positions(settlement), (whole.topics.input, 9): Position(1)}
        wait_for(lambda: not whole.settle(settlement, lambda _: more) and refused._unknown, "it is refused")
        monkeypatch.setattr(refused_offsets, "UNKNOWN_S", 0.0)
        with pytest.raises(Fatal, match=r"\(UNKNOWN_TOPIC_OR_PART\): the input topic was deleted: .*nothing was lost"):
            wait_for(lambda: whole.settle(settlement, lambda _: more), "it is over")
    assert broker.committed(whole.topics) == {}
    assert passed(whole) == []


async def test_refused_outcomes_become_dead_letters_and_cost_no_neighbour(broker: Cluster) -> None:
    topics = broker.topics(partitions=1)
    broker.create("compacted-" + topics.results, partitions=1, config={"cleanup.policy": "compact"})
    records = [event(number) for number in range(100)]
    keyless = [0, 50, 51, 99]
    for number in keyless:
        records[number]["key"] = None
    broker.produce(topics.input, records)
    flags = (ONCE, f"kafka.topics.results=compacted-{topics.results}")
    outputs = [f"compacted-{topics.results}", topics.dead_letters]
    async with running(broker.settings(topics, *flags)):
        seen = await asyncio.to_thread(broker.read, outputs, 100)
    letters = [message for message in seen if message.topic() == topics.dead_letters]
    assert sorted(source_of(letter)[1] for letter in letters) == keyless
    assert {header(letter, "image-worker.reason") for letter in letters} == {"outcome_refused"}
    assert len(seen) == len(sources(seen)) == 100
    assert_in_order(seen)
    assert broker.committed(topics) == {0: 100}


def test_a_dead_letter_in_the_place_of_a_refused_outcome_is_aborted_with_its_neighbours(broker: Cluster) -> None:
    with bench(broker) as whole:
        outputs = [whole.topics.results, whole.topics.dead_letters]
        alter(broker, whole.topics.results, "cleanup.policy", "compact")
        settlement = with_a_neighbour(whole, whole.settlement())
        with Reader(broker, outputs, committed=False) as dirty:

            def positions(settlement: Settlement) -> Mapping[Partition, Position]:
                """A rebalance takes the partition away when both are published, and the offsets are not sent."""
                published = {message.topic() for message in dirty.rest()}
                return {} if published == set(outputs) else whole.ledger.positions(settlement)

            wait_for(lambda: whole.settle(settlement, positions), "nothing is left to do")
        for topic in outputs:
            broker.produce(topic, [{"key": "later", "value": None}])
        assert [message.key() for message in broker.read(outputs, 2)] == [b"later"] * 2


def with_a_neighbour(whole: Bench, settlement: Settlement) -> Settlement:
    """Beside an outcome without a key, which a compacted topic refuses, that of the next record, with one."""
    ticket = whole.ledger.open(record((whole.topics.input, 0), 1), now_s=0, size_bytes=0)
    assert ticket is not None
    value = b'{"source": {"partition": 0, "offset": 1}}'
    outgoing = OutgoingRecord(whole.topics.results, b"key", value, ())
    whole.ledger.finish(ticket, Outcome("classification", outgoing, action="allow"))
    return Settlement((*settlement.tickets, ticket))
