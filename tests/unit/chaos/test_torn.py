"""Which records are of a transaction that the brokers ended in one way here and in another there."""

from __future__ import annotations

import pytest

from tests.chaos.torn import Batch, State, batches, is_torn, is_unmarked, states

LANE = ("dead", 5)
OFFSETS = ("__consumer_offsets", 3)
PREPARE_COMMIT, PREPARE_ABORT, COMPLETE_COMMIT, COMPLETE_ABORT = 2, 3, 4, 5
OLD, NEW, OTHER = (2004, 172), (2004, 175), (1011, 9)

# As Apache Kafka 4.3.1's DumpLogSegments tells them, in an hour of chaos.
DUMP = """\
Dumping data/dead-5/00000000000000000000.log
Log starting offset: 0
baseOffset: 595 lastOffset: 596 count: 2 baseSequence: 0 lastSequence: 1 producerId: 2004 producerEpoch: 172 \
partitionLeaderEpoch: 89 isTransactional: true isControl: false deleteHorizonMs: OptionalLong.empty position: 236728 \
LogAppendTime: 1795852979380 size: 607 magic: 2 compresscodec: none crc: 2624006952 isvalid: true
| offset: 595 LogAppendTime: 1795852979380 keySize: 7 valueSize: 56 sequence: 0 headerKeys: [a] key: k payload: endless
baseOffset: 600 lastOffset: 600 count: 1 baseSequence: -1 lastSequence: -1 producerId: 2004 producerEpoch: 175 \
partitionLeaderEpoch: 92 isTransactional: true isControl: true deleteHorizonMs: OptionalLong.empty position: 239143 \
LogAppendTime: 1795853080643 size: 78 magic: 2 compresscodec: none crc: 1281186643 isvalid: true
| offset: 600 LogAppendTime: 1795853080643 keySize: 4 valueSize: 6 sequence: -1 headerKeys: [] endTxnMarker: ABORT \
coordinatorEpoch: 93
"""
NOTED = """\
| offset: 3664 CreateTime: 1795852980602 keySize: 35 valueSize: 45 sequence: -1 headerKeys: [] \
key: {"type":"0","data":{"transactionalId":"w"}} payload: {"version":"1","data":{"producerId":2004,\
"previousProducerId":2004,"producerEpoch":172,"transactionTimeoutMs":10000,"transactionStatus":2,\
"transactionPartitions":[{"topic":"dead","partitionIds":[6,5]},{"topic":"results","partitionIds":[1]}],\
"transactionLastUpdateTimestampMs":1795852980602,"transactionStartTimestampMs":1795852976645}}
| offset: 3666 CreateTime: 1795853012224 keySize: 35 valueSize: 45 sequence: -1 headerKeys: [] \
key: {"type":"0","data":{"transactionalId":"w"}} payload: {"version":"1","data":{"producerId":2004,\
"previousProducerId":2004,"producerEpoch":172,"transactionTimeoutMs":10000,"transactionStatus":4,\
"transactionPartitions":null,"transactionLastUpdateTimestampMs":1,"transactionStartTimestampMs":-1}}
"""


def test_what_the_tool_tells_is_understood() -> None:
    assert list(batches(DUMP.splitlines())) == [
        Batch(595, 596, OLD, 1795852979380, None),
        Batch(600, 600, NEW, 1795853080643, "ABORT"),
    ]
    assert list(states(NOTED.splitlines())) == [
        State(OLD, PREPARE_COMMIT, 1795852980602, frozenset({("dead", 6), ("dead", 5), ("results", 1)}), 1795852976645),
        State(OLD, COMPLETE_COMMIT, 1795853012224, frozenset()),
    ]
    assert is_unmarked(LANE, 595, lambda _: list(batches(DUMP.splitlines())), states(NOTED.splitlines()))


def records(producer: tuple[int, int] = OLD) -> Batch:
    return Batch(10, 14, producer, 100, None)


def end(producer: tuple[int, int], kind: str, at: int = 20) -> Batch:
    return Batch(at, at, producer, 200, kind)


COMMITTED = (State(OLD, PREPARE_COMMIT, 110, frozenset({LANE})), State(OLD, COMPLETE_COMMIT, 130, frozenset()))


@pytest.mark.parametrize(
    ("there", "noted", "unmarked"),
    [
        ([records(), end(NEW, "ABORT")], COMMITTED, True),
        ([records()], COMMITTED, True),
        ([records(), end(OTHER, "COMMIT"), end(NEW, "ABORT", 30)], COMMITTED, True),
        ([records(), end(OLD, "COMMIT")], COMMITTED, False),
        # Aborted, and done again by the same producer in a transaction that was committed.
        ([records(), end(OLD, "ABORT"), end(OLD, "COMMIT", 30)], COMMITTED, False),
        ([records(), end(NEW, "ABORT")], (), False),
        ([records(), end(NEW, "ABORT")], COMMITTED[:1], False),
        ([records(), end(NEW, "ABORT")], (State(OLD, PREPARE_ABORT, 110, frozenset({LANE})), COMMITTED[1]), False),
        ([records(), end(NEW, "ABORT")], (State(OLD, PREPARE_COMMIT, 110, frozenset()), COMMITTED[1]), False),
        ([records(), end(NEW, "ABORT")], (State(OLD, PREPARE_COMMIT, 90, frozenset({LANE})), COMMITTED[1]), False),
        ([records(OTHER), end(NEW, "ABORT")], COMMITTED, False),
        ([Batch(1, 9, OLD, 100, None), end(NEW, "ABORT")], COMMITTED, False),
    ],
)
def test_a_record_is_lost_by_the_brokers_where_its_commit_was_complete_and_its_partition_has_no_end_of_it(
    there: list[Batch], noted: tuple[State, ...], unmarked: bool
) -> None:
    assert is_unmarked(LANE, 12, lambda _: there, noted) is unmarked


@pytest.mark.parametrize(
    ("offsets", "unmarked"),
    [([end(OLD, "COMMIT")], False), ([end(NEW, "ABORT")], True), ([], True), ([end(OTHER, "COMMIT")], True)],
)
def test_a_record_is_done_again_by_the_brokers_where_the_partition_of_its_offsets_has_no_end(
    offsets: list[Batch], unmarked: bool
) -> None:
    noted = (State(OLD, PREPARE_COMMIT, 110, frozenset({LANE, OFFSETS}), 90), COMMITTED[1])
    here = [records(), end(OLD, "COMMIT")]
    assert is_unmarked(LANE, 12, lambda lane: here if lane == LANE else offsets, noted) is unmarked


ONGOING = 1
NEXT = (2004, 173)
"""The same producer, fenced."""


def begun(start_ms: int = 90, at_ms: int = 95, lanes: tuple[tuple[str, int], ...] = (LANE, OFFSETS)) -> State:
    return State(OLD, ONGOING, at_ms, frozenset(lanes), start_ms)


def ended(status: int, start_ms: int = 90) -> State:
    return State(NEXT if status == PREPARE_ABORT else OLD, status, 210, frozenset({LANE, OFFSETS}), start_ms)


ABORTED = (begun(), ended(PREPARE_ABORT))
HERE = [records(), end(OLD, "COMMIT"), end(NEXT, "ABORT", 21)]
THERE = [Batch(7, 7, OLD, 101, None), Batch(8, 8, NEXT, 200, "ABORT")]


@pytest.mark.parametrize(
    ("here", "offsets", "noted", "torn"),
    [
        (HERE, THERE, ABORTED, True),
        # The other way round: the outcomes are gone, and their offsets committed.
        ([records(), end(NEXT, "ABORT")], [THERE[0], Batch(8, 8, OLD, 200, "COMMIT")], ABORTED, True),
        ([records(), end(NEXT, "ABORT")], THERE, ABORTED, False),
        (HERE, THERE, (begun(), ended(PREPARE_COMMIT)), False),
        (HERE, THERE, (begun(), ended(PREPARE_COMMIT), ended(PREPARE_ABORT)), False),
        (HERE, THERE, (begun(),), False),
        (HERE, THERE, (), False),
        # It is of the transaction before the one that was aborted.
        (HERE, THERE, (begun(), begun(150, 160), ended(PREPARE_ABORT, 150)), False),
        # The commit is that of the one before.
        ([Batch(9, 9, OLD, 80, "COMMIT"), records(), end(NEXT, "ABORT")], THERE, ABORTED, False),
        ([records(OTHER), end(OLD, "COMMIT")], THERE, ABORTED, False),
        ([Batch(1, 9, OLD, 100, None), end(OLD, "COMMIT")], THERE, ABORTED, False),
    ],
)
def test_a_record_is_of_a_transaction_that_the_brokers_tore_where_it_was_aborted_and_a_partition_has_a_commit_of_it(
    here: list[Batch], offsets: list[Batch], noted: tuple[State, ...], torn: bool
) -> None:
    assert is_torn(LANE, 12, lambda lane: here if lane == LANE else offsets, noted) is torn
