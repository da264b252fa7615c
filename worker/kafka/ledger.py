"""The ledger: which records are in flight, which outcomes may be published, which offsets may be committed.

PURE: no Kafka, no clock, no thread. The Kafka thread owns the one ledger and is the only one to call it.

Records of one partition are finished in any order. In order, they leave the ledger only as a prefix: the longest run of
finished records from the oldest on, so that outcomes are published in the order of their events. Out of order, each
leaves when it is finished. Either way the committed offset never passes a record that is not done: what was done beyond
it goes with it (progress.py), and is not taken in again by whoever reads the partition next. When a commit has no room
for more of that, finished records wait for the oldest one, as they do in order.

A settlement has no more than `AT_ONCE` of them, and the partitions take turns. So what an outage makes of a settlement,
repeats in at-least-once and a transaction too long for its time limit in exactly-once, has a bound.

Gaps in the offsets (transaction markers, compaction) need no care: a record stands for the offsets from the record
before it on, so that nothing is left open between two that are done; one that an earlier owner did likewise, since what
was open before it then may have been compacted away.

Every assignment of a partition has an epoch of its own. A ticket carries the epoch it was opened in; once the partition
is revoked or lost its tickets are void, and neither a late result nor a settlement under way can move an offset that
by then belongs to someone else. The broker does not refuse such a commit (seen on Apache Kafka 4.3.1): only this does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile
from operator import itemgetter

from worker.errors import Fatal, Stage
from worker.kafka.progress import Progress, Span
from worker.records import Outcome, SourceRecord

Partition = tuple[str, int]
"""A topic's name and a partition's number."""
AT_ONCE = 500
"""Some half a megabyte of outcomes, and several times what a worker finishes between two settlements."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One record in flight. Its identity is the object: two tickets are never equal."""

    record: SourceRecord
    epoch: int
    opened_s: float
    """Monotonic time at which the record was taken in."""
    size_bytes: int
    follows: int
    """The offset after the record before it: what lies between the two is no record."""
    outcome: Outcome | None = None
    stage: Stage = Stage.EVENT
    """Where the record is on its way to an outcome; written by the pipeline."""

    @property
    def partition(self) -> Partition:
        return (self.record.coordinates.topic, self.record.coordinates.partition)

    @property
    def span(self) -> Span:
        """The offsets that are done when this record is."""
        return (self.follows, self.record.coordinates.offset + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Settlement:
    """A group of finished tickets to publish and commit together, each partition's by their offsets."""

    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """What to commit: the offset of the next record to be done, and in the metadata which after it are done already."""

    offset: int
    leader_epoch: int | None = None
    """Of the last record before it, where that is known: whoever goes on there asks whether the log still has it
    (KIP-320). That of an earlier record would make the log look truncated."""
    metadata: str = ""


@dataclass(slots=True)
class _Lane:
    """One assigned partition: its records in flight by offset, oldest first, and how far it is committed."""

    epoch: int
    progress: Progress
    follows: int = field(init=False)
    """The offset after the last record that was read."""
    tickets: OrderedDict[int, Ticket] = field(default_factory=OrderedDict)
    epochs: list[tuple[int, int | None]] = field(default_factory=list)
    """Leader epochs, each with the offset of the first record of it, from the one before the start on."""
    finished: list[Ticket] = field(default_factory=list)
    """Out of order: those that are finished and not in a settlement yet."""
    full: bool = False
    """Whether finished records wait because a commit has no room to say that they are done."""

    def after(self, tickets: Iterable[Ticket]) -> Progress:
        return self.progress.after(ticket.span for ticket in tickets)

    def read(self, offset: int, leader_epoch: int | None) -> None:
        self.follows = offset + 1
        if not self.epochs or self.epochs[-1][1] != leader_epoch:
            self.epochs.append((offset, leader_epoch))

    def position(self, progress: Progress) -> Position:
        """What to commit for this progress. What an earlier owner did may be passed before it was read here."""
        _, leader_epoch = self.epochs[bisect_left(self.epochs, progress.base, key=itemgetter(0)) - 1]
        return Position(progress.base, leader_epoch if progress.base <= self.follows else None, progress.metadata)


class Ledger:
    """Tickets of the assigned partitions. At most one settlement is under way at a time."""

    def __init__(self, *, in_order: bool = True, at_once: int = AT_ONCE) -> None:
        self._in_order = in_order
        self._at_once = at_once
        self._lanes: dict[Partition, _Lane] = {}
        self._epoch = 0
        self._under_way: Settlement | None = None
        self.in_flight = 0
        self.in_flight_bytes = 0
        self.unfinished = 0
        """Records in flight whose outcome is still to come."""

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The assigned partitions."""
        return tuple(self._lanes)

    @property
    def full(self) -> set[Partition]:
        """The partitions that should be read no further until their oldest record is done."""
        return {partition for partition, lane in self._lanes.items() if lane.full}

    @property
    def is_settling(self) -> bool:
        """Whether a settlement is under way."""
        return self._under_way is not None

    def assign(self, partition: Partition, progress: Progress, leader_epoch: int | None = None) -> None:
        """Begin a new epoch of a partition, which is done so far. One that is already assigned stays as it is.

        `leader_epoch`: of the last record before the base, where it was committed.
        """
        if partition not in self._lanes:
            self._epoch += 1
            lane = self._lanes[partition] = _Lane(self._epoch, progress)
            lane.read(progress.base - 1, leader_epoch)

    def open(
        self, record: SourceRecord, *, now_s: float, size_bytes: int, leader_epoch: int | None = None
    ) -> Ticket | None:
        """Take a record in. None where it is another's, since its partition is not assigned, or done already.

        Raises Fatal where the partition's offsets went back: what they count is no longer the log that was read.
        """
        offset = record.coordinates.offset
        lane = self._lanes.get((record.coordinates.topic, record.coordinates.partition))
        if lane is None:
            return None
        if offset < lane.follows:
            raise Fatal(
                f"{record.coordinates} came when the partition was read up to {lane.follows}: the topic was truncated "
                "or made again; nothing was committed for it: see `image-worker offsets show`, then `offsets set`"
            )
        follows = lane.follows
        lane.read(offset, leader_epoch)
        if offset in lane.progress:
            lane.progress = lane.progress.after([(follows, offset + 1)])
            return None
        ticket = Ticket(record, lane.epoch, now_s, size_bytes, follows)
        lane.tickets[offset] = ticket
        self.in_flight += 1
        self.in_flight_bytes += size_bytes
        self.unfinished += 1
        return ticket

    def finish(self, ticket: Ticket, outcome: Outcome) -> bool:
        """Note a ticket's outcome. False, and nothing noted, where the ticket is void or already finished."""
        if not self._valid(ticket) or ticket.outcome is not None:
            return False
        ticket.outcome = outcome
        self.unfinished -= 1
        if not self._in_order:
            self._lanes[ticket.partition].finished.append(ticket)
        return True

    def take(self) -> Settlement | None:
        """The settlement under way, or a new one of what may leave. None where there is nothing to settle."""
        if self._under_way is None and (tickets := self._ripe()):
            self._under_way = Settlement(tuple(tickets))
        return self._under_way

    def _ripe(self) -> list[Ticket]:
        ripe, tickets = _prefix if self._in_order else _as_finished, list[Ticket]()
        for partition in self.partitions:
            if len(tickets) >= self._at_once:
                break
            # Those that come too late now are the first next time.
            lane = self._lanes[partition] = self._lanes.pop(partition)
            tickets += ripe(lane, self._at_once - len(tickets))
        return tickets

    def positions(self, settlement: Settlement) -> dict[Partition, Position]:
        """What a settlement may commit: of the partitions that are still in the tickets' epoch."""
        positions: dict[Partition, Position] = {}
        for partition, tickets in self._owned(settlement).items():
            lane = self._lanes[partition]
            positions[partition] = lane.position(lane.after(tickets))
        return positions

    def settled(self, settlement: Settlement) -> list[Ticket]:
        """Close the settlement under way: its outcomes are published and its offsets committed.

        Returns the tickets that left the ledger; those of partitions given up meanwhile had left before.
        """
        left: list[Ticket] = []
        for partition, tickets in self._owned(settlement).items():
            lane = self._lanes[partition]
            lane.progress = lane.after(tickets)
            for ticket in tickets:
                del lane.tickets[ticket.record.coordinates.offset]
                self._close(ticket)
            left += tickets
        self._under_way = None
        return left

    def forget(self, partition: Partition) -> list[Ticket]:
        """End a partition's epoch, whether revoked or lost. Returns the tickets that became void."""
        lane = self._lanes.pop(partition, None)
        if lane is None:
            return []
        for ticket in lane.tickets.values():
            self._close(ticket)
        return list(lane.tickets.values())

    def progress(self) -> dict[Partition, Progress]:
        """How far each assigned partition is settled."""
        return {partition: lane.progress for partition, lane in self._lanes.items()}

    def oldest(self) -> Iterator[tuple[Partition, Ticket | None]]:
        """For each assigned partition, by topic and number, the oldest record that is not settled."""
        for partition in sorted(self._lanes):
            yield partition, next(iter(self._lanes[partition].tickets.values()), None)

    def in_flight_of(self, partition: Partition) -> int:
        lane = self._lanes.get(partition)
        return len(lane.tickets) if lane else 0

    def _owned(self, settlement: Settlement) -> dict[Partition, list[Ticket]]:
        """The settlement's tickets of partitions that are still in their epoch."""
        owned: dict[Partition, list[Ticket]] = {}
        for ticket in settlement.tickets:
            if self._valid(ticket):
                owned.setdefault(ticket.partition, []).append(ticket)
        return owned

    def _valid(self, ticket: Ticket) -> bool:
        lane = self._lanes.get(ticket.partition)
        return lane is not None and lane.epoch == ticket.epoch

    def _close(self, ticket: Ticket) -> None:
        self.in_flight -= 1
        self.in_flight_bytes -= ticket.size_bytes
        if ticket.outcome is None:
            self.unfinished -= 1


def _prefix(lane: _Lane, most: int | None = None) -> list[Ticket]:
    """The lane's finished prefix, or the beginning of it."""
    return list(islice(takewhile(lambda ticket: ticket.outcome is not None, lane.tickets.values()), most))


def _as_finished(lane: _Lane, most: int) -> list[Ticket]:
    """What is finished; where a commit has no room to say so, as many as have, and the finished prefix at least.

    More than asked for only where fewer of them would have no room: some close gaps that the others leave open.
    """
    if not lane.finished:
        return []
    ripe = sorted(lane.finished, key=lambda ticket: ticket.record.coordinates.offset)
    lane.full = not lane.after(ripe).fits
    count = max(len(_prefix(lane)), lane.progress.room) if lane.full else len(ripe)
    if count > most and lane.after(ripe[:most]).fits:
        count = most
    lane.finished = ripe[count:]
    return ripe[:count]
