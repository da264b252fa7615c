"""The ledger: which records are in flight, which outcomes may be published, which offsets may be committed.

PURE: no Kafka, no clock, no thread. The Kafka thread owns the one ledger and is the only one to call it.

Records of one partition are finished in any order, but leave the ledger only as a prefix: the longest run of finished
records from the oldest on. So outcomes are published in the order of their events, and the offset after the prefix
never passes a record that is not done. Gaps in the offsets (transaction markers, compaction) need no care: the prefix
counts records that were taken in, not numbers.

Every assignment of a partition has an epoch of its own. A ticket carries the epoch it was opened in; once the partition
is revoked or lost its tickets are void, and neither a late result nor a settlement under way can move an offset that
by then belongs to someone else. The broker does not refuse such a commit (seen on Apache Kafka 4.3.1): only this does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from worker.records import Outcome, SourceRecord

Partition = tuple[str, int]
"""A topic's name and a partition's number."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One record in flight. Its identity is the object: two tickets are never equal."""

    record: SourceRecord
    epoch: int
    opened_s: float
    """Monotonic time at which the record was taken in."""
    size_bytes: int
    leader_epoch: int | None = None
    """Of the record's batch, so that a commit tells the broker of a truncated log (KIP-320)."""
    outcome: Outcome | None = None
    stage: str = "event"
    """Where the record is on its way; written by the pipeline, shown in /status."""

    @property
    def partition(self) -> Partition:
        return (self.record.coordinates.topic, self.record.coordinates.partition)


@dataclass(frozen=True, slots=True, eq=False)
class Settlement:
    """A group of finished tickets to publish and commit together, each partition's in order."""

    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """The offset to commit: that of the next record to be done."""

    offset: int
    leader_epoch: int | None = None


@dataclass(slots=True)
class _Lane:
    """The records in flight of one assigned partition, oldest first."""

    epoch: int
    tickets: deque[Ticket] = field(default_factory=deque)


class Ledger:
    """Tickets of the assigned partitions. At most one settlement is under way at a time."""

    def __init__(self) -> None:
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

    def assign(self, partition: Partition) -> None:
        """Begin a new epoch of a partition. One that is already assigned stays as it is."""
        if partition not in self._lanes:
            self._epoch += 1
            self._lanes[partition] = _Lane(self._epoch)

    def open(
        self, record: SourceRecord, *, now_s: float, size_bytes: int, leader_epoch: int | None = None
    ) -> Ticket | None:
        """Take a record in. None where its partition is not assigned: the record is its new owner's."""
        lane = self._lanes.get((record.coordinates.topic, record.coordinates.partition))
        if lane is None:
            return None
        ticket = Ticket(record, lane.epoch, now_s, size_bytes, leader_epoch)
        lane.tickets.append(ticket)
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
        return True

    def take(self) -> Settlement | None:
        """The settlement under way, or a new one of every finished prefix. None where there is nothing to settle."""
        if self._under_way is None:
            tickets = [ticket for lane in self._lanes.values() for ticket in _ripe(lane)]
            if tickets:
                self._under_way = Settlement(tuple(tickets))
        return self._under_way

    def positions(self, settlement: Settlement) -> dict[Partition, Position]:
        """The offsets a settlement may commit: those of the partitions that are still in the tickets' epoch."""
        positions: dict[Partition, Position] = {}
        for ticket in settlement.tickets:
            if self._valid(ticket):
                positions[ticket.partition] = Position(ticket.record.coordinates.offset + 1, ticket.leader_epoch)
        return positions

    def settled(self, settlement: Settlement) -> list[Ticket]:
        """Close the settlement under way: its outcomes are published and its offsets committed.

        Returns the tickets that left the ledger; those of partitions given up meanwhile had left before.
        """
        left = [ticket for ticket in settlement.tickets if self._valid(ticket)]
        for ticket in left:
            self._lanes[ticket.partition].tickets.popleft()
            self._close(ticket)
        self._under_way = None
        return left

    def forget(self, partition: Partition) -> list[Ticket]:
        """End a partition's epoch, whether revoked or lost. Returns the tickets that became void."""
        lane = self._lanes.pop(partition, None)
        if lane is None:
            return []
        for ticket in lane.tickets:
            self._close(ticket)
        return list(lane.tickets)

    def oldest(self) -> Iterator[tuple[Partition, Ticket | None]]:
        """For each assigned partition, the oldest record that is not settled."""
        for partition, lane in self._lanes.items():
            yield partition, lane.tickets[0] if lane.tickets else None

    def in_flight_of(self, partition: Partition) -> int:
        lane = self._lanes.get(partition)
        return len(lane.tickets) if lane else 0

    def _valid(self, ticket: Ticket) -> bool:
        lane = self._lanes.get(ticket.partition)
        return lane is not None and lane.epoch == ticket.epoch

    def _close(self, ticket: Ticket) -> None:
        self.in_flight -= 1
        self.in_flight_bytes -= ticket.size_bytes
        if ticket.outcome is None:
            self.unfinished -= 1


def _ripe(lane: _Lane) -> Iterator[Ticket]:
    """The lane's finished prefix."""
    return takewhile(lambda ticket: ticket.outcome is not None, lane.tickets)
