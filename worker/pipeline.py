"""The way of one event: one record, one coroutine, one outcome. On the event loop.

`Chain` is the way of an image, with or without Kafka; `Pipeline` carries tickets along it and hands in their outcomes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from worker.errors import Fatal, Reason, Rejected, Stage, Transient
from worker.images.fetch import Fetcher
from worker.images.pool import DecodePool
from worker.kafka.classification import Classifications, Timing
from worker.kafka.codec import EventDecoder
from worker.kafka.deadletter import DeadLetters
from worker.kafka.ledger import Ticket
from worker.models.inference import Batcher
from worker.observe.metrics import Metrics
from worker.policy import Policy
from worker.records import Decision, ImageReference, Outcome, Pixels, Prediction

log = structlog.get_logger(__name__)

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 15.0


class Progress(Protocol):
    """Where something is on its way. A ticket is one."""

    stage: str


@dataclass(frozen=True, slots=True)
class Classified:
    """An image that came to the end of the way."""

    pixels: Pixels
    prediction: Prediction
    decision: Decision
    fetch_s: float
    decode_s: float


class Chain:
    """Fetch, decode, classify, decide."""

    def __init__(
        self, fetcher: Fetcher, pool: DecodePool, batcher: Batcher, policy: Policy, metrics: Metrics, *, room: int
    ) -> None:
        """`room`: images that may be decoded and not yet classified; the others wait before they are decoded."""
        self._room = asyncio.Semaphore(room)
        self._fetcher = fetcher
        self._decoder = pool
        self._batcher = batcher
        self._policy = policy
        self._fetched = metrics.stage_seconds.labels("fetch")
        self._decoded = metrics.stage_seconds.labels("decode")
        self._classified = metrics.stage_seconds.labels("classify")

    def held_up(self) -> int:
        """Images that wait for hosts in trouble. May be read from any thread."""
        return self._fetcher.held_up

    async def classify(self, reference: ImageReference, progress: Progress) -> Classified:
        """Take an image all the way. Raises Rejected, Transient or Fatal."""
        async with AsyncExitStack() as room:
            with self._batcher.expected():
                pixels, fetch_s, decode_s = await self._look_at(reference, progress, room)
            progress.stage = Stage.CLASSIFY
            prediction = await self._batcher.classify(pixels)
        self._classified.observe(prediction.wait_s + prediction.compute_s)
        return Classified(pixels, prediction, self._policy.decide(prediction.scores), fetch_s, decode_s)

    async def _look_at(
        self, reference: ImageReference, progress: Progress, room: AsyncExitStack
    ) -> tuple[Pixels, float, float]:
        # The encoded bytes live in this frame only: their share of the budget is free while the pixels are classified.
        progress.stage = Stage.FETCH
        started_s = time.monotonic()
        encoded = await self._fetcher.fetch(reference)
        progress.stage = Stage.DECODE
        fetched_s = time.monotonic()
        await room.enter_async_context(self._room)
        pixels = await self._decoder.decode(encoded)
        decoded_s = time.monotonic()
        self._fetched.observe(fetched_s - started_s)
        self._decoded.observe(decoded_s - fetched_s)
        return pixels, fetched_s - started_s, decoded_s - fetched_s


class Pipeline:
    """Carries every admitted ticket to exactly one outcome."""

    def __init__(
        self,
        codec: EventDecoder,
        chain: Chain,
        policy: Policy,
        classifications: Classifications,
        dead_letters: DeadLetters,
        metrics: Metrics,
        *,
        finish: Callable[[Ticket, Outcome], None],
        hold_back: Callable[[bool], None],
    ) -> None:
        self._codec = codec
        self._chain = chain
        self._policy = policy
        self._classifications = classifications
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._finish = finish
        self._hold_back = hold_back
        self._tasks: dict[Ticket, asyncio.Task[None]] = {}
        self._waiting = 0
        self.outage: str | None = None
        """What records are waiting for, while any is."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the Fatal that a record ran into. Whoever runs the pipeline awaits it."""

    def admit(self, tickets: Sequence[Ticket]) -> None:
        """Start the way of these tickets."""
        for ticket in tickets:
            task = asyncio.get_running_loop().create_task(self._carry(ticket))
            self._tasks[ticket] = task

    def abandon(self, tickets: Sequence[Ticket]) -> None:
        """Stop the way of tickets that became void."""
        for ticket in tickets:
            if (task := self._tasks.pop(ticket, None)) is not None:
                task.cancel()

    async def close(self) -> None:
        """Stop whatever is still on its way."""
        tasks = list(self._tasks.values())
        self.abandon(list(self._tasks))
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, ticket: Ticket) -> None:
        try:
            self._finish(ticket, await self._patiently(ticket))
        except Fatal as failure:
            if not self.failed.done():
                self.failed.set_exception(failure)
        finally:
            self._tasks.pop(ticket, None)

    async def _patiently(self, ticket: Ticket) -> Outcome:
        """The outcome of a ticket. An outage of our own is waited out, however long it lasts."""
        try:
            return await self._outcome(ticket)
        except Transient as outage:
            return await self._after(outage, ticket)

    async def _after(self, outage: Transient, ticket: Ticket) -> Outcome:
        """The outcome of a ticket when the outage that it met is over."""
        self._begin_waiting(outage)
        wait_s = _FIRST_WAIT_S
        try:
            while True:
                await _over(outage, random.uniform(wait_s / 2, wait_s))
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                try:
                    return await self._outcome(ticket)
                except Transient as again:
                    outage = again
                    self.outage = str(again)
        finally:
            self._end_waiting()

    def _begin_waiting(self, outage: Transient) -> None:
        if self.outage is None:
            log.warning("pipeline.outage", what=str(outage), next="nothing is taken in; records wait, are tried again")
            self._hold_back(True)
        self.outage = str(outage)
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)

    def _end_waiting(self) -> None:
        self._waiting -= 1
        self._metrics.waiting.set(self._waiting)
        if self._waiting == 0:
            self.outage = None
            self._hold_back(False)
            log.info("pipeline.outage_over")

    async def _outcome(self, ticket: Ticket) -> Outcome:
        record = ticket.record
        try:
            if record.value is None:
                return self._classifications.tombstone(record)
            return await self._classification(ticket)
        except Rejected as rejected:
            return self._dead_letters.make(record, rejected)
        except (Transient, Fatal):
            raise
        except Exception as fault:
            # A fault of ours on one record must not stop all the others, nor be hidden: it is logged and redriven.
            log.exception("pipeline.internal_error", record=str(record.coordinates))
            return self._dead_letters.make(record, Rejected(Reason.INTERNAL_ERROR, repr(fault)))

    async def _classification(self, ticket: Ticket) -> Outcome:
        ticket.stage = Stage.EVENT
        reference = await self._codec.decode(ticket.record)
        event_s = time.monotonic() - ticket.opened_s
        seen = await self._chain.classify(reference, ticket)
        ticket.stage = Stage.PUBLISH
        return self._classifications.make(
            ticket.record,
            reference,
            seen.pixels,
            seen.prediction,
            seen.decision,
            Timing(event_s, seen.fetch_s, seen.decode_s),
            self._policy.topic(seen.decision.action),
        )


async def _over(outage: Transient, longest_s: float) -> None:
    """Wait until an outage is known to be over, and no longer than this."""
    if outage.over is None:
        await asyncio.sleep(longest_s)
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(outage.over.wait(), longest_s)
