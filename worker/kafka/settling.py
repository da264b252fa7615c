"""Settling: finished outcomes are collected, published and committed, drained before partitions go, and fenced.

The fence: after a standstill (SIGSTOP, a frozen container) longer than the group's patience, the partitions may be
someone else's although no callback said so yet. A broker accepts the late commit of a former owner. So whatever is in
flight then is void, and read again where the partitions still are ours. Likewise after max.poll.interval.ms without a
poll, though the thread went on: a drain in a callback makes none, and so has no longer than that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

import structlog

from worker.kafka.ledger import AT_ONCE, Ledger, Partition, Position, Settlement, Ticket
from worker.kafka.settings import KafkaSettings
from worker.kafka.sink import Group, Sink
from worker.kafka.status import Reporter
from worker.observe.metrics import Metrics
from worker.records import Outcome

log = structlog.get_logger(__name__)

SETTLE_STEP_S = 1.0
"""The longest a settlement keeps the thread from polling, when the broker is slow or away."""
_FEW = 8
"""With no more than so many on their way a cycle would be shared by few, however long it waited for them."""
_REST, _SLOWEST = 19, 4
"""How many times as long as a cycle the rest after it is; how many times the rhythm of the settings it is at most."""
_MANY = AT_ONCE // 2
"""So many that are done need not wait longer: a cycle takes twice as many."""
_LOOK_S = 0.005
"""The longest a drain waits for an outcome before it settles what it has."""


class Reading(Group, Protocol):
    """What settling needs of the source."""

    @property
    def patience_s(self) -> float:
        """How long the group waits for a member that stands still."""
        ...

    @property
    def poll_interval_s(self) -> float:
        """How long it waits for a member that goes on and does not poll."""
        ...

    @property
    def throttled(self) -> bool:
        """Whether a broker lets it wait because of a quota."""
        ...

    @property
    def unanswered(self) -> bool:
        """Whether the last commit must be answered before there can be another, which a poll tells."""
        ...

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        """Go back to these offsets in the partitions that are still assigned."""
        ...


class Settling:
    """Brings tickets from their outcome to their commit. Used by the Kafka thread alone, but for `finish`.

    `abandon` is called for tickets that became void; `held_up` for how many wait for hosts in trouble.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        ledger: Ledger,
        sink: Sink,
        reading: Reading,
        reporter: Reporter,
        metrics: Metrics,
        abandon: Callable[[list[Ticket]], None],
        held_up: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._sink = sink
        self._reading = reading
        self._reporter = reporter
        self._metrics = metrics
        self._abandon = abandon
        self._held_up = held_up
        self._outcomes: SimpleQueue[tuple[Ticket, Outcome]] = SimpleQueue()
        self._commits = settings.delivery == "at-least-once"
        """Whether offsets are committed outside a transaction."""
        self._settled_s = 0.0
        self._took_s = 0.0
        """Of the last cycle."""
        self._step_s = self._polled_s = time.monotonic()
        self._stood_still_s = 0.0
        """For how long, while something was in flight that still is."""
        self.leave_by_s = math.inf
        """When (monotonic) every drain is over, since the worker stops. Set by any thread."""

    def finish(self, ticket: Ticket, outcome: Outcome) -> None:
        """Hand in the outcome of a ticket. From any thread."""
        self._outcomes.put((ticket, outcome))

    def step(self) -> None:
        """Note that the thread goes on: it is about to poll, or to settle for as long as a step may take."""
        self._note_standstill()
        self._step_s = self._reporter.beat_s = time.monotonic()

    def polls(self) -> None:
        """Note that the thread polls now."""
        self._polled_s = time.monotonic()

    def collect(self, timeout_s: float) -> None:
        """Note the outcomes that are there, waiting for the first one."""
        try:
            finished = self._outcomes.get(timeout=timeout_s) if timeout_s else self._outcomes.get_nowait()
            while True:
                if not self._ledger.finish(*finished):
                    self._metrics.void.inc()
                finished = self._outcomes.get_nowait()
        except Empty:
            return

    def due(self) -> bool:
        """Whether to settle now: soon where little else is on its way, else in a rhythm.

        With few on their way a cycle follows when the thread did something else for as long as the last one took. So
        an image that hangs does not make the others wait for the rhythm.
        """
        waited_s = time.monotonic() - self._settled_s
        if self._ledger.unfinished == 0 or waited_s >= self._rhythm_s():
            return True
        return self._ledger.unfinished - self._held_up() <= _FEW and waited_s >= self._took_s

    def _rhythm_s(self) -> float:
        """That of the settings; a slower one where cycles take long, as transactions do.

        With a twentieth of the time for them exactly-once does as many images a second as at-least-once, and every
        50 ms 0.92 times as many (benchmarks/delivery.py).
        """
        rhythm_s = self._settings.settle_interval_ms / 1000
        if self._ledger.is_settling or self._ledger.in_flight - self._ledger.unfinished >= _MANY:
            return rhythm_s
        return min(max(rhythm_s, _REST * self._took_s), _SLOWEST * rhythm_s)

    def settle(self, timeout_s: float) -> None:
        """Bring the settlement under way, or the next one, as far as it goes in this time."""
        settlement = self._ledger.take()
        if settlement is None:
            return
        started_s = time.monotonic()
        done = self._sink.settle(settlement, self._positions, self._reading, timeout_s)
        self._settled_s = time.monotonic()
        self._took_s = self._settled_s - started_s
        if done:
            positions = self._ledger.positions(settlement)
            left = self._ledger.settled(settlement)
            self._metrics.void.inc(len(settlement.tickets) - len(left))
            self._reporter.settled(left, positions, self._took_s)
        else:
            throttled = self._sink.throttled or self._reading.throttled
            self._reporter.settle_waits(settlement.tickets, throttled=throttled)

    def drain(self, partitions: Sequence[Partition], poll: Callable[[], None] | None = None) -> None:
        """Settle what is in flight of these partitions, as far as it goes by one deadline for all of them.

        `poll`: brings no records, tells what became of commits, and lets the group go on with a rebalance that it waits
        for us with. Within a callback there can be none: what could not be committed is not published then, and left.
        """
        until_s = time.monotonic() + self._settings.drain_deadline_s
        while any(map(self._ledger.in_flight_of, partitions)):
            self.step()
            if poll is not None:
                poll()
            left_s, blocked = self._left_s(until_s), self._is_blocked()
            if left_s <= 0 or (blocked and poll is None):
                left = sum(map(self._ledger.in_flight_of, partitions))
                event = "kafka.drain_deadline" if left_s <= 0 else "kafka.drain_unanswered"
                log.warning(event, left_to_the_next_owner=left)
                return
            self.collect(min(_LOOK_S, left_s))
            if not blocked:
                self.settle(min(SETTLE_STEP_S, left_s))

    def _left_s(self, until_s: float) -> float:
        """Of a drain: no longer than the worker has to leave, nor than the group waits for a poll."""
        return min(until_s, self.leave_by_s, self._polled_s + self._reading.poll_interval_s) - time.monotonic()

    def _is_blocked(self) -> bool:
        """Whether what is settled next could not be committed.

        The last commit must be answered first, or the group has to take this member in again.
        """
        lacks = self._reading.unanswered if self._commits else self._reading.membership is None
        return lacks and not self._ledger.is_settling

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Void what is in flight of partitions that were given up or lost."""
        void = [ticket for partition in partitions for ticket in self._ledger.forget(partition)]
        if void:
            self._abandon(void)
        if not self._ledger.in_flight:
            self._stood_still_s = 0.0
        self._reporter.forget(partitions)

    def _positions(self, settlement: Settlement) -> dict[Partition, Position]:
        self._note_standstill()
        if self._stood_still_s:
            self._rewind()
        return self._ledger.positions(settlement)

    def _note_standstill(self) -> None:
        """Note one before the sign of life that hides it. What is in flight is void when the sink asks what is ours.

        Not at once: a commit that is under way may have taken place, and is told from the offsets then.
        """
        now_s = time.monotonic()
        stood_still_s, unpolled_s = now_s - self._step_s, now_s - self._polled_s
        too_late = stood_still_s >= self._reading.patience_s or unpolled_s >= self._reading.poll_interval_s
        if too_late and self._ledger.in_flight:
            self._stood_still_s = max(stood_still_s, unpolled_s)

    def _rewind(self) -> None:
        log.error("kafka.stood_still", seconds=round(self._stood_still_s, 1), next="nothing in flight is committed")
        reached = self._ledger.progress()
        self.forget(tuple(reached))
        for partition, progress in reached.items():
            self._ledger.assign(partition, progress)
        offsets = {partition: progress.base for partition, progress in reached.items()}
        self._reporter.begun(offsets)
        self._reading.rewind(offsets)
