"""What the Kafka thread says of itself: metrics, log lines, and the snapshot behind /status and the probes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from worker.errors import Stage
from worker.kafka.ledger import Ledger, Partition, Position, Ticket
from worker.kafka.partition_status import PartitionStatus
from worker.kafka.source import Source
from worker.observe.metrics import Metrics

log = structlog.get_logger(__name__)

_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The Kafka thread as of its last report. Frozen, so that any thread may read it."""

    partitions: tuple[PartitionStatus, ...] = ()
    in_flight: int = 0
    paused: bool = False
    stuck: tuple[str, ...] = ()
    """A line for each partition whose oldest record is stuck, that does not begin, or that cannot be fetched."""
    replicas_missing: tuple[str, ...] = ()
    """A line for each partition of outcomes that lacks some, while outcomes wait for the broker."""


@dataclass(slots=True)
class Reporter:
    """Reports once a second. Owned by the Kafka thread; its public fields may be read by any."""

    ledger: Ledger
    source: Source
    metrics: Metrics
    stuck_after_s: float
    snapshot: Snapshot = Snapshot()
    beat_s: float = field(default_factory=time.monotonic)
    """Monotonic time of the thread's last step."""
    opening: bool = False
    """Whether the broker has not let the sink begin yet, and so nothing is joined."""
    joined: bool = False
    """Whether the group has given this member its partitions (possibly none, where there are more members)."""
    _waits_for: frozenset[str] = frozenset()
    """The topics of outcomes whose settlement waits for the broker."""
    _reported_s: float = 0.0
    _stuck: set[tuple[Partition, int | None]] = field(default_factory=set)
    """The records that were said to be stuck."""
    _committed: dict[Partition, int] = field(default_factory=dict)

    @property
    def broker_away(self) -> bool:
        """Whether the settlement under way waits for the broker."""
        return bool(self._waits_for)

    def begun(self, offsets: Mapping[Partition, int]) -> None:
        """Note that reading begins in these partitions, and where."""
        self._committed.update(offsets)

    def settled(self, tickets: Sequence[Ticket], positions: Mapping[Partition, Position], took_s: float) -> None:
        """Note a settlement that is done: the tickets that left the ledger, and the offsets committed for them."""
        self._waits_for = frozenset()
        self.metrics.commits.labels("done").inc()
        self.metrics.settle_seconds.observe(took_s)
        self._committed.update({partition: position.offset for partition, position in positions.items()})
        for ticket in tickets:
            self._count(ticket)
        log.info("settled", outcomes=len(tickets), ms=round(took_s * 1000, 1), in_flight=self.ledger.in_flight)

    def settle_waits(self, tickets: Sequence[Ticket], *, throttled: bool) -> None:
        """Note a settlement that could not be done in its time, and is tried again.

        A broker that throttles is not away: it has said so itself (kafka.throttled).
        """
        self.metrics.commits.labels("again").inc()
        if throttled:
            return
        if not self.broker_away:
            log.warning("kafka.settle_waits", outcomes=len(tickets), next="try until the broker answers")
        self._waits_for = frozenset(ticket.outcome.record.topic for ticket in tickets if ticket.outcome is not None)

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Take partitions that were given up out of the metrics."""
        for topic, partition in partitions:
            self._committed.pop((topic, partition), None)
            for gauge in (self.metrics.oldest, self.metrics.lag, self.metrics.stuck):
                gauge.remove(topic, str(partition))

    def report(self, now_s: float) -> None:
        """Refresh gauges and snapshot, where the last time is long enough ago."""
        if now_s - self._reported_s < _INTERVAL_S:
            return
        self._reported_s = now_s
        self.source.failing.lasts(self.source.fetching.shunned)
        self.source.replicas.look(self._waits_for)
        statuses = tuple(self._status(partition, ticket, now_s) for partition, ticket in self.ledger.oldest())
        for status in statuses:
            labels = (status.topic, str(status.partition))
            self.metrics.oldest.labels(*labels).set(status.oldest_age_s)
            if status.lag is not None:
                self.metrics.lag.labels(*labels).set(status.lag)
        waiting = self.source.waiting.items()
        statuses += tuple(PartitionStatus(*partition, waiting_s=now_s - since_s) for partition, since_s in waiting)
        for status in statuses:
            self.metrics.stuck.labels(status.topic, str(status.partition)).set(self._is_stuck(status))
        stuck = [*filter(self._is_stuck, statuses)]
        self._say_stuck(stuck)
        self.metrics.in_flight.set(self.ledger.in_flight)
        self.metrics.in_flight_bytes.set(self.ledger.in_flight_bytes)
        lines = tuple(status.standstill for status in stuck)
        short = self.source.replicas.short
        self.snapshot = Snapshot(statuses, self.ledger.in_flight, self.source.fetching.paused, lines, short)

    def _is_stuck(self, status: PartitionStatus) -> bool:
        return status.standstill_s >= self.stuck_after_s

    def _say_stuck(self, stuck: Sequence[PartitionStatus]) -> None:
        """Log each stuck record once, and each partition that does not begin."""
        records = {((status.topic, status.partition), status.oldest_offset): status for status in stuck}
        for record in records.keys() - self._stuck:
            log.error("record.stuck", what=records[record].standstill, next=f"look at {records[record].look_at}")
        self._stuck = set(records)

    def _count(self, ticket: Ticket) -> None:
        outcome = ticket.outcome
        assert outcome is not None
        self.metrics.outcomes.labels(outcome.kind, outcome.reason or "").inc()
        if outcome.action is not None:
            self.metrics.actions.labels(outcome.action).inc()
        if outcome.reason is not None:
            record = str(ticket.record.coordinates)
            log.warning(outcome.kind, record=record, reason=outcome.reason, detail=outcome.detail)

    def _status(self, partition: Partition, oldest: Ticket | None, now_s: float) -> PartitionStatus:
        committed = self._committed.get(partition)
        high = self.source.high_watermark(partition)
        failing_s, failing = self._failing(partition, now_s)
        return PartitionStatus(
            *partition,
            in_flight=self.ledger.in_flight_of(partition),
            committed=committed,
            lag=max(0, high - committed) if high is not None and committed is not None else None,
            oldest_offset=oldest.record.coordinates.offset if oldest else None,
            oldest_stage=_stage(oldest) if oldest else None,
            oldest_age_s=now_s - oldest.opened_s if oldest else 0.0,
            failing_s=failing_s,
            failing=failing or None,
        )

    def _failing(self, partition: Partition, now_s: float) -> tuple[float, str]:
        """For how long a partition cannot be fetched, and why; 0 where nothing is known to be wrong."""
        said_s = self.source.failing.seconds(partition, now_s)
        told = (said_s, "see kafka.poll_error in the log" if said_s else "")
        return max(told, self.source.replicas.failing(partition, now_s))


def _stage(ticket: Ticket) -> Stage:
    """One that has its outcome, of whatever kind, waits to be published."""
    return ticket.stage if ticket.outcome is None else Stage.PUBLISH
