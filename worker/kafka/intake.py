"""How much is taken in: the budget of records and bytes in flight, and the pause under sustained pressure."""

from __future__ import annotations

import time

import structlog

from worker.kafka.ledger import Ledger
from worker.kafka.settings import KafkaSettings
from worker.kafka.source import Source
from worker.observe.metrics import Metrics

log = structlog.get_logger(__name__)

_PATIENCE_S = 1.0
"""How long the thread does without a poll while the budget is used up. Pausing throws librdkafka's prefetch away, so a
budget that frees up again within this time is not worth it."""
_RESUME_BELOW = 0.75


class Intake:
    """Says whether a record may be taken in. Used by the Kafka thread alone."""

    def __init__(self, settings: KafkaSettings, ledger: Ledger, source: Source, metrics: Metrics) -> None:
        self._settings = settings
        self._ledger = ledger
        self._source = source
        self._metrics = metrics
        self._full_since_s: float | None = None

    def full(self) -> bool:
        """Whether the budget is used up. Pauses the source when it has been for long, and resumes it.

        While this is True the thread does not poll, unless the source is paused: then a poll brings no records, and
        keeps the membership alive.
        """
        if self._source.paused:
            return self._paused_and_full()
        if not self._used_up(1.0):
            self._full_since_s = None
            return False
        now_s = time.monotonic()
        self._full_since_s = self._full_since_s or now_s
        if now_s - self._full_since_s >= _PATIENCE_S:
            self._pause()
            return False
        return True

    def _paused_and_full(self) -> bool:
        if not self._used_up(_RESUME_BELOW):
            self._source.resume()
            self._full_since_s = None
            self._metrics.paused.set(0)
            log.info("kafka.intake_resumed", in_flight=self._ledger.in_flight)
        return False

    def _pause(self) -> None:
        self._source.pause()
        self._metrics.paused.set(1)
        log.info("kafka.intake_paused", in_flight=self._ledger.in_flight, bytes=self._ledger.in_flight_bytes)

    def _used_up(self, share: float) -> bool:
        return (
            self._ledger.in_flight >= self._settings.max_in_flight * share
            or self._ledger.in_flight_bytes >= self._settings.max_in_flight_bytes * share
        )
