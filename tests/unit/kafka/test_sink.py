"""At-least-once over a producer that answers as the test says: what is handed in when, and what again."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from tests.unit.kafka.bench import Bench, Broker
from worker.errors import Fatal, Reason
from worker.kafka import publication
from worker.kafka import sink as room
from worker.kafka.ledger import Position


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    found = Broker()
    monkeypatch.setattr(room, "open_client", found.open)
    monkeypatch.setattr(publication, "time", found)
    return found


def test_all_is_published_and_then_committed(broker: Broker) -> None:
    bench = Bench(broker, 6)
    assert bench.settle()
    assert broker.handed_in == [bench.of(0) + bench.of(1)]
    assert [position.offset for position in bench.group.commits[0].values()] == [5, 6]


def test_a_start_is_committed_by_the_group_itself_and_there_is_nothing_to_open(broker: Broker) -> None:
    bench = Bench(broker, 1)
    start = {("images", 0): Position(7)}
    assert bench.sink.open(0.0)
    assert bench.sink.commit(start, bench.group, 0.7)
    assert (bench.group.commits, bench.group.asked_s) == ([start], [0.7])
    assert broker.handed_in == [[]]


def test_of_a_partition_no_second_batch_is_handed_in_before_the_first_is_acknowledged(broker: Broker) -> None:
    bench = Bench(broker, 40, value_bytes=100_000)
    assert bench.settle()
    assert broker.handed_in == [bench.of(0) + bench.of(1)], "all of them, in order"
    assert broker.producers[0].most_bytes < 1_000_000, "librdkafka's batch"


def test_a_record_larger_than_a_batch_is_handed_in_alone(broker: Broker) -> None:
    bench = Bench(broker, 3, value_bytes=2_000_000)
    assert bench.settle()
    assert broker.producers[0].most_bytes == 2_000_000


def test_what_waits_for_too_long_is_handed_to_a_new_producer_in_order_and_what_is_acknowledged_is_not(
    broker: Broker,
) -> None:
    bench = Bench(broker, 6)
    acknowledged = bench.of(0)[:2]
    broker.answer = lambda value: value in acknowledged
    assert not bench.settle()
    assert not bench.settle(), "it waits"
    assert len(broker.producers) == 1
    broker.now_s += 0.11
    assert not bench.settle()
    broker.answer = lambda value: True
    assert bench.settle()
    assert broker.handed_in[1:] == [bench.of(0)[2:] + bench.of(1)]
    assert len(bench.group.commits) == 1


def test_a_topic_that_is_gone_when_the_producer_is_given_up_ends_the_worker(broker: Broker) -> None:
    bench = Bench(broker, 2)
    broker.answer = lambda value: False
    broker.gone = {"results"}
    assert not bench.settle()
    broker.now_s += 0.11
    with pytest.raises(Fatal, match="topic 'results'"):
        bench.settle()
    assert not bench.group.commits


def test_nothing_is_lost_where_only_a_part_was_handed_in_when_the_producer_is_given_up(broker: Broker) -> None:
    bench = Bench(broker, 40, value_bytes=100_000)
    broker.answer = lambda value: False
    assert not bench.settle()
    broker.now_s += 0.11
    broker.answer = lambda value: True
    assert bench.settle()
    assert broker.handed_in[1] == bench.of(0) + bench.of(1)


def test_what_librdkafka_dropped_is_published_again_where_it_is_still_ours(broker: Broker) -> None:
    bench = Bench(broker, 6)
    broker.drops = True
    assert not bench.settle()
    broker.drops = False
    bench.ledger.forget(("images", 1))
    assert bench.settle()
    assert broker.handed_in == [bench.of(0) + bench.of(1), bench.of(0)]
    assert list(bench.group.commits[0]) == [("images", 0)]


def test_what_is_not_ours_any_more_is_not_published(broker: Broker) -> None:
    bench = Bench(broker, 6)
    bench.ledger.forget(("images", 0))
    assert bench.settle()
    assert broker.handed_in == [bench.of(1)]


def test_what_was_not_handed_in_yet_is_not_when_its_partition_is_lost(broker: Broker) -> None:
    bench = Bench(broker, 40, value_bytes=100_000)
    broker.answer = lambda value: False
    assert not bench.settle()
    (begun,) = broker.handed_in
    assert begun == bench.of(0)[: len(begun)] != bench.of(0)
    bench.ledger.forget(("images", 1))
    broker.answer = lambda value: True
    assert bench.settle()
    assert broker.handed_in == [bench.of(0)]


def test_what_is_ours_is_asked_before_each_batch_that_is_handed_in(broker: Broker) -> None:
    """As where this process stood still while it waited for the reports of the first."""
    bench = Bench(broker, 40, value_bytes=100_000)

    def answer(_value: bytes) -> bool:
        bench.ledger.forget(("images", 0))
        bench.ledger.forget(("images", 1))
        return True

    broker.answer = answer
    assert bench.settle()
    (begun,) = broker.handed_in
    assert begun == bench.of(0)[: len(begun)] != bench.of(0)
    assert bench.group.commits == [{}]


def test_what_is_to_be_sent_again_alone_is_not_when_its_partition_is_lost(broker: Broker) -> None:
    bench = Bench(broker, 6)
    broker.blames = {bench.of(0)[0]: KafkaError.INVALID_RECORD}
    taken = len(bench.values) + 1

    def answer(_value: bytes) -> bool:
        return len(broker.handed_in[0]) < taken

    broker.answer = answer
    assert not bench.settle(), "the first dead letter is not answered"
    bench.ledger.forget(("images", 1))
    taken = 100
    assert bench.settle()
    assert broker.handed_in[0][len(bench.values) + 2 :] == bench.of(0)[1:]


def test_a_partition_that_is_lost_while_its_outcomes_wait_has_them_taken_from_librdkafka(broker: Broker) -> None:
    bench = Bench(broker, 6)
    broker.answer = lambda value: False
    assert not bench.settle()
    bench.ledger.forget(("images", 0))
    broker.answer = lambda value: True
    assert bench.settle()
    assert broker.handed_in[1:] == [bench.of(1)]


def test_the_commit_has_what_is_left_of_the_time_and_a_moment_at_least(broker: Broker) -> None:
    bench = Bench(broker, 2)
    assert bench.sink.settle(bench.settlement, bench.ledger.positions, bench.group, 20.0)
    assert 19.0 < bench.group.asked_s[0] <= 20.0
    bench = Bench(broker, 2)
    assert bench.settle()
    assert bench.group.asked_s == [0.05]


def test_one_that_is_refused_for_what_it_is_becomes_a_dead_letter_in_its_place_and_costs_no_neighbour(
    broker: Broker,
) -> None:
    bench = Bench(broker, 6)
    bad = bench.of(0)[1]
    broker.blames = {bad: KafkaError.INVALID_RECORD}
    while not bench.settle():
        pass
    batch = bench.of(0) + bench.of(1)
    letter = b""  # the record's own value
    assert broker.handed_in == [[*batch, batch[0], bad, letter, *batch[2:]]]
    reasons = [ticket.outcome.reason for ticket in bench.settlement.tickets if ticket.outcome is not None]
    assert reasons == [None, Reason.OUTCOME_REFUSED, None, None, None, None]
    assert len(bench.group.commits) == 1


def test_several_that_are_refused_at_once_are_told_apart(broker: Broker) -> None:
    bench = Bench(broker, 6)
    broker.blames = {bench.of(0)[0]: KafkaError.MSG_SIZE_TOO_LARGE, bench.of(1)[2]: KafkaError.INVALID_RECORD}
    while not bench.settle():
        pass
    reasons = [ticket.outcome.reason for ticket in bench.settlement.tickets if ticket.outcome is not None]
    assert reasons == [Reason.OUTCOME_TOO_LARGE, None, None, None, None, Reason.OUTCOME_REFUSED]


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._UNKNOWN_TOPIC])
def test_any_other_refusal_ends_the_worker_and_nothing_is_committed(broker: Broker, code: int) -> None:
    bench = Bench(broker, 2)
    broker.blames = {bench.values[0]: code}
    with pytest.raises(Fatal, match=f"topic 'results'.*{KafkaError(code).name()}"):
        bench.settle()
    assert bench.group.commits == []


@pytest.mark.parametrize("code", [KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, KafkaError.KAFKA_STORAGE_ERROR])
def test_one_that_an_outage_costs_goes_again_in_order_by_a_new_producer(broker: Broker, code: int) -> None:
    bench = Bench(broker, 6)
    broker.blames = dict.fromkeys(bench.values, code)
    assert not bench.settle()
    broker.blames = {}
    assert bench.settle()
    assert broker.handed_in == [bench.of(0) + bench.of(1)] * 2
    assert len(bench.group.commits) == 1


def test_a_producer_that_lost_count_is_replaced_and_all_without_a_report_goes_again(broker: Broker) -> None:
    bench = Bench(broker, 6)
    broker.fatal = [KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER]
    assert not bench.settle()
    assert bench.group.commits == []
    broker.answer = lambda value: False
    assert not bench.settle()
    assert len(broker.producers) == 2
    assert not bench.settle(), "the new one has its time"
    broker.answer = lambda value: True
    assert bench.settle()
    assert broker.handed_in == [bench.of(0) + bench.of(1)] * 2


def test_what_a_producer_says_when_it_is_closed_is_looked_at_too(broker: Broker) -> None:
    bench = Bench(broker, 6)
    broker.drops = True
    broker.fatal_at_close = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert not bench.settle()
    broker.drops = False
    assert bench.settle()
    assert broker.handed_in == [bench.of(0) + bench.of(1)] * 2
    bench = Bench(broker, 6)
    broker.drops = True
    assert not bench.settle()
    broker.fatal_at_close = KafkaError.CLUSTER_AUTHORIZATION_FAILED
    with pytest.raises(Fatal, match="ask for IDEMPOTENT_WRITE"):
        bench.settle()


def test_a_producer_that_no_right_lets_begin_ends_the_worker_which_says_what_to_ask_for(broker: Broker) -> None:
    bench = Bench(broker, 2)
    broker.fatal = [KafkaError.CLUSTER_AUTHORIZATION_FAILED]
    with pytest.raises(Fatal, match="ask for IDEMPOTENT_WRITE on the cluster"):
        bench.settle()
    assert bench.group.commits == []


def test_a_dead_letter_that_is_refused_as_well_ends_the_worker(broker: Broker) -> None:
    bench = Bench(broker, 1)
    broker.blames = {bench.values[0]: KafkaError.INVALID_RECORD, b"": KafkaError.INVALID_RECORD}
    with pytest.raises(Fatal, match="topic 'dead'"):
        bench.sink.settle(bench.settlement, bench.ledger.positions, bench.group, 20.0)
    assert bench.group.commits == []


def test_the_producer_is_given_up_in_half_the_groups_patience(broker: Broker) -> None:
    bench = Bench(broker, 2)
    broker.answer = lambda value: False
    assert not bench.settle()
    broker.now_s += 0.099
    assert not bench.settle()
    assert len(broker.producers) == 1
    broker.now_s += 0.001001
    assert not bench.settle()
    assert len(broker.producers) == 2
