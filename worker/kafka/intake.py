"""How much is taken in: the budgets of records and bytes, the pause under sustained pressure, and none in an outage.

A partition whose commits are full of what was done out of order waits by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import structlog

from worker.kafka.fetching import Fetching
from worker.kafka.ledger import Ledger, Partition
from worker.kafka.pace import Pace
from worker.kafka.settings import KafkaSettings
from worker.kafka.window import Window
from worker.observe.metrics import Metrics

log = structlog.get_logger(__name__)

_PATIENCE_S = 1.0
"""How long the thread does without a poll while the budget is used up. Pausing throws librdkafka's prefetch away, so a
budget that frees up again within this time is not worth it."""
_RESUME_BELOW = 0.75
_PROBE_EVERY_S = 15.0
"""In an outage one record is taken in now and then: if its host answers, the outage is not what it was held to be."""


class Tapped(Protocol):
    """What is needed of the source."""

    @property
    def fetching(self) -> Fetching: ...


class Intake:
    """Says whether a record may be taken in. Used by the Kafka thread alone, but for `held_back`.

    `held_up`: how many records wait for hosts in trouble. They count as in flight, but not as worked on: so a slow host
    keeps no other host's records out, until `max_in_flight` is reached.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        ledger: Ledger,
        source: Tapped,
        metrics: Metrics,
        held_up: Callable[[], int],
        window: Window | None = None,
    ) -> None:
        """`window`: of a replay, which partitions are at their ends, and how fast it may be."""
        self._settings = settings
        self._ledger = ledger
        self._source = source
        self._metrics = metrics
        self._held_up = held_up
        self._window = window
        self._pace = Pace(window.rate, time.monotonic()) if window is not None and window.rate is not None else None
        self._full_since_s: float | None = None
        self._probe_due_s = 0.0
        self._before_probe: int | None = None
        self.held_back = False
        """Whether records wait for an outage of our own: then nothing is taken in. Set by any thread."""

    def full(self) -> bool:
        """Whether the budget is used up. Pauses the source when it has been for long, and resumes it.

        While this is True the thread does not poll, unless the source is paused: then a poll brings no records, and
        keeps the membership alive.
        """
        full = self._ledger.full
        if self._source.fetching.held != (held := full | self._window.arrived if self._window is not None else full):
            self._hold(full, held)
        if self.held_back:
            self._let_in_a_probe()
            return False
        self._before_probe = None
        if self._source.fetching.paused:
            self._resume_below(_RESUME_BELOW)
            return False
        if not self._used_up(1.0):
            self._full_since_s = None
            return self._pace is not None and not self._pace.ready(time.monotonic())
        now_s = time.monotonic()
        self._full_since_s = self._full_since_s or now_s
        if now_s - self._full_since_s >= _PATIENCE_S:
            self._pause()
            return False
        return True

    def took(self) -> None:
        """Note a record that was taken in."""
        if self._pace is not None:
            self._pace.took()

    def _hold(self, full: set[Partition], held: set[Partition]) -> None:
        """Leave partitions alone whose commits have no room for more that is done out of order, or that are done."""
        oldest = dict(self._ledger.oldest())
        for topic, number in full - self._source.fetching.held:
            ticket = oldest[topic, number]
            what = ticket.record.coordinates if ticket is not None else f"{topic}[{number}]"
            log.warning("kafka.partition_waits", what=str(what), next="its oldest record must be done")
        self._source.fetching.hold(held)

    def _let_in_a_probe(self) -> None:
        now_s = time.monotonic()
        if not self._source.fetching.paused:
            met = self._before_probe is None or self._ledger.in_flight > self._before_probe
            if met or self._used_up(1.0):
                self._pause()
                self._before_probe = None
                self._probe_due_s = now_s + _PROBE_EVERY_S
        elif now_s >= self._probe_due_s and not self._used_up(1.0):
            self._before_probe = self._ledger.in_flight
            self._source.fetching.resume()

    def _resume_below(self, share: float) -> None:
        if not self._used_up(share):
            self._source.fetching.resume()
            self._full_since_s = None
            self._metrics.paused.set(0)
            log.info("kafka.intake_resumed", in_flight=self._ledger.in_flight)

    def _pause(self) -> None:
        self._source.fetching.pause()
        self._metrics.paused.set(1)
        log.info(
            "kafka.intake_paused",
            why="an outage" if self.held_back else "the budget is used up",
            in_flight=self._ledger.in_flight,
            bytes=self._ledger.in_flight_bytes,
        )

    def _used_up(self, share: float) -> bool:
        ledger, settings = self._ledger, self._settings
        return (
            ledger.unfinished - self._held_up() >= settings.max_at_work * share
            or ledger.in_flight >= settings.max_in_flight * share
            or ledger.in_flight_bytes >= settings.max_in_flight_bytes * share
        )
