"""A Settling at its desk: a ledger, a clock that is set by hand, and a broker that keeps its contracts."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import Empty
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from tests.unit.kafka.books import outcome_of, record
from worker.kafka import settling as room
from worker.kafka.failing import Failing
from worker.kafka.ledger import Ledger, Partition, Position, Settlement, Ticket
from worker.kafka.progress import Progress
from worker.kafka.settings import KafkaSettings
from worker.kafka.settling import SETTLE_STEP_S, Settling
from worker.kafka.sink import Group, Positions
from worker.kafka.status import Reporter
from worker.observe.metrics import Metrics

PATIENCE_S = 10.0


@dataclass
class Clock:
    """A monotonic clock that is set by hand."""

    now_s: float = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Outcomes(deque[Any]):
    """The queue of outcomes, at which waiting takes the clock's time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    put = deque.append

    def get(self, timeout: float) -> Any:
        if not self:
            self._clock.now_s += timeout
        return self.get_nowait()

    def get_nowait(self) -> Any:
        if not self:
            raise Empty
        return self.popleft()


def _well(*_of: object) -> tuple[float, str]:
    return (0.0, "")


@dataclass
class Broker:
    """What the sink publishes to, and the group that it commits to. Keeps the contracts of both."""

    clock: Clock
    answers: bool = True
    takes_s: float = 0.0
    """How long publishing takes: time that may be too long for the group."""
    committed: dict[Partition, int] = field(default_factory=dict)
    published: list[Ticket] = field(default_factory=list)
    elsewhere: set[Partition] = field(default_factory=set)
    """Partitions that are another member's, whether this one knows it or not."""
    rewound: list[Mapping[Partition, int]] = field(default_factory=list)
    asked_s: list[float] = field(default_factory=list)
    membership: Any = "this generation's"
    patience_s: float = PATIENCE_S
    poll_interval_s: float = 300.0
    throttled: bool = False
    unanswered: bool = False
    """Whether the last commit must be answered before the next."""
    failing: Failing = field(default_factory=Failing)
    replicas: Any = field(default_factory=lambda: SimpleNamespace(look=lambda _: None, failing=_well, short=()))
    ends: Mapping[Partition, int] = field(default_factory=dict)
    waiting: Mapping[Partition, float] = field(default_factory=dict)
    fetching: Any = field(default_factory=lambda: SimpleNamespace(paused=False, shunned=set()))

    def high_watermark(self, partition: Partition) -> int | None:
        return self.ends.get(partition)

    def open(self, timeout_s: float) -> bool:
        return True

    def settle(self, settlement: Settlement, positions: Positions, group: Group, timeout_s: float) -> bool:
        self.asked_s.append(timeout_s)
        if not self.answers:
            self.clock.now_s += timeout_s
            return False
        owned = positions(settlement)
        if settlement.tickets[0] not in self.published:
            self.published += [ticket for ticket in settlement.tickets if ticket.partition in owned]
        self.clock.now_s += self.takes_s
        return self.commit(positions(settlement), timeout_s)

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float) -> bool:
        for partition, position in positions.items():
            assert partition not in self.elsewhere, "a former owner committed"
            assert position.offset > self.committed_of(partition), "an offset moved back"
            self.committed[partition] = position.offset
        return True

    def close(self) -> None: ...

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        self.rewound.append(offsets)

    def committed_of(self, partition: Partition) -> int:
        return self.committed.get(partition, 0)


class Desk:
    """A Settling on its broker, with a ledger and a clock."""

    def __init__(self, **more: Any) -> None:
        self.clock = Clock()
        self.broker = Broker(self.clock)
        self.ledger = Ledger()
        self.metrics = Metrics()
        self.abandoned: list[Ticket] = []
        self.held_up = 0
        source: Any = self.broker
        reporter = Reporter(self.ledger, source, self.metrics, stuck_after_s=300)
        sink: Any = self.broker
        self.reporter = reporter
        with patch.object(room, "time", self.clock):
            self.settling = Settling(
                KafkaSettings(drain_deadline_s=30, **more),
                self.ledger,
                sink,
                source,
                reporter,
                self.metrics,
                self.abandoned.extend,
                lambda: self.held_up,
            )
        outcomes: Any = Outcomes(self.clock)
        self.settling._outcomes = outcomes

    def run(self, act: Any, *arguments: Any) -> Any:
        with patch.object(room, "time", self.clock):
            return act(*arguments)

    def assign(self, *which: Partition) -> None:
        for partition in which:
            self.ledger.assign(partition, Progress(self.broker.committed_of(partition)))

    def open(self, partition: Partition, offset: int) -> Ticket:
        ticket = self.ledger.open(record(partition, offset), now_s=0.0, size_bytes=1)
        assert ticket is not None
        return ticket

    def finish(self, *tickets: Ticket) -> None:
        for ticket in tickets:
            self.settling.finish(ticket, outcome_of(ticket))

    def cycle(self) -> None:
        """As the thread does."""
        self.run(self.settling.step)
        self.run(self.settling.polls)
        self.run(self.settling.collect, 0)
        if self.run(self.settling.due):
            self.run(self.settling.settle, SETTLE_STEP_S)

    def void(self) -> float | None:
        return self.metrics.registry.get_sample_value("image_worker_void_outcomes_total")
