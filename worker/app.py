"""Builds the rooms, starts them in order, and stops them in the opposite order. Alone knows them all."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from typing import Any

import structlog

from worker import __version__
from worker.errors import Transient
from worker.kafka.classification import Classifications, Encoder, encoder
from worker.kafka.codec import EventDecoder
from worker.kafka.deadletter import DeadLetters
from worker.kafka.delivery import open_sink
from worker.kafka.ledger import Ticket
from worker.kafka.registry import Registry
from worker.kafka.thread import KafkaThread, raise_ended
from worker.kafka.topics import require_topics
from worker.kafka.window import Window
from worker.models.classifier import Classifier
from worker.models.load import Loaded, Provenance
from worker.models.settings import DEMO
from worker.observe.health import HealthPages
from worker.observe.metrics import Metrics
from worker.observe.vitals import watched
from worker.opening import OpenChain, open_chain
from worker.pipeline import Pipeline
from worker.settings import Settings

log = structlog.get_logger(__name__)

_RECORD_BYTES = 12 * 1024
"""Of a record in flight beside its own bytes: ticket, task, address, outcome. 10.9 KiB were seen of such that wait."""
_ASK_AGAIN_S = 2.0
"""How long a start waits for a registry that is away, before it asks again."""


class Worker:
    """The worker: one process, one member of the consumer group."""

    def __init__(
        self,
        settings: Settings,
        given: Classifier | Loaded | None = None,
        window: Window | None = None,
        schema_topic: str | None = None,
    ) -> None:
        """`given`: a model that is loaded already. `window`: for a replay, which ends with it.

        `schema_topic`: the topic under whose subject a registry has the results' schema, where it is not theirs.
        """
        self.settings = settings
        self._window = window
        self._schema_topic = schema_topic or settings.kafka.topics.results
        self.metrics = Metrics()
        self.port = settings.observe.port
        self._given = given
        self._stop = asyncio.Event()
        self._kafka: KafkaThread | None = None
        self._pipeline: Pipeline | None = None
        self._open: OpenChain | None = None
        self._memory_bytes = 0
        self._waits: str | None = None

    def stop(self) -> None:
        """Begin to drain; `run` returns when it is done. On the event loop."""
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop` or the window's end. Raises Fatal, or ConfigurationError before anything was taken in."""
        async with AsyncExitStack() as stack:
            pages = HealthPages(
                self.settings.observe, self.metrics, alive=self._not_alive, ready=self._not_ready, status=self.status
            )
            await pages.start()
            stack.push_async_callback(pages.close)
            self.port = pages.port
            await asyncio.to_thread(require_topics, self.settings.kafka, self.settings.policy.topics)
            self._open = await stack.enter_async_context(open_chain(self.settings, self.metrics, self._given))
            await self._work(stack, self._open)

    async def _work(self, stack: AsyncExitStack, room: OpenChain) -> None:
        registry = Registry(self.settings.events) if self.settings.events.registry_url else None
        if registry is not None:
            stack.push_async_callback(registry.close)
        encode = await self._encoder(registry)
        if encode is None:
            return
        pipeline = self._build_pipeline(room, registry, encode)
        stack.push_async_callback(pipeline.close)
        kafka = self._build_kafka(pipeline, room)
        self._pipeline, self._kafka = pipeline, kafka
        self._announce(room)
        # What stands now (torch and transformers alone are a million objects) stays to the end. The collector need not
        # walk through it again and again, which would cost CPU on each record and stop the event loop meanwhile.
        gc.collect()
        gc.freeze()
        kafka.start()
        limit_s = self.settings.observe.stuck_after_s
        with watched([kafka.part(limit_s), room.inference], limit_s) as dead:
            # The one that says most comes first.
            failures = [pipeline.failed, *filter(None, [room.watching]), dead]
            await self._until_the_end(kafka, failures)

    def _build_pipeline(self, room: OpenChain, registry: Registry | None, encode: Encoder) -> Pipeline:
        settings = self.settings
        results = Classifications(settings.kafka.topics, settings.events, room.head, encode)
        return Pipeline(
            EventDecoder(settings.events, registry),
            room.chain,
            room.policy,
            results,
            self._dead_letters(room),
            self.metrics,
            finish=self._finish,
            hold_back=self._hold_back,
        )

    async def _encoder(self, registry: Registry | None) -> Encoder | None:
        """The results' encoder. A registry that is away is waited for: no record was taken in yet. None at a stop."""
        while not self._stop.is_set():
            try:
                encode = await encoder(self.settings.events, self._schema_topic, registry)
            except Transient as outage:
                self._waits = str(outage)
                log.warning("worker.waits", what=self._waits, next="try again until it answers")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), _ASK_AGAIN_S)
            else:
                self._waits = None
                return encode
        return None

    def _build_kafka(self, pipeline: Pipeline, room: OpenChain) -> KafkaThread:
        loop = asyncio.get_running_loop()

        def deliver(tickets: list[Ticket]) -> None:
            loop.call_soon_threadsafe(pipeline.admit, tickets)

        def abandon(tickets: list[Ticket]) -> None:
            loop.call_soon_threadsafe(pipeline.abandon, tickets)

        sink = open_sink(self.settings.kafka, self._dead_letters(room))
        return KafkaThread(
            self.settings.kafka,
            sink,
            self.metrics,
            deliver=deliver,
            abandon=abandon,
            held_up=room.chain.held_up,
            window=self._window,
        )

    def _dead_letters(self, room: OpenChain) -> DeadLetters:
        return DeadLetters(self.settings.kafka.topics.dead_letters, room.head)

    def _finish(self, ticket: Ticket, outcome: Any) -> None:
        assert self._kafka is not None
        self._kafka.finish(ticket, outcome)

    def _hold_back(self, yes: bool) -> None:
        if self._kafka is not None:
            self._kafka.hold_back(yes)

    async def _until_the_end(self, kafka: KafkaThread, failures: Sequence[asyncio.Future[None]]) -> None:
        """Wait for a stop or a failure, then for the Kafka thread; raise the failure."""
        ended = asyncio.wrap_future(kafka.ended)
        asked = asyncio.create_task(self._stop.wait())
        ends: list[asyncio.Future[Any]] = [asked, ended, *failures]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        log.info("worker.stopping", drain_deadline_s=self.settings.kafka.drain_deadline_s)
        kafka.stop(drain=not any(failure.done() for failure in failures))
        await asyncio.wait([ended, *failures], return_when=asyncio.FIRST_COMPLETED)
        # What failed hands no outcome in that a drain would wait for.
        kafka.stop(drain=False)
        await asyncio.wait([ended])
        for failure in failures:
            if failure.done():
                failure.result()
        raise_ended(kafka.ended)
        log.info("worker.stopped")

    def _announce(self, room: OpenChain) -> None:
        identity, kafka = room.classifier.identity, self.settings.kafka
        # A record's bytes are held once by its ticket and once by the producer, in its dead letter.
        records = kafka.prefetch_bytes + 2 * (kafka.max_in_flight_bytes + kafka.max_record_bytes)
        self._memory_bytes = room.memory_bytes + records + kafka.max_in_flight * _RECORD_BYTES
        self.metrics.model_loaded.set(1)
        self.metrics.model_info.labels(**asdict(identity)).set(1)
        log.info("model.loaded", **asdict(identity), labels=len(room.classifier.labels))
        if room.provenance is not None:
            _announce_provenance(room.provenance)
        if room.confinement.shut:
            log.info("decoders.confined", **room.confinement.facts())
        else:
            log.warning("decoders.not_confined", **room.confinement.facts())
        log.info(
            "worker.started",
            version=__version__,
            group=kafka.group_id,
            input=kafka.topics.input,
            port=self.port,
            memory_bound_mib=round(self._memory_bytes / 2**20),
        )

    def _not_alive(self) -> list[str]:
        if self._kafka is None:
            return []
        still_s = time.monotonic() - self._kafka.reporter.beat_s
        limit_s = self.settings.observe.stuck_after_s
        return [f"the Kafka thread has stood still for {still_s:.0f} s"] if still_s > limit_s else []

    def _not_ready(self) -> list[str]:
        if self._kafka is None or self._pipeline is None:
            return [self._waits or "the model is not loaded yet"]
        trouble = []
        if self._stop.is_set():
            trouble.append("stopping")
        if self._kafka.reporter.opening:
            trouble.append("Kafka has not given the transactional id yet: see kafka.transactional_id_waits in the log")
        elif not self._kafka.reporter.joined:
            trouble.append("the consumer group has assigned nothing yet")
        if self._kafka.reporter.broker_away:
            trouble.append("the broker does not acknowledge outcomes")
            trouble += self._kafka.reporter.snapshot.replicas_missing
        if self._pipeline.outage is not None:
            trouble.append(f"records wait: {self._pipeline.outage}")
        trouble += self._kafka.reporter.snapshot.stuck
        return trouble

    def status(self) -> dict[str, Any]:
        """What /status shows."""
        snapshot = self._kafka.reporter.snapshot if self._kafka else None
        return {
            "version": __version__,
            "model": asdict(self._open.head().identity) if self._open else None,
            "provenance": asdict(self._open.provenance) if self._open and self._open.provenance else None,
            "decoders": self._open.confinement.facts() if self._open else None,
            "group": self.settings.kafka.group_id,
            "memory_bound_bytes": self._memory_bytes or None,
            "in_flight": snapshot.in_flight if snapshot else 0,
            "intake_paused": snapshot.paused if snapshot else False,
            "assignment": [asdict(partition) for partition in snapshot.partitions] if snapshot else [],
            "not_ready": self._not_ready(),
        }


def _announce_provenance(known: Provenance) -> None:
    if known.lock is not None:
        log.info("model.verified", lock=known.lock, licence=known.licence)
    elif known.source != DEMO:
        log.warning("model.not_locked", source=known.source, next="image-worker model lock, then set model.lock")
    if known.licence_accepted is not None:
        log.warning("model.licence_accepted", licence=known.licence, accepted=known.licence_accepted)
