"""What the Kafka thread says of itself: metrics, log lines, and the snapshot behind /status and the probes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from worker.kafka.ledger import Ledger, Partition, Position, Ticket
from worker.kafka.source import Source
from worker.kafka.starts import Start
from worker.observe.metrics import Metrics

log = structlog.get_logger(__name__)

_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One assigned partition, as of the last report. Of one that is not begun nothing is known but for how long."""

    topic: str
    partition: int
    in_flight: int
    committed: int | None
    lag: int | None
    oldest_offset: int | None
    oldest_stage: str | None
    oldest_age_s: float
    waiting_s: float = 0.0
    """For how long it is assigned and not begun, since its start is not known."""
    failing_s: float = 0.0
    """For how long it cannot be fetched."""

    @property
    def standstill_s(self) -> float:
        return max(self.oldest_age_s, self.waiting_s, self.failing_s)

    @property
    def standstill(self) -> str:
        """What is not done and where it is, for the operator."""
        if self.waiting_s:
            return (
                f"{self.topic}[{self.partition}] is assigned and not begun for {self.waiting_s:.0f} s: see "
                "kafka.start_waits in the log"
            )
        if self.failing_s > self.oldest_age_s:
            return (
                f"{self.topic}[{self.partition}] cannot be fetched for {self.failing_s:.0f} s: see kafka.poll_error in "
                "the log"
            )
        return (
            f"{self.topic}[{self.partition}]@{self.oldest_offset} is unsettled for {self.oldest_age_s:.0f} s, "
            f"at the stage {self.oldest_stage}"
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The Kafka thread as of its last report. Frozen, so that any thread may read it."""

    partitions: tuple[PartitionStatus, ...] = ()
    in_flight: int = 0
    paused: bool = False
    stuck: tuple[str, ...] = ()
    """A line for each partition whose oldest record is stuck, or that does not begin."""


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
    broker_away: bool = False
    """Whether the settlement under way waits for the broker."""
    _reported_s: float = 0.0
    _stuck: set[tuple[Partition, int | None]] = field(default_factory=set)
    """The records that were said to be stuck."""
    _committed: dict[Partition, int] = field(default_factory=dict)

    def begun(self, starts: Mapping[Partition, Start]) -> None:
        """Note that reading begins in these partitions."""
        self._committed.update({partition: start.position.offset for partition, start in starts.items()})

    def settled(self, tickets: Sequence[Ticket], positions: Mapping[Partition, Position], took_s: float) -> None:
        """Note a settlement that is done: the tickets that left the ledger, and the offsets committed for them."""
        self.broker_away = False
        self.metrics.commits.labels("done").inc()
        self.metrics.settle_seconds.observe(took_s)
        self._committed.update({partition: position.offset for partition, position in positions.items()})
        for ticket in tickets:
            self._count(ticket)
        log.info("settled", outcomes=len(tickets), ms=round(took_s * 1000, 1), in_flight=self.ledger.in_flight)

    def settle_waits(self, outcomes: int, *, throttled: bool) -> None:
        """Note a settlement that could not be done in its time, and is tried again.

        A broker that throttles is not away: it has said so itself (kafka.throttled).
        """
        self.metrics.commits.labels("again").inc()
        if throttled:
            return
        if not self.broker_away:
            log.warning("kafka.settle_waits", outcomes=outcomes, next="try until the broker answers")
        self.broker_away = True

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
        statuses = tuple(self._status(partition, ticket, now_s) for partition, ticket in self.ledger.oldest())
        for status in statuses:
            labels = (status.topic, str(status.partition))
            self.metrics.oldest.labels(*labels).set(status.oldest_age_s)
            self.metrics.lag.labels(*labels).set(status.lag or 0)
        statuses += tuple(_not_begun(partition, now_s - since_s) for partition, since_s in self.source.waiting.items())
        for status in statuses:
            self.metrics.stuck.labels(status.topic, str(status.partition)).set(self._is_stuck(status))
        stuck = [*filter(self._is_stuck, statuses)]
        self._say_stuck(stuck)
        self.metrics.in_flight.set(self.ledger.in_flight)
        self.metrics.in_flight_bytes.set(self.ledger.in_flight_bytes)
        lines = tuple(status.standstill for status in stuck)
        self.snapshot = Snapshot(statuses, self.ledger.in_flight, self.source.fetching.paused, lines)

    def _is_stuck(self, status: PartitionStatus) -> bool:
        return status.standstill_s >= self.stuck_after_s

    def _say_stuck(self, stuck: Sequence[PartitionStatus]) -> None:
        """Log each stuck record once, and each partition that does not begin."""
        records = {((status.topic, status.partition), status.oldest_offset): status for status in stuck}
        for record in records.keys() - self._stuck:
            log.error(
                "record.stuck",
                what=records[record].standstill,
                next="see the lines before this of its stage, or of its start",
            )
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
        return PartitionStatus(
            *partition,
            in_flight=self.ledger.in_flight_of(partition),
            committed=committed,
            lag=max(0, high - committed) if high is not None and committed is not None else None,
            oldest_offset=oldest.record.coordinates.offset if oldest else None,
            oldest_stage=oldest.stage if oldest else None,
            oldest_age_s=now_s - oldest.opened_s if oldest else 0.0,
            failing_s=self.source.failing.seconds(partition, now_s),
        )


def _not_begun(partition: Partition, waiting_s: float) -> PartitionStatus:
    return PartitionStatus(
        *partition,
        in_flight=0,
        committed=None,
        lag=None,
        oldest_offset=None,
        oldest_stage=None,
        oldest_age_s=0.0,
        waiting_s=waiting_s,
    )
