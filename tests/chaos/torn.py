"""Transactions that the brokers end in one way here and in another there. Two faults of Apache Kafka, seen in 4.3.1.

*Unmarked*: the coordinator calls it committed, and a partition does not have its end. Seen in an hour of chaos and with
a plain producer, where all brokers die while a transaction ends: its coordinator notes it as complete, and wrote its
end nowhere. By its source (`TransactionMarkerChannelManager`) a coordinator takes a partition that it does not know for
deleted. The next end of a transaction of the same producer in that partition is the end of this one, too. Where that
is an abort, outcomes are gone whose offsets are committed.

*Torn*: the coordinator calls it aborted, and a partition has a commit of it. Seen in an hour of chaos, where the
coordinator is killed while a transaction ends, and comes back before the others know that it was away: it goes by what
it alone had noted, that the transaction is committed, and begins to write that into the partitions, until another one
is the coordinator, which never heard of it, and aborts it. Where the outcomes are committed and the offsets are not,
events are done again; the other way round they are gone.

It is found in the brokers' files, by Kafka's own tool; no client is told.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Lane = tuple[str, int]
"""A topic and a partition."""

_TOOL = "org.apache.kafka.tools.DumpLogSegments"
_STATES, _OFFSETS = "__transaction_state", "__consumer_offsets"
_PREPARE_COMMIT, _PREPARE_ABORT, _COMPLETE_COMMIT = 2, 3, 4
_BATCH = re.compile(
    r"baseOffset: (\d+) lastOffset: (\d+) .*producerId: (-?\d+) producerEpoch: (-?\d+) .*"
    r"isControl: (true|false) .*(?:LogAppendTime|CreateTime): (\d+)"
)
_END = re.compile(r"endTxnMarker: (\w+)")
_WRITTEN = re.compile(r"^\| offset: \d+ (?:LogAppendTime|CreateTime): (\d+) .*payload: (\{.*\})$")


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one producer, or the end of one of its transactions."""

    first: int
    last: int
    producer: tuple[int, int]
    """Its id and epoch."""
    at_ms: int
    end: str | None
    """`COMMIT` or `ABORT`, of an end."""


@dataclass(frozen=True, slots=True)
class State:
    """What the coordinator noted of a transaction."""

    producer: tuple[int, int]
    status: int
    at_ms: int
    lanes: frozenset[Lane]
    start_ms: int = -1
    """When the transaction began."""


def batches(lines: Iterable[str]) -> Iterator[Batch]:
    """Those of a partition, as the tool tells them."""
    found: re.Match[str] | None = None
    for line in lines:
        if (match := _BATCH.search(line)) is not None:
            found = match
            if match[5] == "false":
                yield _batch(match, None)
        elif found is not None and found[5] == "true" and (end := _END.search(line)) is not None:
            yield _batch(found, end[1])


def _batch(match: re.Match[str], end: str | None) -> Batch:
    return Batch(int(match[1]), int(match[2]), (int(match[3]), int(match[4])), int(match[6]), end)


def states(lines: Iterable[str]) -> Iterator[State]:
    """Those of a partition of the coordinators' log, as the tool decodes it."""
    for line in lines:
        if (match := _WRITTEN.search(line)) is not None and "producerEpoch" in match[2]:
            data = json.loads(match[2])["data"]
            lanes = frozenset((p["topic"], n) for p in data["transactionPartitions"] or [] for n in p["partitionIds"])
            producer, start_ms = (data["producerId"], data["producerEpoch"]), data["transactionStartTimestampMs"]
            yield State(producer, data["transactionStatus"], int(match[1]), lanes, start_ms)


def is_unmarked(lane: Lane, offset: int, there: Callable[[Lane], Sequence[Batch]], noted: Iterable[State]) -> bool:
    """Whether a record is of a transaction that was called committed, and has no end in its partition. PURE.

    Or none in that of its offsets, which is why its events are done again.
    """
    own = there(lane)
    record = _with(offset, own)
    if record is None:
        return False
    after = [each for each in noted if each.producer == record.producer and each.at_ms >= record.at_ms]
    ended = next((n for n, each in enumerate(after) if each.status == _PREPARE_COMMIT and lane in each.lanes), None)
    if ended is None or all(each.status != _COMPLETE_COMMIT for each in after[ended:]):
        return False
    id_, state = record.producer[0], after[ended]
    end = next((b for b in own if b.first > offset and b.end is not None and b.producer[0] == id_), None)
    of_offsets = [_end(id_, state.start_ms, there(each)) for each in state.lanes if each[0] == _OFFSETS]
    return any(each is None or each.producer != record.producer for each in (end, *of_offsets))


def is_torn(lane: Lane, offset: int, there: Callable[[Lane], Sequence[Batch]], noted: Iterable[State]) -> bool:
    """Whether a record is of a transaction that was called aborted, and was committed in some partition. PURE."""
    record = _with(offset, there(lane))
    if record is None:
        return False
    own = [each for each in noted if each.producer[0] == record.producer[0]]
    start_ms = max((s.start_ms for s in own if lane in s.lanes and s.at_ms <= record.at_ms), default=-1)
    same = [each for each in own if each.start_ms == start_ms]
    statuses = {each.status for each in same}
    if _PREPARE_ABORT not in statuses or _PREPARE_COMMIT in statuses:
        return False
    lanes = {each for state in same for each in state.lanes}
    ends = (_end(record.producer[0], start_ms, there(each)) for each in lanes)
    return any(end is not None and (end.end, end.producer) == ("COMMIT", record.producer) for end in ends)


def _with(offset: int, there: Iterable[Batch]) -> Batch | None:
    """The records of which this is one."""
    return next((b for b in there if b.end is None and b.first <= offset <= b.last), None)


def _end(producer_id: int, start_ms: int, there: Iterable[Batch]) -> Batch | None:
    """How the producer's transaction ended in a partition that began then."""
    ends = (b for b in there if b.end is not None and b.producer[0] == producer_id and b.at_ms >= start_ms)
    return next(ends, None)


class Logs:
    """The files of one broker, which has all partitions."""

    def __init__(self, data: Path, classpath: str) -> None:
        self._data = data
        self._classpath = classpath
        self._read: dict[Lane, list[Batch]] = {}

    def is_unmarked(self, lane: Lane, offset: int) -> bool:
        """Whether the record there is of such a transaction."""
        return is_unmarked(lane, offset, self._there, self._noted)

    def is_torn(self, lane: Lane, offset: int) -> bool:
        """Likewise."""
        return is_torn(lane, offset, self._there, self._noted)

    def _there(self, lane: Lane) -> Sequence[Batch]:
        if lane not in self._read:
            self._read[lane] = list(batches(self._dump("{}-{}".format(*lane))))
        return self._read[lane]

    @cached_property
    def _noted(self) -> list[State]:
        folders = sorted(each.name for each in self._data.glob(f"{_STATES}-*"))
        return [state for name in folders for state in states(self._dump(name, "--transaction-log-decoder"))]

    def _dump(self, name: str, *options: str) -> list[str]:
        segments = ",".join(str(each) for each in sorted((self._data / name).glob("*.log")))
        command = ["java", "-XX:TieredStopAtLevel=1", "-cp", self._classpath, _TOOL, *options]
        command += ["--deep-iteration", "--print-data-log", "--files", segments]
        said = subprocess.run(command, check=True, capture_output=True)
        return said.stdout.decode("utf-8", "replace").splitlines()
